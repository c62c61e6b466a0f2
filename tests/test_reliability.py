"""Reliability: variance components against closed forms and a slower implementation, and the recommendations."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nas.loop import run_folder
from results.analysis.rank_correlation import redrawn
from results.analysis.reliability import reliability, tau_between_seeds, tau_with_others
from results.analysis.variance_components import Components, components, cost_trend
from results.tables.trainings import Trainings, of_ledger

PUBLISHED = Path("results/published/frontier")


def simulated(
    rng: np.random.Generator, architectures: int, seeds: int, between: float, within: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return costs [R] and trainings [R, S] with these variances around a quadratic in log cost."""
    macs = np.exp(rng.uniform(12, 15, architectures))
    own = 0.3 * np.log(macs) - 0.02 * np.log(macs) ** 2 + rng.normal(0, np.sqrt(between), architectures)
    return macs, own[:, None] + rng.normal(0, np.sqrt(within), (architectures, seeds))


def unbalanced(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Return the same without some trainings; each architecture keeps its first."""
    gone = rng.random(values.shape) < 0.4
    gone[:, 0] = False
    return np.where(gone, np.nan, values)


def slowly(values: np.ndarray, trend: np.ndarray) -> tuple[float, float]:
    """Compute both variances from projections of all trainings, with one column for each architecture."""
    rows, columns = np.nonzero(np.isfinite(values))
    y, x, z = values[rows, columns], trend[rows], np.eye(len(values))[rows]
    leaves = [np.eye(len(y)) - part @ np.linalg.pinv(part) for part in (x, np.hstack([x, z]))]
    within = y @ leaves[1] @ y / round(np.trace(leaves[1]))
    squares = y @ (leaves[0] - leaves[1]) @ y
    free = round(np.trace(leaves[0] - leaves[1]))
    return (squares - free * within) / np.trace(z.T @ leaves[0] @ z), within


def only(found: Components) -> tuple[float, float]:
    return float(found.between[0]), float(found.within[0])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_variances_are_unbiased_for_twelve_architectures_with_unequal_seeds(share: float) -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(1500):
        macs, values = simulated(rng, 12, 3, share, 1 - share)
        found.append(only(components(unbalanced(rng, values), cost_trend(macs))))
    assert np.mean(found, axis=0) == pytest.approx([share, 1 - share], abs=0.035)


def test_many_architectures_give_the_variances_and_the_intraclass_correlation_drawn_with() -> None:
    macs, values = simulated(np.random.default_rng(2), 20_000, 3, 0.3, 0.1)
    found = components(values, cost_trend(macs))
    assert only(found) == pytest.approx((0.3, 0.1), rel=0.03)
    assert found.reliability[0] == pytest.approx(0.75, rel=0.02)


def test_without_a_trend_it_is_the_textbooks_intraclass_correlation() -> None:
    # Shrout & Fleiss 1979, table 2: ICC(1,1) = 0.17.
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    assert components(ratings, np.ones((6, 1))).reliability[0] == pytest.approx(0.1657, abs=1e-4)


def test_a_slower_implementation_finds_the_same() -> None:
    rng = np.random.default_rng(3)
    macs, values = simulated(rng, 14, 4, 0.2, 0.1)
    values = unbalanced(rng, values)
    assert only(components(values, cost_trend(macs))) == pytest.approx(slowly(values, cost_trend(macs)))


def test_a_bootstrap_draw_is_the_estimate_of_the_architectures_drawn() -> None:
    rng = np.random.default_rng(4)
    macs, values = simulated(rng, 14, 3, 0.2, 0.1)
    trend, copies = cost_trend(macs), redrawn(14, 3, rng)
    drawn = components(values, trend, copies)
    for draw, copy in enumerate(copies):
        rows = np.repeat(np.arange(14), copy)
        between, within = slowly(values[rows], trend[rows])
        assert drawn.within[draw] == pytest.approx(within)
        squares = 33 * between + 11 * within  # 11 degrees of freedom, 3 seeds
        assert drawn.between[draw] == pytest.approx((squares * 14 / 11 - 11 * within) / 33)


def test_intervals_hold_the_truth_about_as_often_as_they_promise() -> None:
    rng, held = np.random.default_rng(5), 0
    for _ in range(150):
        macs, values = simulated(rng, 20, 3, 0.6, 0.4)
        drawn = components(values, cost_trend(macs), redrawn(20, 300, rng)).reliability
        low, high = np.quantile(drawn, (0.025, 0.975))
        held += low <= 0.6 <= high
    assert 0.86 <= held / 150 <= 0.99


def test_order_shift_and_unit_do_not_matter() -> None:
    rng = np.random.default_rng(6)
    macs, values = simulated(rng, 15, 3, 0.2, 0.1)
    found = components(unbalanced(np.random.default_rng(0), values), cost_trend(macs)).reliability[0]
    order = rng.permutation(15)
    values = unbalanced(np.random.default_rng(0), values)
    shuffled = rng.permuted(values, axis=1)[order]
    assert components(1e3 + 7 * shuffled, cost_trend(5 * macs[order])).reliability[0] == pytest.approx(found)


def test_tau_within_bins_is_the_mean_over_bins_and_seed_pairs() -> None:
    rng = np.random.default_rng(7)
    _, values = simulated(rng, 60, 3, 0.5, 0.5)
    values = unbalanced(rng, values)
    bins, once = np.repeat([0, 1, 2], 20), np.ones((1, 60), int)
    taus, weights = [], []
    for (one, other), each in itertools.product(itertools.combinations(range(3), 2), range(3)):
        x, y = values[bins == each][:, [one, other]].T
        both = np.isfinite(x) & np.isfinite(y)
        taus.append(stats.kendalltau(x[both], y[both]).statistic)
        weights.append(both.sum() * (both.sum() - 1) / 2)
    expected = [np.average(taus[i : i + 3], weights=weights[i : i + 3]) for i in (0, 3, 6)]
    pairs = [sum(weights[i : i + 3]) for i in (0, 3, 6)]
    assert tau_between_seeds(values, bins, once)[0] == pytest.approx(np.average(expected, weights=pairs))


def test_accuracy_is_foretold_by_other_seeds_only() -> None:
    # Noise that only the statistics of one training share carries no information about its network.
    rng = np.random.default_rng(8)
    luck = rng.normal(size=(400, 2))
    bins, once = np.zeros(400, int), np.ones((1, 400), int)
    assert abs(tau_with_others(luck, luck, bins, once)[0]) < 0.1


def of(macs: np.ndarray, **statistics: np.ndarray) -> Trainings:
    return Trainings("made up", macs, statistics)


def test_the_most_reliable_statistic_is_recommended() -> None:
    rng = np.random.default_rng(9)
    macs, likelihood = simulated(rng, 60, 3, 0.9, 0.1)
    accuracy = likelihood.mean(axis=1, keepdims=True) + rng.normal(0, 1, (60, 3))
    found = reliability(of(macs, accuracy=accuracy, likelihood=likelihood, motion=likelihood + 0), draws=200)
    assert found.recommended == "likelihood" and found.verdict.startswith("search by likelihood: reliability 0.")
    rows = found.rows.set_index("statistic")
    assert rows.loc["accuracy", "reliability_high"] < rows.loc["likelihood", "reliability_low"]


def test_of_equally_reliable_statistics_the_better_predictor_is_recommended() -> None:
    rng = np.random.default_rng(10)
    macs, accuracy = simulated(rng, 60, 3, 0.8, 0.2)
    _, other = simulated(rng, 60, 3, 0.82, 0.18)
    found = reliability(of(macs, accuracy=accuracy, likelihood=other), draws=200)
    assert found.recommended == "accuracy" and "not more reliable than likelihood" in found.verdict


def test_noise_is_not_recommended_and_a_constant_has_no_reliability() -> None:
    rng = np.random.default_rng(11)
    macs, accuracy = simulated(rng, 40, 2, 0.0, 1.0)
    found = reliability(of(macs, accuracy=accuracy, likelihood=np.full((40, 2), 0.5)), draws=200)
    assert found.recommended is None and found.verdict.startswith("not enough evidence: ")
    constant = found.rows.set_index("statistic").loc["likelihood"]
    assert constant["between"] == constant["within"] == 0 and np.isnan(constant["reliability"])


def test_one_seed_and_few_architectures_are_one_line() -> None:
    macs, accuracy = simulated(np.random.default_rng(12), 40, 2, 0.5, 0.5)
    one = reliability(of(macs, accuracy=accuracy[:, :1]))
    assert one.rows.empty and one.verdict == (
        "no reliability: no two architectures were trained with two seeds or more each"
    )
    few = reliability(of(macs[:6], accuracy=accuracy[:6]), draws=200)
    assert few.recommended is None and few.verdict == (
        "not enough evidence: 6 architectures have two seeds, 10 are needed"
    )


def test_the_published_run_repeats_every_network_of_its_front() -> None:
    trainings = of_ledger(run_folder.read(PUBLISHED))
    rows = reliability(trainings, draws=50).rows.set_index("statistic")["reliability"]
    assert trainings.kind == "re-evaluations" and trainings.repeated >= 10
    assert {"accuracy", "likelihood", "test_accuracy"} <= set(rows.index) and rows.between(0, 1).all()
