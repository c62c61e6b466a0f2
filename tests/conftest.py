"""Settings for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from small_search import Unbroken

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read once, when TensorFlow is loaded
# Read once too, when numpy is loaded; the command line sets the same value. With more threads, the threads of two test
# processes wait for each other: some tests took ten times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The time of one example means little where cores are shared.
settings.register_profile("shared machine", deadline=None, max_examples=40)
settings.load_profile("shared machine")


# Files that take half a minute or more. They start first, so that both cores have work to the end. Files that wait for
# other processes alternate with files that compute, because the latter use all cores.
LONG = (
    "test_notebooks.py",
    "test_executors.py",
    "test_stream.py",
    "test_faults_signals.py",
    "test_train.py",
    "test_kill_and_resume.py",
    "test_extensions.py",
    "test_export.py",
    "test_trainer.py",
    "test_cluster.py",
    "test_model.py",
    "test_faults_workers.py",
    "test_coefficients.py",
    "test_one_shot.py",
    "test_proxy.py",
    "test_cli.py",
    "test_input.py",
    "test_simulation.py",
    "test_algorithms.py",
    "test_faults.py",
    "test_bad_input.py",
    "test_display.py",
    "test_searched_costs.py",
    "test_release_parity.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files in the order in which workers take them, one at a time."""
    place = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONG)))


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """Return the small search, run without interruption."""
    from small_search import unbroken_run

    return unbroken_run(tmp_path_factory.mktemp("unbroken"))


@pytest.fixture(scope="module")
def clip_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cache clips in a folder of the test module: `pytestmark = pytest.mark.usefixtures("clip_cache")`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOVINET_NAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
