"""What a run alone can say of early accuracies: whether they rank trials as their own full budget does.

Weaker than `results.fidelity`, which asks other seeds: what both have in common here includes the luck of the one
training, so the figures flatter. Trials stopped early have no full budget and are missing. Intervals are of 95 %, by
bootstrap over trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nas.ledger import Ledger
from nas.objective import ACCURACY
from results.fidelity import ENOUGH
from results.rank_correlation import Pairs, redrawn

MOST = 2000  # trials compared; of more a random sample, as all pairs of them would not fit in memory
DRAWS = 200


@dataclass(frozen=True)
class Agreement:
    """Kendall's τ-b of two accuracies over `of` trials or networks; NaN where it does not exist."""

    name: str
    of: int
    tau: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """In the words of `results.fidelity`."""
        if self.of < ENOUGH:
            return f"not enough evidence: {self.of} of {ENOUGH}"
        return "ranks" if self.low > 0 else "reversed" if self.high < 0 else "not enough evidence"


def agreements(ledger: Ledger, rng: np.random.Generator) -> list[Agreement]:
    """Of the search's trials: each early accuracy and that of the full budget; then once trained and trained again."""
    final = {
        index: done.metrics[ACCURACY.name]
        for index, done in ledger.completed.items()
        if ledger.proposals[index].kind == "search" and ACCURACY.name in done.metrics
    }
    pairs = [(f"after {steps} steps", *both) for steps, both in _early(ledger, final)]
    pairs.append(("one training, beside the mean of those of the finals", *_again(ledger, final)))
    return [_agreement(name, early, late, rng) for name, early, late in pairs]


def _early(ledger: Ledger, final: dict[int, float]) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    by_steps: dict[int, list[tuple[float, float]]] = {}
    for rung in ledger.rungs:
        if rung.index in final and ACCURACY.name in rung.metrics:
            by_steps.setdefault(rung.steps, []).append((rung.metrics[ACCURACY.name], final[rung.index]))
    for steps, both in sorted(by_steps.items()):
        early, late = np.array(both).T
        yield steps, (early, late)


def _again(ledger: Ledger, final: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Networks that the finals trained: the accuracy of their first search trial, and the mean of the finals."""
    finals: dict[str, list[float]] = {}
    for index, done in ledger.completed.items():
        proposal = ledger.proposals[index]
        if proposal.kind == "finalist" and ACCURACY.name in done.metrics:
            finals.setdefault(proposal.fingerprint, []).append(done.metrics[ACCURACY.name])
    first = {ledger.proposals[index].fingerprint: value for index, value in reversed(final.items())}
    both = [(first[network], float(np.mean(values))) for network, values in finals.items() if network in first]
    once, again = np.array(both).reshape(-1, 2).T
    return once, again


def _agreement(name: str, early: np.ndarray, late: np.ndarray, rng: np.random.Generator) -> Agreement:
    if len(early) < 2:
        return Agreement(name, len(early), math.nan, math.nan, math.nan)
    some = rng.permutation(len(early))[:MOST]
    pairs, n = Pairs(early[some], late[some]), len(some)
    taus = pairs.tau(np.concatenate([np.ones((1, n), int), redrawn(n, DRAWS, rng)]))
    draws = taus[1:][np.isfinite(taus[1:])]
    if n < ENOUGH or len(draws) < 0.9 * DRAWS:
        return Agreement(name, n, float(taus[0]), math.nan, math.nan)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Agreement(name, n, float(taus[0]), float(low), float(high))
