"""Result of an evaluation: predictions for every example, their accuracy, and its files."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from movinet.training import metrics
from movinet.training.config.experiment import DataConfig
from movinet.training.metrics import Floats, Integers, Point
from search_space.base.atomic_files import write_text
from search_space.base.errors import InputError

SCHEMA = "movinet-nas/evaluation/1"
TOP = 5


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions for N examples, and their accuracy.

    Attributes:
      mode: evaluated part of a video: clip, multi, stream or frame.
      data: the evaluated clips.
      classes: by label.
      names: of the examples.
      labels: int32 `N`.
      probabilities: float32 `N C`, from everything evaluated.
      curve: accuracy by frames or by clips and crops; the last point uses all.
      unusable: name of a skipped video -> reason.
      seconds: duration.
    """

    mode: str
    data: DataConfig
    classes: tuple[str, ...]
    names: Sequence[str]
    labels: Integers
    probabilities: Floats
    curve: tuple[Point, ...]
    unusable: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def top1(self) -> float:
        """Fraction of examples whose label is the most probable class."""
        return float(metrics.hits(self.probabilities, self.labels, 1).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `top1`, over examples."""
        return metrics.share_interval(self.top1, len(self.labels))

    @property
    def chance(self) -> float:
        """Accuracy of always predicting the most frequent class of these examples."""
        return float(np.bincount(self.labels).max() / len(self.labels))

    @property
    def top5(self) -> float | None:
        """Fraction of examples whose label is among the five most probable classes; None for five classes or fewer."""
        if len(self.classes) <= TOP:
            return None
        return float(metrics.hits(self.probabilities, self.labels, TOP).mean())

    @property
    def loss(self) -> float:
        """Mean cross entropy in nats."""
        return metrics.mean_loss(self.probabilities, self.labels)

    @property
    def confusion(self) -> Integers:
        """Labels in rows, predictions in columns: int `C C`."""
        predicted = metrics.ranking(self.probabilities, 1)[:, 0]
        return metrics.confusion(predicted, self.labels, len(self.classes))

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the single predictions, as plain data."""
        matrix = self.confusion
        accuracies, counts = metrics.class_accuracies(matrix), matrix.sum(axis=1).tolist()
        return {
            "schema": SCHEMA,
            "mode": self.mode,
            "examples": len(self.labels),
            "top1": self.top1,
            "top1_interval": self.interval,
            "chance": self.chance,
            "top5": self.top5,
            "loss": self.loss,
            "seconds": round(self.seconds, 3),
            "classes": [
                {"name": name, "examples": count, "accuracy": accuracy}
                for name, count, accuracy in zip(self.classes, counts, accuracies, strict=True)
            ],
            "curve": [point.row() for point in self.curve],
            "confusion": matrix.tolist(),
            "unusable": self.unusable,
            "data": asdict(self.data),
        }

    def summary(self) -> str:
        """Return one line: number of examples, and accuracies with interval and chance level."""
        low, high = self.interval
        top5 = "" if self.top5 is None else f", top-5 {self.top5:.2%}"
        left_out = f"; {len(self.unusable)} videos left out" if self.unusable else ""
        return (
            f"{len(self.labels)} examples in {self.seconds:.0f} s: top-1 {self.top1:.2%}, 95 % interval {low:.2%} to "
            f"{high:.2%}, most frequent class {self.chance:.2%}{top5}, loss {self.loss:.4f}{left_out}"
        )

    def predictions(self) -> str:
        """Return a CSV table: example, label, prediction, and the most probable classes with their probabilities."""
        best = metrics.ranking(self.probabilities, min(TOP, len(self.classes)))
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        numbered = [f"{what}_{place + 1}" for place in range(best.shape[1]) for what in ("class", "probability")]
        table.writerow(["example", "label", "predicted", *numbered])
        for name, label, order, values in zip(self.names, self.labels, best, self.probabilities, strict=True):
            ranked = [item for i in order for item in (self.classes[i], f"{values[i]:.6g}")]
            table.writerow([name, self.classes[label], self.classes[order[0]], *ranked])
        return text.getvalue()

    def write(self, folder: Path, **about: Any) -> None:
        """Write evaluation.json, including the fields `about`, and predictions.csv. Raises `InputError`."""
        write_text(folder / "predictions.csv", self.predictions())
        write_text(folder / "evaluation.json", json.dumps({**self.to_dict(), **about}, indent=1) + "\n")


def check_new(folder: Path) -> None:
    """Raise `InputError` if a folder holds an evaluation, which would be overwritten."""
    if os.path.exists(folder / "evaluation.json"):
        raise InputError("--out", str(folder), "already holds an evaluation; choose another folder")
