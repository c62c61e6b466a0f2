"""A tabular benchmark computed by a formula, with the structure of real ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from nas.benchmark import table
from nas.benchmark.table import Table

STEPS = 128
RUNGS = (32, 64)


def synthetic_table(
    seed: int,
    choices: Sequence[int] = (3, 3, 3, 2, 2, 2),
    seeds: int = 2,
    noise: float = 0.03,
    conditional: bool = False,
    share: float = 1.0,
) -> Table:
    """Return a table of accuracies that saturate in log-cost, with effects of options and of pairs, and seed noise.

    Args:
      seed: of all draws.
      choices: number of options of each choice; every third choice has texts, the others numbers.
      seeds: trainings of each architecture, with the standard deviation `noise`.
      conditional: the second half of the choices is absent where the first takes its first option.
      share: fraction of all combinations, drawn at random, that are in the table.
    """
    rng = np.random.default_rng(seed)
    genes = np.array(list(itertools.product(*map(range, choices))))
    absent = np.zeros(genes.shape, dtype=bool)
    if conditional:
        absent[genes[:, 0] == 0, (len(choices) + 1) // 2 :] = True
        _, first = np.unique(np.where(absent, 0, genes), axis=0, return_index=True)
        genes, absent = genes[first], absent[first]
    kept = np.sort(rng.permutation(len(genes))[: max(round(share * len(genes)), 1)])
    genes, absent = genes[kept], absent[kept]
    effects = _effects(rng, genes, absent, choices)
    macs = np.exp(np.log(3e5) + _costs(rng, genes, absent, choices)).astype(np.int64)
    true = 0.15 + 0.4 * (1 - np.exp(-np.log(macs / 2e5) / 1.2)) + 0.06 * effects
    accuracy, early = _trainings(rng, np.clip(true, 0.03, 0.97), macs, seeds, noise)
    return table.make(
        f"synthetic-{seed}",
        {f"c{i}": _values(genes[:, i], absent[:, i], texts=i % 3 == 2) for i in range(len(choices))},
        {"macs": macs, "total_parameters": macs // 40 + 1000 * genes[:, 0] + 1},
        {"accuracy": accuracy, **{f"accuracy@{at}": each for at, each in zip(RUNGS, early, strict=True)}},
        steps=STEPS,
        seconds=np.repeat(macs[:, None] * 5e-6, seeds, axis=1),
        scores={"guess": true + rng.normal(0, 0.05, len(true))},
    )


def _values(genes: np.ndarray, absent: np.ndarray, texts: bool) -> list[int | str | None]:
    return [
        None if off else f"kind{gene}" if texts else 8 * (int(gene) + 1)
        for gene, off in zip(genes, absent, strict=True)
    ]


def _costs(rng: np.random.Generator, genes: np.ndarray, absent: np.ndarray, choices: Sequence[int]) -> np.ndarray:
    """Return the log of the cost, to which every option adds, later ones more."""
    weights = rng.uniform(0.2, 0.8, len(choices))
    return np.where(absent, 0, weights * genes / np.maximum(np.array(choices) - 1, 1)).sum(axis=1)


def _effects(rng: np.random.Generator, genes: np.ndarray, absent: np.ndarray, choices: Sequence[int]) -> np.ndarray:
    """Return the quality of each architecture relative to its cost: mean 0, standard deviation 1 over the rows."""
    single = rng.normal(size=(len(choices), max(choices) + 1))
    chosen = np.where(absent, max(choices), genes)
    total = single[np.arange(len(choices)), chosen].sum(axis=1)
    for a, b in itertools.islice(itertools.combinations(range(len(choices)), 2), 6):
        total += 0.6 * rng.normal(size=(max(choices) + 1,) * 2)[chosen[:, a], chosen[:, b]]
    return (total - total.mean()) / max(total.std(), 1e-9)


def _trainings(
    rng: np.random.Generator, true: np.ndarray, macs: np.ndarray, seeds: int, noise: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return accuracies [rows, seeds] at the full budget and at each rung; costly networks learn more slowly."""
    accuracy = np.clip(true[:, None] + rng.normal(0, noise, (len(true), seeds)), 0, 1)
    slow = 0.3 * np.log(macs / macs.min()) / max(float(np.log(macs.max() / macs.min())), 1e-9)
    early = []
    for steps in RUNGS:
        learnt = (steps / STEPS) ** (0.5 + slow[:, None])
        early.append(np.clip(learnt * accuracy + rng.normal(0, noise / 2, accuracy.shape), 0, 1))
    return accuracy, early
