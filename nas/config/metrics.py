"""Objective metrics of a search, by their names in a configuration."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np

from nas.record.objective import STATISTICS
from search_space.base.catalogue import Catalogue
from search_space.base.errors import InputError

Metric = Callable[[np.ndarray, np.ndarray], float]  # logits `N classes` and labels `N` -> a number from 0 to 1

METRICS: Catalogue[Metric] = Catalogue(
    "movinet_nas.metrics",
    dict.fromkeys(STATISTICS, "nas.evaluation.training_loop:metrics_of"),
    "must be a function of logits and labels",
    lambda found: callable(found) and not isinstance(found, type),
)


def measured(name: str, metric: Metric, logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the metric of logits float `N classes` and labels int `N`.

    Raises:
      InputError: it is not a number from 0 to 1.
    """
    value = metric(logits, labels)
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InputError(name, value, "is the metric's value; it must be a number from 0 to 1, higher is better")
    return float(value)
