"""Metrics of predictions: accuracies, loss and confusion, from probabilities `N C` and labels `N`. numpy only."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[Any]

EPSILON = 1e-7  # the least probability in a loss, as in Keras' cross entropy of probabilities


def softmax(logits: Floats) -> Floats:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def ranking(probabilities: Floats, count: int) -> Integers:
    """The `count` most probable classes, best first: `N count`. Equal ones are in order of their labels."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :count]


def hits(probabilities: Floats, labels: Integers, count: int) -> npt.NDArray[np.bool_]:
    """Return True where the label is among the `count` most probable classes; False for NaN probabilities."""
    found = (ranking(probabilities, count) == labels[:, None]).any(axis=1)
    return found & np.isfinite(probabilities).all(axis=1)


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a fraction of `count` independent examples (Wilson 1927)."""
    z = 1.959964
    center, width = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return (center - width) / (1 + z * z / count), (center + width) / (1 + z * z / count)


def mean_loss(probabilities: Floats, labels: Integers) -> float:
    """Mean cross entropy in nats."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(own, EPSILON, 1.0), dtype=np.float64).mean())


def confusion(predicted: Integers, labels: Integers, classes: int) -> Integers:
    """Return how often a label (row) is predicted as a class (column): int `C C`."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def class_accuracies(matrix: Integers) -> list[float | None]:
    """Return the accuracy by label, None for labels without examples."""
    totals = matrix.sum(axis=1)
    return [float(right / total) if total else None for right, total in zip(matrix.diagonal(), totals, strict=True)]


@dataclass(frozen=True)
class Point:
    """Accuracy after part of the evidence: a number of frames, or of clips and crops, as in `what`."""

    what: tuple[tuple[str, int], ...]
    top1: float
    top5: float

    def row(self) -> dict[str, float]:
        """Return the entry of a table."""
        return {**dict(self.what), "top1": self.top1, "top5": self.top5}


class Curve:
    """Number of hits for each amount of evidence, added batch by batch."""

    def __init__(self) -> None:
        self._hits: dict[Hashable, npt.NDArray[np.int64]] = {}

    def add(self, what: dict[str, int], probabilities: Floats, labels: Integers) -> None:
        """Add a batch evaluated with this evidence."""
        found = [int(hits(probabilities, labels, count).sum()) for count in (1, 5)]
        kept = self._hits.setdefault(tuple(what.items()), np.zeros(3, np.int64))
        kept += np.array([*found, len(labels)])

    def points(self) -> Iterator[Point]:
        """Yield the points in the order in which they were first added."""
        for what, (top1, top5, count) in self._hits.items():
            yield Point(what, float(top1 / count), float(top5 / count))  # type: ignore[arg-type]
