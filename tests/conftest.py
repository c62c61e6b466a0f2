"""Settings for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

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


@pytest.fixture(scope="module")
def clip_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clips are cached in a folder of the test module: `pytestmark = pytest.mark.usefixtures("clip_cache")`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOVINET_NAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
