"""The best candidates for the parents of a family, as scaled variants that were trained to choose between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from nas.ledger import read
from nas.objective import ACCURACY
from results.family import FamilyConfig, Settled, place_of
from results.parents import Candidate, Candidates

FOLDER = "settle"
LEDGER = "ledger.jsonl"
_BETWEEN = ": "  # model and fingerprint of a variant's name


def contested(candidates: Candidates, config: FamilyConfig) -> Iterator[tuple[str, Candidate, float]]:
    """For each target with a choice: the name of a variant, its parent, and the multiply-adds to train it at."""
    if config.settle is None:
        return
    for name in config.targets:
        place = place_of(name, config, *candidates.span())
        best = [guess.candidate for guess in candidates.at(place) if not guess.rejected][: config.settle.parents]
        if len(best) > 1:
            for candidate in best:
                yield f"{name}{_BETWEEN}{candidate.fingerprint}", candidate, config.settle.factor * place


def settled(run: Path) -> dict[str, dict[str, Settled]]:
    """The measured variants of a run by model and fingerprint of the parent; nothing until all are trained."""
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
