"""Shows trials elsewhere while a search runs, as its configuration asks: TensorBoard from here, others from Ray Tune.

What is not asked for is neither imported nor connected to. None of it is the record: a disk or a server that fails
ends what is shown there and not the search.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec

from nas.config.sections import TrackingConfig
from nas.loop.search import Search
from search_space.base.errors import InputError

TENSORBOARD = "tensorboard"  # folder in that of the run
PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}  # what is imported, and what one installs for it


def check(config: TrackingConfig, executor: str) -> None:
    """That what is asked for can be had, before a search begins.

    Raises:
      InputError: it needs a package that is not installed, or Ray, without which the search is to run.
    """
    for name, package in PACKAGES.items():
        if getattr(config, name) is None:
            continue
        if find_spec(name) is None:
            raise InputError(f"tracking.{name}", name, f"is not installed: pip install {package}")
        if executor != "ray":
            raise InputError(f"tracking.{name}", executor, "is the executor, and this comes from Ray; drop --serial")


@contextlib.contextmanager
def tracked(search: Search) -> Iterator[None]:
    """Writes event files for TensorBoard while a search runs, if it is asked for."""
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
