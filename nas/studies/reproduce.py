"""Retraining of a network of a run, with the recorded seed and with new ones; the run's folder is only read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from nas.evaluation.simulation import evaluator
from nas.loop.run_folder import config_of, data_of
from nas.loop.search import trial_seed
from nas.record.events import Completed, Failed, Proposal, Rung
from nas.record.ledger import Ledger
from search_space.base.checks import check_integer
from search_space.base.errors import InputError
from search_space.base.names import hint


def point(ledger: Ledger, name: str) -> Proposal:
    """Return a completed training by name: the index of a trial, or the label of re-evaluations (the first of them).

    Raises:
      InputError: no such training, or it was not completed.
    """
    if name.isascii() and name.isdigit():
        found = [ledger.proposals[index] for index in [int(name[:18])] if index in ledger.proposals]
    else:
        found = [proposal for proposal in ledger.proposals.values() if name and proposal.label == name]
    if not found:
        labels = dict.fromkeys(each.label for each in ledger.proposals.values() if each.label)
        rule = f"is neither a trial of {ledger.path.parent} nor the label of a re-evaluation{_listed(labels)}"
        raise InputError("point", name, f"{rule}{hint(name, labels)}")
    done = [proposal for proposal in found if proposal.index in ledger.completed]
    if not done:
        raise InputError("point", name, "was not trained to the full budget, so it cannot be compared")
    return done[0]


def _listed(labels: dict[str, None]) -> str:
    return f": {', '.join(map(repr, labels))}" if labels else ""


def again(ledger: Ledger, recorded: Proposal, repeats: int) -> list[Proposal]:
    """Return a recorded training, then `repeats` trainings of its network with seeds that are new in the run."""
    check_integer("--repeats", repeats, 0, 10_000)
    used = [each.repeat for each in ledger.proposals.values() if each.fingerprint == recorded.fingerprint]
    others = range(max(used) + 1, max(used) + 1 + repeats)
    seeds = {repeat: trial_seed(ledger.header.seed, recorded.fingerprint, repeat) for repeat in others}
    return [recorded, *(dataclasses.replace(recorded, repeat=repeat, seed=seed) for repeat, seed in seeds.items())]


def trained(
    ledger: Ledger, proposals: list[Proposal], threads: int | None = 1
) -> Iterator[tuple[Proposal, Completed | Failed]]:
    """Train proposals of a run to the full budget, in this process, in the same way as the run.

    Raises:
      InputError: the run's data has changed, or cannot be created.
    """
    trainer = evaluator(config_of(ledger), data_of(ledger), threads)
    for proposal in proposals:
        for event in trainer.train(proposal):
            if not isinstance(event, Rung):
                yield proposal, event
