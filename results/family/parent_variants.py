"""Scaled variants of the best parents of a family, trained to choose between these parents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

from nas.record.ledger import read
from nas.record.objective import ACCURACY
from results.family.parents import Candidate, Candidates
from search_space.base.configuration import configuration, within

FOLDER = "settle"
LEDGER = "ledger.jsonl"
_BETWEEN = ": "  # model and fingerprint of a variant's name


@configuration
class Settle:
    """Training of scaled variants to choose between the best parents of a target.

    Attributes:
      parents: number of parents for each target whose scaled variants are trained.
      factor: their multiply-adds, as a multiple of the cost on the proxy's cost axis that corresponds to the target.
      repeats: trainings of each variant.
    """

    parents: Annotated[int, within(2, 3)] = 2
    factor: Annotated[float, within(1, 1000)] = 4.0
    repeats: Annotated[int, within(1, 1000)] = 2


@dataclass(frozen=True)
class Settled:
    """Mean accuracy of a parent's scaled variant, and the number of its trainings."""

    accuracy: float
    trainings: int


def contested(
    candidates: Candidates, targets: Mapping[str, float], settle: Settle
) -> Iterator[tuple[str, Candidate, float]]:
    """Yield, for each target with a choice, the name of a variant, its parent, and its multiply-adds."""
    for name in targets:
        place = candidates.place(name, targets)
        best = [guess.candidate for guess in candidates.at(place) if not guess.rejected][: settle.parents]
        if len(best) > 1:
            for candidate in best:
                macs = settle.factor * place * (candidate.macs / candidate.cost)
                yield f"{name}{_BETWEEN}{candidate.fingerprint}", candidate, macs


def settled(run: Path) -> dict[str, dict[str, Settled]]:
    """Return the measured variants of a run by model and fingerprint of the parent; empty until all are trained."""
    path = run / FOLDER / LEDGER
    if not path.exists():
        return {}
    ledger = read(path)
    config = ledger.header.config
    if ledger.pending or len(ledger.proposals) < len(config["networks"]) * config["finals"]["repeats"]:
        return {}
    found: dict[str, dict[str, list[float]]] = {}
    for index, done in ledger.completed.items():
        model, _, name = ledger.proposals[index].label.partition(_BETWEEN)
        parent = name.partition(" ")[0]
        found.setdefault(model, {}).setdefault(parent, []).append(done.metrics[ACCURACY.name])
    return {
        model: {parent: Settled(fmean(values), len(values)) for parent, values in parents.items()}
        for model, parents in found.items()
    }
