"""Proxy rank correlation on synthetic tables: the compared columns, and verdicts of insufficient evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_table import synthetic_table

from nas.benchmark import table as tables
from nas.benchmark.table import Table
from results.analysis.proxy_correlation import ProxyRanking, predictors, rank
from results.analysis.rank_correlation import kendall
from search_space.base.errors import InputError

DRAWS = 200


def made(
    accuracy: np.ndarray, macs: np.ndarray | None = None, scores: dict[str, np.ndarray] | None = None, **more: Any
) -> Table:
    """Return a table of networks that differ by number alone."""
    n = len(accuracy)
    costs = {"macs": np.arange(1000, 1000 + n) if macs is None else macs}
    depths = [1 + i % 3 for i in range(n)]
    return tables.make(
        "made",
        {"n": list(range(n)), "block1.depth": depths},
        costs,
        {"accuracy": accuracy, **more.pop("statistics", {})},
        scores=scores or {},
        **more,
    )


def figures(found: ProxyRanking, predictor: str) -> pd.Series:
    return found.rows.set_index("predictor").loc[predictor]


@pytest.fixture(scope="module")
def synthetic() -> Table:
    return synthetic_table(1, (4, 4, 3, 3, 2), seeds=3)


@pytest.fixture(scope="module")
def judged(synthetic: Table) -> ProxyRanking:
    return rank(synthetic, draws=DRAWS)


def test_every_kind_of_predictor_is_judged(judged: ProxyRanking) -> None:
    assert judged.rows["predictor"].tolist() == [
        "accuracy@32", "accuracy@64", "accuracy, full budget", "log-FLOPs", "log total_parameters", "guess",
    ]  # fmt: skip
    assert judged.rows["share"].tolist() == [0.25, 0.5, 1.0, 0.0, 0.0, 0.0]
    assert sum(judged.bins) == judged.networks == judged.of == 288


def test_layers_are_the_sum_of_depths() -> None:
    given = made(np.full((6, 1), 0.5))
    assert {each.name: each.values[:, 0].tolist() for each in predictors(given)}["layers"] == [1, 2, 3, 1, 2, 3]


def test_a_training_is_never_compared_with_itself() -> None:
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(0.2, 0.8, (300, 2))  # the two seeds are independent
    found = rank(made(accuracy, statistics={"accuracy@8": accuracy}, steps=16), draws=DRAWS)
    for predictor in ("accuracy@8", "accuracy, full budget"):
        assert abs(figures(found, predictor)["tau"]) < 0.1
        assert figures(found, predictor)["tau"] == pytest.approx(kendall(*accuracy.T))
        assert figures(found, predictor)["verdict"].startswith("not enough evidence")


def test_the_truth_is_the_mean_of_the_other_seeds(synthetic: Table, judged: ProxyRanking) -> None:
    accuracy, early = synthetic.accuracy, synthetic.early()[32]
    others = [accuracy[:, [s for s in range(3) if s != seed]].mean(axis=1) for seed in range(3)]
    assert figures(judged, "accuracy@32")["tau"] == pytest.approx(
        np.mean([kendall(early[:, seed], others[seed]) for seed in range(3)])
    )
    assert figures(judged, "guess")["tau"] == pytest.approx(
        np.mean([kendall(synthetic.scores["guess"], truth) for truth in others])
    )


def test_within_bins_is_the_mean_weighted_by_pairs() -> None:
    rng = np.random.default_rng(0)
    macs = np.concatenate([np.geomspace(1000, 1900, 10), np.geomspace(9000, 10000, 30), [4000]]).astype(int)
    accuracy = rng.uniform(0.2, 0.8, (41, 1))
    score = rng.normal(size=41)
    found = rank(made(accuracy, macs, {"score": score}), bins=3, draws=DRAWS)
    assert found.bins == (10, 1, 30)
    taus = [kendall(score[some], accuracy[some, 0]) for some in (slice(10), slice(10, 40))]
    assert figures(found, "score")["tau_within"] == pytest.approx(np.average(taus, weights=[45, 435]))


def test_what_ranks_by_cost_alone_adds_nothing_within_bins() -> None:
    rng = np.random.default_rng(3)
    macs = np.geomspace(1e5, 1e7, 400).astype(int)
    quality = rng.normal(size=400)
    true = 0.5 + 0.05 * np.log(macs / 1e6) + 0.03 * quality
    accuracy = true[:, None] + rng.normal(0, 0.02, (400, 2))
    scores = {"size": np.log(macs) + rng.normal(0, 0.2, 400), "quality": quality, "wrong": -quality}
    found = rank(made(accuracy, macs, scores), draws=DRAWS)
    size, quality_row, wrong = (figures(found, name) for name in scores)
    assert size["tau"] > 0.5
    assert size["tau_within"] < size["tau"] - 0.2
    assert size["beyond_cost_low"] < 0 < size["beyond_cost_high"]
    assert quality_row["verdict"] == "ranks within bins, adds to log-FLOPs"
    assert wrong["verdict"] == "ranks within bins (reversed), adds to log-FLOPs (reversed)"
    assert np.isnan(figures(found, "log-FLOPs")["beyond_cost"])
    assert quality_row["regret_1_within"] < size["regret_1_within"]


def test_cheaper_measurements_rank_worse_than_the_ceiling(judged: ProxyRanking) -> None:
    taus = [figures(judged, name)["tau_within"] for name in ("accuracy@32", "accuracy@64", "accuracy, full budget")]
    assert taus == sorted(taus)
    for name in ("tau", "tau_within", "beyond_cost"):
        rows = judged.rows.dropna(subset=name)
        assert ((rows[f"{name}_low"] < rows[name]) & (rows[name] < rows[f"{name}_high"])).all()


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(40):
        quality, noise = rng.normal(size=(2, 60))
        accuracy = np.clip(0.5 + 0.05 * quality[:, None], 0, 1)
        row = figures(rank(made(accuracy, scores={"score": quality + noise}), 1, DRAWS), "score")
        held += row["tau_low"] <= 2 / np.pi * np.arcsin(np.sqrt(0.5)) <= row["tau_high"]
    assert held >= 34  # 38 expected


def test_few_networks_are_not_enough_evidence() -> None:
    accuracy = np.linspace(0.2, 0.8, 19)[:, None]
    found = rank(made(accuracy, scores={"perfect": accuracy[:, 0]}), bins=1, draws=DRAWS)
    assert figures(found, "perfect")["tau"] == 1
    assert figures(found, "perfect")["verdict"] == "not enough evidence: 19 networks of 20"


def test_one_seed_says_nothing_about_its_own_rungs() -> None:
    accuracy = np.random.default_rng(0).uniform(0.2, 0.8, (40, 1))
    found = rank(made(accuracy, statistics={"accuracy@4": accuracy}, scores={"score": accuracy[:, 0]}), draws=DRAWS)
    for predictor in ("accuracy@4", "accuracy, full budget"):
        assert figures(found, predictor)["verdict"] == "not enough evidence: 0 networks of 20"
    assert figures(found, "score")["tau"] == 1


def test_missing_trainings_and_scores_are_left_out() -> None:
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(0.2, 0.8, (60, 2))
    score = accuracy.mean(axis=1)
    accuracy[::2, 1] = np.nan
    score[:3] = np.nan
    found = rank(made(accuracy, statistics={"accuracy@4": accuracy}, scores={"score": score}), draws=DRAWS)
    assert figures(found, "accuracy@4")["networks"] == 30
    assert figures(found, "score")["networks"] == 57
    assert np.isfinite(figures(found, "score")["tau_within"])


def test_a_large_table_is_sampled(monkeypatch: pytest.MonkeyPatch, synthetic: Table) -> None:
    monkeypatch.setattr("results.analysis.proxy_correlation.MOST", 100)
    found = rank(synthetic, draws=DRAWS)
    assert (found.networks, found.of, sum(found.bins)) == (100, 288, 100)


def test_same_table_same_figures(synthetic: Table, judged: ProxyRanking) -> None:
    pd.testing.assert_frame_equal(rank(synthetic, draws=DRAWS).rows, judged.rows)


def test_a_single_cost_is_one_bin() -> None:
    found = rank(made(np.linspace(0.1, 0.9, 30)[:, None], np.full(30, 7)), draws=DRAWS)
    assert np.isnan(figures(found, "log-FLOPs")["tau"])
    assert figures(found, "log-FLOPs")["verdict"] == "not enough evidence"


@pytest.mark.parametrize("bins", [0, -1, 1001])
def test_bins_out_of_range(synthetic: Table, bins: int) -> None:
    with pytest.raises(InputError, match="--bins"):
        rank(synthetic, bins)


def test_the_supernet_has_no_share_of_the_steps(synthetic: Table) -> None:
    scored = replace(synthetic, scores={"supernet": synthetic.scores["guess"]})
    assert np.isnan(figures(rank(scored, draws=DRAWS), "supernet")["share"])


def test_all_statistics_are_predictors_and_long_trainings_a_truth() -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(size=200)
    accuracy, loss = (
        np.round(true[:, None] * sign + rng.normal(0, sd, (200, 2)), 6) for sign, sd in ((1, 3), (-1, 0.3))
    )
    accuracy = 1 / (1 + np.exp(-accuracy))
    long = np.full((200, 2), np.nan)
    long[::3, 0] = 1 / (1 + np.exp(-true[::3]))  # a third of the networks, trained longer, with one of two seeds
    table = made(accuracy, statistics={"loss": loss + 5, "loss@4": loss + 6}, steps=16, long_accuracy=long)
    found = rank(table, 3, DRAWS)
    assert found.rows["predictor"].tolist()[:3] == ["accuracy, full budget", "likelihood@4", "likelihood, full budget"]
    assert found.long == 67
    likelihood = figures(found, "likelihood, full budget")
    assert (
        likelihood["kind"] == "full"
        and likelihood["tau_within"] > figures(found, "accuracy, full budget")["tau_within"]
    )
    assert likelihood["tau_long_low"] > 0.6 > figures(found, "accuracy, full budget")["tau_long_high"]
    alone = rank(made(accuracy[:, :1], long_accuracy=long), 3, DRAWS)
    row = figures(alone, "accuracy, full budget")
    assert row["networks"] == 0 and np.isfinite(row["tau_long"])  # longer trainings serve as the truth for one seed too
