"""Settings for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read once, when TensorFlow is loaded

settings.register_profile("shared machine", deadline=None)  # one slow example says nothing where cores are shared
settings.load_profile("shared machine")
