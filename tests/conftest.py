"""Settings for all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from small_search import Unbroken, unbroken_run

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read once, when TensorFlow is loaded

settings.register_profile("shared machine", deadline=None)  # one slow example says nothing where cores are shared
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """The small search in one go."""
    return unbroken_run(tmp_path_factory.mktemp("unbroken"))
