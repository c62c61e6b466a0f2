"""Experiment trackers of a running search, as configured: TensorBoard here, others by Ray Tune.

Trackers that are not configured are neither imported nor connected. They are not the record: a failing disk or server
ends the tracking, not the search.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec

from nas.config.sections import TrackingConfig
from nas.loop.search import Search
from search_space.base.errors import InputError

TENSORBOARD = "tensorboard"  # folder in that of the run
PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}  # imported module, and the package to install


def check(config: TrackingConfig, executor: str) -> None:
    """Check that the configured trackers are available, before a search starts.

    Raises:
      InputError: a package is not installed, or a tracker needs Ray but the search runs without it.
    """
    for name, package in PACKAGES.items():
        if getattr(config, name) is None:
            continue
        if find_spec(name) is None:
            raise InputError(f"tracking.{name}", name, f"is not installed: pip install {package}")
        if executor != "ray":
            raise InputError(f"tracking.{name}", executor, "is the executor, but it requires Ray; remove --serial")


@contextlib.contextmanager
def tracked(search: Search) -> Iterator[None]:
    """Write event files for TensorBoard during the body, if configured."""
    if not search.config.tracking.tensorboard:
        yield
        return
    from nas.monitor.event_file import TensorBoard

    board = TensorBoard(search, search.ledger.path.parent / TENSORBOARD)
    search.watchers.append(board)
    try:
        yield
    finally:
        search.watchers.remove(board)
