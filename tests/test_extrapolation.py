"""Test the line from early to full values: with trials selected by the early value, and with outliers."""

from __future__ import annotations

import numpy as np
import pytest

from nas.algorithms.frontier.extrapolation import Extrapolation


def test_it_is_the_line_of_all_trials_also_where_the_worse_half_was_stopped() -> None:
    rng = np.random.default_rng(0)
    early, log_costs = rng.normal(size=400), rng.normal(14, 0.5, 400)
    full = 0.3 + 0.8 * early + 0.4 * (log_costs - 14) + rng.normal(0, 0.2, 400)
    full[::20] += 5.0  # some improve late
    completed = early > 0
    line = Extrapolation.fit(early[completed], log_costs[completed], full[completed])
    assert line.variance == pytest.approx(0.04, rel=0.3)
    assert line(np.array([-1.0, 1.0]), np.array([14.0, 15.0])) == pytest.approx([-0.5, 1.5], abs=0.15)


def test_few_trials_without_a_trend_give_their_mean() -> None:
    line = Extrapolation.fit(np.full(4, 0.2), np.full(4, 14.0), np.array([0.1, 0.2, 0.3, 0.4]))
    assert line(np.array([0.2]), np.array([14.0])) == pytest.approx([0.25])
    assert line.variance > 0
