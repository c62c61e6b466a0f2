"""Test accuracies of re-evaluated networks, and their uncertainty by resampling seeds and test clips.

Efron & Tibshirani 1993, "An Introduction to the Bootstrap"; Owen 2007, "The Pigeonhole Bootstrap" (two crossed levels).

Every draw resamples the test clips, once for all networks, because all are tested on the same clips; clips of one video
are drawn together. It also resamples the seeds of each network. A network has few trainings, so its seeds are drawn
from the deviations of all networks' trainings from their means, widened by sqrt(n / (n - 1)), n being the trainings of
a network. Deviations are in logits: they are proportional to a (1 - a) for an accuracy a, because those of accurate
networks are smaller. Two crossed levels count some noise twice: intervals tend to be too wide. `N` is a number of
networks, `T` of trainings, `G` of groups of test clips, `D` of draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.record import correct_clips
from nas.record.events import Proposal
from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY
from search_space.base.checks import check_integer

TEST_ACCURACY = f"test_{ACCURACY.name}"
CHUNK = 2**22  # numbers in memory at a time while clips are drawn
LEAST_SLOPE = 0.01  # that of an accuracy of 0.99; nearer to 0 or 1 the logit is more precise than a test set


@dataclass(frozen=True)
class Tested:
    """Networks of a run that were trained with new seeds and tested, cheapest first.

    Attributes:
      fingerprints, labels: of each network.
      costs: float [N, m], the cost objectives.
      network: int [T], index of each training's network.
      validation, test: float [T], accuracies.
      right, sizes: int [T, G] and [G], correct clips and all clips of each group; None if the event log lacks them.
      video: whether groups are videos of several clips.
    """

    fingerprints: tuple[str, ...]
    labels: tuple[str, ...]
    costs: np.ndarray
    network: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    right: np.ndarray | None
    sizes: np.ndarray | None

    @property
    def mean(self) -> np.ndarray:
        """Matrix [N, T] from accuracies of trainings to means of networks; float [T, N]."""
        of = self.network[:, None] == np.arange(len(self.costs))
        return of / np.maximum(of.sum(axis=0), 1)


def tested(ledger: Ledger, kind: str) -> Tested:
    """Return the networks of a kind, "finalist" or "reference", whose trainings were measured on test clips."""

    def costs_of(proposal: Proposal) -> tuple[float, ...]:
        return tuple(proposal.cost[name] for name in ledger.costs)

    found = [
        (ledger.proposals[index], done)
        for index, done in ledger.completed.items()
        if ledger.proposals[index].kind == kind and {ACCURACY.name, TEST_ACCURACY} <= done.metrics.keys()
    ]
    first = {proposal.fingerprint: proposal for proposal, _ in reversed(found)}
    networks = sorted(first.values(), key=lambda proposal: (costs_of(proposal), proposal.index))
    place = {proposal.fingerprint: i for i, proposal in enumerate(networks)}
    clips = [correct_clips.unpacked(done.correct) for _, done in found if done.correct is not None]
    known = len(clips) == len(found) > 0 and all(np.array_equal(sizes, clips[0][1]) for _, sizes in clips)
    return Tested(
        fingerprints=tuple(place),
        labels=tuple(proposal.label for proposal in networks),
        costs=np.array([costs_of(proposal) for proposal in networks], float).reshape(-1, len(ledger.costs)),
        network=np.array([place[proposal.fingerprint] for proposal, _ in found], int),
        validation=np.array([done.metrics[ACCURACY.name] for _, done in found], float),
        test=np.array([done.metrics[TEST_ACCURACY] for _, done in found], float),
        right=np.stack([right for right, _ in clips]) if known else None,
        sizes=clips[0][1] if known else None,
    )


@dataclass(frozen=True)
class Drawn:
    """Mean accuracies of a set of networks, as measured [N] and as resampled [D, N]."""

    validation: np.ndarray
    test: np.ndarray
    drawn_validation: np.ndarray
    drawn_test: np.ndarray


@dataclass(frozen=True)
class Draws:
    """Resampled `sets` in their order, and the resampled `levels`, of "seeds", "clips", "videos".

    Without the level of seeds there is no interval: no network was trained twice.
    """

    sets: tuple[Drawn, ...]
    levels: tuple[str, ...]
    clips: int


def draw(sets: Sequence[Tested], draws: int, rng: np.random.Generator) -> Draws:
    """Resample seeds and test clips of several sets of networks; all sets share the draw of clips."""
    check_integer("draws", draws, 1, 10**7)
    means = [each.mean for each in sets]
    sizes = _common_sizes(sets)
    tests = [np.broadcast_to(each.test, (draws, len(each.test))) for each in sets]
    if sizes is not None:
        tests = _on_drawn_clips(sets, sizes, draws, rng)
    repeated = [np.bincount(each.network, minlength=len(each.costs))[each.network] for each in sets]
    pool = np.concatenate([_deviations(t, m, n) for t, m, n in zip(tests, means, repeated, strict=True)], axis=1)
    validations = [each.validation[None] for each in sets]
    pool_validation = np.concatenate(
        [_deviations(v, m, n) for v, m, n in zip(validations, means, repeated, strict=True)], axis=1
    )
    drawn = []
    for each, mean, test in zip(sets, means, tests, strict=True):
        validation, noise, noise_validation = each.validation @ mean, np.zeros(1), np.zeros(1)
        if pool.shape[1]:
            picks = rng.integers(0, pool.shape[1], test.shape)
            noise = np.take_along_axis(pool, picks, axis=1) * _slopes(_of_network(test, mean)) @ mean
            noise_validation = pool_validation[0][picks] * _slopes(_of_network(each.validation, mean)) @ mean
        rows = np.zeros((draws, 1))
        drawn.append(Drawn(validation, each.test @ mean, validation + noise_validation + rows, test @ mean + noise))
    seeds = ("seeds",) if pool.shape[1] else ()
    clips = () if sizes is None else ("videos",) if sizes.max() > 1 else ("clips",)
    return Draws(tuple(drawn), (*seeds, *clips), 0 if sizes is None else int(sizes.sum()))


def _common_sizes(sets: Sequence[Tested]) -> np.ndarray | None:
    """Return the clips of each group, if all sets have the results of their clips and the same groups."""
    sizes = [each.sizes for each in sets]
    if sizes[0] is None or any(each is None or not np.array_equal(each, sizes[0]) for each in sizes):
        return None
    return sizes[0]


def _on_drawn_clips(
    sets: Sequence[Tested], sizes: np.ndarray, draws: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return test accuracies float [D, T] of each set, each draw on other clips."""
    groups = len(sizes)
    right = np.concatenate([each.right for each in sets if each.right is not None]).T.astype(float)  # [G, all T]
    found = np.empty((draws, right.shape[1]))
    chunk = max(1, CHUNK // groups)
    for first in range(0, draws, chunk):
        n = min(chunk, draws - first)
        picks = rng.integers(0, groups, (n, groups)) + groups * np.arange(n)[:, None]
        times = np.bincount(picks.ravel(), minlength=n * groups).reshape(n, groups).astype(float)
        found[first : first + n] = (times @ right) / (times @ sizes)[:, None]
    return np.split(found, np.cumsum([len(each.test) for each in sets])[:-1], axis=1)


def _deviations(values: np.ndarray, mean: np.ndarray, repeated: np.ndarray) -> np.ndarray:
    """Return widened deviations, in logits, of trainings of networks trained more than once: [..., such trainings]."""
    several = repeated > 1
    accuracy = _of_network(values, mean)
    away = (values - accuracy) / _slopes(accuracy)
    return away[..., several] * np.sqrt(repeated[several] / (repeated[several] - 1))


def _slopes(accuracy: np.ndarray) -> np.ndarray:
    """Return the derivative of an accuracy by its logit, elementwise."""
    return np.maximum(accuracy * (1 - accuracy), LEAST_SLOPE)


def _of_network(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the mean of each training's network: [..., T]."""
    return values @ mean @ (mean > 0).T
