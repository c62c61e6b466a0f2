"""Execution of a search in this process, one trial after another: for debugging, and exactly repeatable."""

from __future__ import annotations

from nas.evaluation.proxy_trainer import Trainer
from nas.evaluation.simulation import Simulation
from nas.loop.search import Search


def run(search: Search, trainer: Trainer | Simulation) -> None:
    """Train all proposals of the search."""
    search.room = 1
    while (proposal := search.propose()) is not None:
        for event in trainer.train(proposal):
            if not search.observe(event):
                break
