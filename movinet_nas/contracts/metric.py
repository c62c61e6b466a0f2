"""Contract of a metric: from 0 to 1, higher for better predictions, a function of logits and labels only."""

from __future__ import annotations

import numpy as np

from nas.config.metrics import Metric, measured
from search_space.base.errors import InputError


def check_metric(metric: Metric, classes: int = 5) -> None:
    """Check a metric on synthetic logits.

    Args:
      metric: of logits float32 `N classes` and labels int `N`, to a number from 0 to 1, higher is better.
      classes: number of classes.

    Raises:
      AssertionError: the first fault, with an explanation.
    """
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(40 * classes) % classes).astype(np.int32)
    right = np.where(np.eye(classes, dtype=bool)[labels], 5, -5).astype(np.float32)
    noise = rng.normal(size=right.shape).astype(np.float32)
    cases = {"right": right, "mixed": right + 6 * noise, "random": noise, "wrong": -right, "equal": 0 * noise}
    cases |= {"large": 1e4 * noise}
    values = {}
    for name, logits in cases.items():
        given = logits.copy(), labels.copy()
        try:
            values[name] = measured(f"{name} logits", metric, *given)
            again = measured(f"{name} logits", metric, logits.copy(), labels.copy())
            measured(f"one clip of {name} logits", metric, logits[:1].copy(), labels[:1].copy())
        except InputError as error:
            raise AssertionError(str(error)) from None
        if not (np.array_equal(given[0], logits) and np.array_equal(given[1], labels)):
            raise AssertionError("the metric changes its arguments")
        if again != values[name]:
            raise AssertionError(f"{name} logits give {values[name]}, then {again}; a metric must be repeatable")
    if not values["right"] > values["random"] > values["wrong"]:
        shown = ", ".join(f"{name} {values[name]:.3f}" for name in ("right", "random", "wrong"))
        raise AssertionError(f"higher must be better, but right, random and wrong logits give: {shown}")
