"""Fidelity of predictors on tables made up: what is compared with what, and when there is not enough evidence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from synthetic_table import synthetic_table

from nas import table as tables
from nas.table import Table
from results import fidelity_report
from results.fidelity import Fidelity, fidelity, predictors
from results.rank_correlation import kendall
from search_space.errors import InputError

DRAWS = 200


def made(
    accuracy: np.ndarray, macs: np.ndarray | None = None, scores: dict[str, np.ndarray] | None = None, **columns: Any
) -> Table:
    """A table of networks told apart by number alone."""
    n = len(accuracy)
    costs = {"macs": np.arange(1000, 1000 + n) if macs is None else macs}
    depths = [1 + i % 3 for i in range(n)]
    return tables.make(
        "made", {"n": list(range(n)), "block1.depth": depths}, costs, accuracy, scores=scores or {}, **columns
    )


def figures(found: Fidelity, predictor: str) -> pd.Series:
    return found.rows.set_index("predictor").loc[predictor]


@pytest.fixture(scope="module")
def synthetic() -> Table:
    return synthetic_table(1, (4, 4, 3, 3, 2), seeds=3)


@pytest.fixture(scope="module")
def judged(synthetic: Table) -> Fidelity:
    return fidelity(synthetic, draws=DRAWS)


def test_every_kind_of_predictor_is_judged(judged: Fidelity) -> None:
    assert judged.rows["predictor"].tolist() == [
        "accuracy@32", "accuracy@64", "accuracy, full budget", "log-FLOPs", "log total_parameters", "guess",
    ]  # fmt: skip
    assert judged.rows["share"].tolist() == [0.25, 0.5, 1.0, 0.0, 0.0, 0.0]
    assert sum(judged.bands) == judged.networks == judged.of == 288


def test_layers_are_the_sum_of_depths() -> None:
    given = made(np.full((6, 1), 0.5))
    assert {each.name: each.values[:, 0].tolist() for each in predictors(given)}["layers"] == [1, 2, 3, 1, 2, 3]


def test_a_training_is_never_compared_with_itself() -> None:
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(0.2, 0.8, (300, 2))  # two seeds agree on nothing
    found = fidelity(made(accuracy, curve={8: accuracy}, steps=16), draws=DRAWS)
    for predictor in ("accuracy@8", "accuracy, full budget"):
        assert abs(figures(found, predictor)["tau"]) < 0.1
        assert figures(found, predictor)["tau"] == pytest.approx(kendall(*accuracy.T))
        assert figures(found, predictor)["verdict"].startswith("not enough evidence")


def test_the_truth_is_the_mean_of_the_other_seeds(synthetic: Table, judged: Fidelity) -> None:
    accuracy, early = synthetic.accuracy, synthetic.curve[32]
    others = [accuracy[:, [s for s in range(3) if s != seed]].mean(axis=1) for seed in range(3)]
    assert figures(judged, "accuracy@32")["tau"] == pytest.approx(
        np.mean([kendall(early[:, seed], others[seed]) for seed in range(3)])
    )
    assert figures(judged, "guess")["tau"] == pytest.approx(
        np.mean([kendall(synthetic.scores["guess"], truth) for truth in others])
    )


def test_within_bands_is_the_mean_weighted_by_pairs() -> None:
    rng = np.random.default_rng(0)
    macs = np.concatenate([np.geomspace(1000, 1900, 10), np.geomspace(9000, 10000, 30), [4000]]).astype(int)
    accuracy = rng.uniform(0.2, 0.8, (41, 1))
    score = rng.normal(size=41)
    found = fidelity(made(accuracy, macs, {"score": score}), bands=3, draws=DRAWS)
    assert found.bands == (10, 1, 30)
    taus = [kendall(score[some], accuracy[some, 0]) for some in (slice(10), slice(10, 40))]
    assert figures(found, "score")["tau_within"] == pytest.approx(np.average(taus, weights=[45, 435]))


def test_what_ranks_by_cost_alone_adds_nothing_within_bands() -> None:
    rng = np.random.default_rng(3)
    macs = np.geomspace(1e5, 1e7, 400).astype(int)
    quality = rng.normal(size=400)
    true = 0.5 + 0.05 * np.log(macs / 1e6) + 0.03 * quality
    accuracy = true[:, None] + rng.normal(0, 0.02, (400, 2))
    scores = {"size": np.log(macs) + rng.normal(0, 0.2, 400), "quality": quality, "wrong": -quality}
    found = fidelity(made(accuracy, macs, scores), draws=DRAWS)
    size, quality_row, wrong = (figures(found, name) for name in scores)
    assert size["tau"] > 0.5
    assert size["tau_within"] < size["tau"] - 0.2
    assert size["beyond_cost_low"] < 0 < size["beyond_cost_high"]
    assert quality_row["verdict"] == "ranks within bands, adds to log-FLOPs"
    assert wrong["verdict"] == "ranks within bands (reversed), adds to log-FLOPs (reversed)"
    assert np.isnan(figures(found, "log-FLOPs")["beyond_cost"])
    assert quality_row["regret_1_within"] < size["regret_1_within"]


def test_cheaper_measurements_rank_worse_than_the_ceiling(judged: Fidelity) -> None:
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
        row = figures(fidelity(made(accuracy, scores={"score": quality + noise}), 1, DRAWS), "score")
        held += row["tau_low"] <= 2 / np.pi * np.arcsin(np.sqrt(0.5)) <= row["tau_high"]
    assert held >= 34  # 38 expected


def test_few_networks_are_not_enough_evidence() -> None:
    accuracy = np.linspace(0.2, 0.8, 19)[:, None]
    found = fidelity(made(accuracy, scores={"perfect": accuracy[:, 0]}), bands=1, draws=DRAWS)
    assert figures(found, "perfect")["tau"] == 1
    assert figures(found, "perfect")["verdict"] == "not enough evidence: 19 networks of 20"


def test_one_seed_says_nothing_about_its_own_rungs() -> None:
    accuracy = np.random.default_rng(0).uniform(0.2, 0.8, (40, 1))
    found = fidelity(made(accuracy, curve={4: accuracy}, scores={"score": accuracy[:, 0]}), draws=DRAWS)
    for predictor in ("accuracy@4", "accuracy, full budget"):
        assert figures(found, predictor)["verdict"] == "not enough evidence: 0 networks of 20"
    assert figures(found, "score")["tau"] == 1


def test_missing_trainings_and_scores_are_left_out() -> None:
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(0.2, 0.8, (60, 2))
    score = accuracy.mean(axis=1)
    accuracy[::2, 1] = np.nan
    score[:3] = np.nan
    found = fidelity(made(accuracy, curve={4: accuracy}, scores={"score": score}), draws=DRAWS)
    assert figures(found, "accuracy@4")["networks"] == 30
    assert figures(found, "score")["networks"] == 57
    assert np.isfinite(figures(found, "score")["tau_within"])


def test_a_large_table_is_sampled(monkeypatch: pytest.MonkeyPatch, synthetic: Table) -> None:
    monkeypatch.setattr("results.fidelity.MOST", 100)
    found = fidelity(synthetic, draws=DRAWS)
    assert (found.networks, found.of, sum(found.bands)) == (100, 288, 100)
    assert "100 networks, a random sample of 288" in fidelity_report.text(found)


def test_same_table_same_figures(synthetic: Table, judged: Fidelity) -> None:
    pd.testing.assert_frame_equal(fidelity(synthetic, draws=DRAWS).rows, judged.rows)


def test_a_single_cost_is_one_band() -> None:
    found = fidelity(made(np.linspace(0.1, 0.9, 30)[:, None], np.full(30, 7)), draws=DRAWS)
    assert np.isnan(figures(found, "log-FLOPs")["tau"])
    assert figures(found, "log-FLOPs")["verdict"] == "not enough evidence"


@pytest.mark.parametrize("bands", [0, -1, 1001])
def test_bands_out_of_range(synthetic: Table, bands: int) -> None:
    with pytest.raises(InputError, match="--bands"):
        fidelity(synthetic, bands)


def test_text_json_and_files_say_the_same(judged: Fidelity, tmp_path: Path) -> None:
    data = json.loads(json.dumps(fidelity_report.as_json(judged), allow_nan=False))
    assert data["predictors"][3]["beyond_cost"] is None
    text = fidelity_report.text(judged)
    assert all(f"{row['tau']:.2f} (" in text for row in data["predictors"])
    assert all(row["verdict"] in text for row in data["predictors"])
    table, picture, drawn = fidelity_report.write(judged, tmp_path / "new" / "folder", ("png", "svg"))
    read = pd.read_csv(table)
    pd.testing.assert_frame_equal(read, judged.rows.reset_index(drop=True))
    assert imread(picture).std() > 0.05
    assert "</svg>" in drawn.read_text()


def test_what_cannot_be_measured_is_drawn_as_nothing(tmp_path: Path) -> None:
    accuracy = np.random.default_rng(0).uniform(0.2, 0.8, (5, 1))
    found = fidelity(made(accuracy, curve={4: accuracy}), draws=DRAWS)
    fidelity_report.write(found, tmp_path)
    assert "nan" not in fidelity_report.text(found)


def test_a_folder_that_cannot_be_made(judged: Fidelity, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out"):
        fidelity_report.write(judged, tmp_path / "file" / "folder")


def test_the_supernet_has_no_share_of_the_steps(synthetic: Table) -> None:
    scored = replace(synthetic, scores={"supernet": synthetic.scores["guess"]})
    assert np.isnan(figures(fidelity(scored, draws=DRAWS), "supernet")["share"])
