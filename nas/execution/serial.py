"""Execution of a search in this process, one trial after another: for debugging, and exactly repeatable."""

from __future__ import annotations

from nas.loop.search import Search
from nas.tasks.base import Evaluator


def run(search: Search, trainer: Evaluator) -> None:
    """Train all proposals of the search."""
    search.room = 1
    while (proposal := search.propose()) is not None:
        for event in trainer.train(proposal):
            if not search.observe(event):
                break
