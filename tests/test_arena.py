"""Test the comparison of algorithms on a table: runs, scores, output files and resumption."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_search import ROOT, ledger_of, small, wait_for, written
from synthetic_run import run as story
from synthetic_table import RUNGS, STEPS, synthetic_table

import run_search
from nas.benchmark import table, table_comparison, timed_comparison
from nas.benchmark.table_comparison import Settings, TableRun, measured_seed, run_on_table
from nas.config.sections import EarlyStopping
from nas.record.events import Completed, Proposal, Resumed
from nas.record.ledger import Header, read
from nas.record.ledger_writer import LedgerWriter
from nas.record.pareto import hypervolume
from results.comparison import on_table as scores
from results.comparison import timed as raced
from results.comparison.on_table_text import stopping_text, summary_text
from results.figures.table_comparison import over_time
from results.tables.bootstrap import bootstrap_interval
from search_space.base.errors import InputError

TABLE = synthetic_table(0, choices=(3, 3, 2, 2, 2), seeds=3)
NAMES = ("random", "stratified_random", "ageing_evolution")


def without_times(run: TableRun) -> TableRun:
    return dataclasses.replace(run, suggestion=())


def made_up(name: str, seed: int, rows: list[int]) -> TableRun:
    n = len(rows)
    return TableRun(name, seed, False, tuple(rows), (STEPS,) * n, (0.1,) * n, (1.0,) * n, (0,) * n)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_repeats_and_another_seed_differs(name: str) -> None:
    first, again, other = (without_times(run_on_table(TABLE, name, number, Settings(30))) for number in (4, 4, 5))
    assert first == again and first.rows != other.rows
    assert len(set(first.rows)) == 30 and set(first.steps) == {STEPS}


def test_all_algorithms_are_told_the_same_of_an_architecture() -> None:
    seeds = [measured_seed(TABLE, (0, 7), row, 0) for row in range(len(TABLE.genotypes))]
    assert seeds == [measured_seed(TABLE, (0, 7), row, 0) for row in range(len(TABLE.genotypes))]
    assert seeds != [measured_seed(TABLE, (0, 8), row, 0) for row in range(len(TABLE.genotypes))]
    assert np.bincount(seeds).min() > len(seeds) / 6
    for row in range(5):
        assert {measured_seed(TABLE, (0, 7), row, repeat) for repeat in range(3)} == {0, 1, 2}


def test_a_score_of_the_table_can_be_a_search_s_hints() -> None:
    scored = dataclasses.replace(TABLE, scores={"true": TABLE.means.copy(), "some": TABLE.means.copy()})
    scored.scores["some"][::2] = np.nan
    played = {name: run_on_table(scored, f"frontier_search{name}", 0, Settings(20)) for name in ("", ":true", ":some")}
    assert played[":true"].algorithm == "frontier_search:true"
    assert len({run.rows for run in played.values()}) == 3
    assert scores.score(scored, played[":true"].rows)[11] > scores.score(scored, played[""].rows)[11]


def test_a_training_that_is_missing_is_never_told() -> None:
    made = synthetic_table(1, choices=(3, 3), seeds=2)
    made.accuracy[:, 0] = np.nan
    assert {measured_seed(made, (0, 0), row, repeat) for row in range(9) for repeat in range(3)} == {1}


def test_an_algorithm_sees_the_statistic_and_is_scored_on_accuracy() -> None:
    """A likelihood that ranks backwards leads a search to bad rows; the mean accuracy as likelihood to better ones."""
    accuracy = {**TABLE.statistics, "likelihood": np.repeat(TABLE.means[:, None], 3, axis=1)}
    backwards = {**TABLE.statistics, "likelihood": 1 - accuracy["likelihood"]}
    good, bad = (dataclasses.replace(TABLE, statistics=each) for each in (accuracy, backwards))
    settings = Settings(24, statistic="likelihood")
    found = {
        name: np.mean(
            [scores.score(TABLE, run_on_table(made, "frontier_search", seed, settings).rows)[-1] for seed in range(3)]
        )
        for name, made in {"good": good, "bad": bad}.items()
    }
    assert found["good"] > found["bad"] + 0.02
    assert good.usual_statistic == "likelihood" and TABLE.usual_statistic == "accuracy"


def test_a_statistic_to_search_by_is_in_every_row() -> None:
    likelihood = np.full((72, 3), 0.5)
    likelihood[5] = np.nan
    made = dataclasses.replace(TABLE, statistics={**TABLE.statistics, "likelihood": likelihood, "loss": likelihood})
    for statistic, words in (
        ("likelihood", "line 7: likelihood"),
        ("loss", "must be one of"),
        ("motion", "--statistic"),
    ):
        with pytest.raises(InputError, match=words):
            run_on_table(made, "random", 0, Settings(5, statistic=statistic))
    seeds = {measured_seed(made, (0, 0), 4, repeat, "likelihood") for repeat in range(3)}
    likelihood[4, 1:] = np.nan
    assert seeds == {0, 1, 2} and measured_seed(made, (0, 0), 4, 2, "likelihood") == 0


def test_a_search_of_the_whole_table_ends_at_the_true_hypervolume() -> None:
    run = run_on_table(TABLE, "random", 0, Settings(100))
    assert sorted(run.rows) == list(range(72))
    found = scores.score(TABLE, run.rows)
    assert found[-1] == pytest.approx(1) and (np.diff(found) >= -1e-12).all() and 0 < found[0] < 1


def test_the_score_is_the_hypervolume_of_the_means() -> None:
    rows = [5, 60, 33, 7]
    points = np.stack([np.log(TABLE.costs["macs"]), -TABLE.means], axis=1)
    corner = (points[:, 0].max(), 0.0)
    expected = [hypervolume(points[rows[: k + 1]], corner) / hypervolume(points, corner) for k in range(4)]
    assert scores.score(TABLE, rows) == pytest.approx(expected)


def test_a_table_of_one_cost_cannot_be_scored() -> None:
    flat = table.make("flat", {"c": [1, 2]}, {"macs": np.array([5, 5])}, {"accuracy": np.full((2, 1), 0.5)})
    with pytest.raises(InputError, match="several costs"):
        scores.score(flat, [0])


def test_evaluations_to_a_target_and_runs_that_never_get_there() -> None:
    volumes = np.array([[0.5, 0.96, 0.97], [0.95, 0.96, 0.99], [0.1, 0.2, 0.3]])
    assert scores.reached(volumes, 0.95).tolist() == [2, 1, math.inf]
    assert scores.thirds(150) == (50, 100, 150) and scores.thirds(3) == (1, 2, 3)


def test_a_summary_says_what_is_only_a_bound() -> None:
    """The algorithm "better" finds a front at once, the baseline in one of two runs, and "worse" never."""
    order = np.lexsort((TABLE.means, TABLE.costs["macs"]))
    best = [int(i) for i in np.argsort(-scores_of_each(), kind="stable")]
    poor = [int(order[-1]), int(order[-2])] * 20
    played = [made_up("better", seed, best[:40]) for seed in (0, 1)]
    played += [made_up("stratified_random", 0, best[:40]), made_up("stratified_random", 1, poor)]
    played += [made_up("worse", seed, poor) for seed in (0, 1)]
    frame = scores.curves(TABLE, played)
    found = scores.summary(frame, ["better", "stratified_random", "worse"], 40).set_index("algorithm")
    assert found["to_95.reached"].tolist() == [2, 1, 0]
    assert found["ratio_95.bound"].tolist() == ["<=", "?", "?"]
    assert found.loc["stratified_random", "ratio_95"] == 1 and found.loc["better", "ratio_95"] < 0.9
    assert math.isinf(found.loc["worse", "to_95"]) and found.loc["worse", "repeats"] == 38
    assert found.loc["better", "lead@26"] > 0 and found.loc["stratified_random", "lead@26"] == 0
    text = summary_text(found.reset_index(), 40)
    assert ">40" in text and "<=" in text and max(map(len, text.splitlines())) <= 120


def scores_of_each() -> np.ndarray:
    """Return the score of each row alone, to order rows by it."""
    return np.array([scores.score(TABLE, [row])[0] for row in range(len(TABLE.genotypes))])


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.normal(3, 1, 30), np.mean, rng, 300)
        hits += low <= 3 <= high
    assert 175 <= hits <= 199
    assert all(map(math.isnan, bootstrap_interval([1.0], np.mean, rng)))
    assert bootstrap_interval([1.0, math.inf, math.inf], np.median, rng)[1] == math.inf
    with pytest.raises(InputError, match="resamples"):
        bootstrap_interval([1.0, 2.0], np.mean, rng, 0)


@pytest.mark.parametrize("name", NAMES)
def test_early_stopping_spends_the_same_steps_on_more_candidates(name: str) -> None:
    run = run_on_table(TABLE, name, 0, Settings(30, stopping=True))
    assert 29 * STEPS < sum(run.steps) <= 30 * STEPS
    assert len(run.rows) > 30 and set(run.steps) <= {*RUNGS, STEPS} and STEPS in run.steps


def test_the_report_of_early_stopping() -> None:
    played = [
        run_on_table(TABLE, name, number, Settings(24, stopping=stop))
        for name in NAMES[:2]
        for number in range(3)
        for stop in (False, True)
    ]
    found = scores.stopping(TABLE, played, NAMES[:2])
    assert found["algorithm"].tolist() == list(NAMES[:2])
    for row in found.to_dict("records"):
        assert row["difference"] == pytest.approx(row["hypervolume.with"] - row["hypervolume.without"])
        assert 0.25 < row["steps"] < 1 and row["candidates"] > 24
        shares = [row[f"full.{i}"] for i in (1, 2, 3, 4)]
        assert all(0 < share <= 1 for share in shares)
        assert row["factor"] == pytest.approx(max(shares) / min(shares))
    assert "saved" in stopping_text(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"statistics": {"accuracy": np.full((9, 2), 0.5)}}, "stopping needs these"),
        ({"steps": 0}, "stopping needs these"),
        ({"gap": True}, "complete curves"),
    ],
)
def test_early_stopping_needs_learning_curves(change: dict[str, object], words: str) -> None:
    made = synthetic_table(0, choices=(3, 3))
    if change.pop("gap", False):
        made.early()[RUNGS[0]][2, 1] = np.nan
    with pytest.raises(InputError, match=words):
        run_on_table(dataclasses.replace(made, **change), "random", 0, Settings(5, stopping=True))


def test_hypervolume_over_time_counts_training_where_it_is_known() -> None:
    played = [made_up("a", 0, [0, 71]), made_up("a", 1, [0, 5]), made_up("b", 0, [3, 4]), made_up("b", 1, [3, 9])]
    grid, volumes, label = over_time(scores.curves(TABLE, played), ["a", "b"])
    assert grid[-1] == pytest.approx(2.2) and "training" in label
    assert volumes["a"][0, 0] == 0 and volumes["a"][0, -1] == pytest.approx(scores.score(TABLE, [0, 71])[-1])
    unknown = [dataclasses.replace(run, training=(None, None)) for run in played]
    grid, _, label = over_time(scores.curves(TABLE, unknown), ["a", "b"])
    assert grid[-1] == pytest.approx(0.2) and "training" not in label


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bench.csv.gz"
    table.write(TABLE, path)
    return path


def test_the_command_on_a_table(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupted and extended comparison with another number of processes has the same result."""
    common = ["compare", str(file), "--algorithms", "random,stratified_random", "--evaluations", "12", "--stopping"]
    first, second = tmp_path / "first", tmp_path / "second"
    first_options = ["--seeds", "3", "--workers", "2", "--format", "png,pdf", "--out", str(first)]
    assert run_search.main([*common, *first_options]) == 0
    printed = capsys.readouterr().out
    assert (
        "stratified_random" in printed and "early stopping" in printed and "receive accuracy of one training" in printed
    )
    pictures = {f"{name}.{kind}" for name in ("evaluations", "time") for kind in ("png", "pdf")}
    names = {"curves.csv", "summary.csv", "stopping.csv", "runs.jsonl", "run.lock", *pictures}
    assert {path.name for path in first.iterdir()} == names

    assert run_search.main([*common, "--seeds", "1", "--out", str(second)]) == 0
    runs = second / "runs.jsonl"
    lines = runs.read_bytes().splitlines(keepends=True)
    runs.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])  # simulate a crash
    assert run_search.main([*common, "--seeds", "3", "--out", str(second)]) == 0
    drop = ["suggestion_seconds"]
    one, other = (pd.read_csv(folder / "curves.csv").drop(columns=drop) for folder in (first, second))
    pd.testing.assert_frame_equal(one, other)
    assert len(one) == 2 * 3 * 12 and len(runs.read_text().splitlines()) == 1 + 2 * 3 * 2
    capsys.readouterr()

    for more, words in (
        (["--evaluations", "13"], "holds a comparison with evaluations 12, not evaluations 13"),
        (["--seed", "1"], "holds a comparison with seed 0, not seed 1"),
        (["--statistic", "loss"], "--statistic: 'loss' must be one of accuracy"),
        (["--minutes", "1"], "--minutes: 1.0 is an option only of a comparison in training"),
        (["--algorithms", "rando"], "must be one of random,"),
        (["--algorithms", "random:guess"], "algorithms with prior scores: frontier_search"),
        (["--algorithms", "frontier_search:gues"], "must be one of guess"),
        (["--algorithms", "frontier_search:"], "must be one of guess"),
        (["--seeds", "0"], "seeds: 0"),
        (["--workers", "0"], "workers: 0"),
    ):
        assert run_search.main([*common, "--seeds", "3", "--out", str(second), *more]) == 2
        assert words in capsys.readouterr().err
    assert run_search.main([*common, "--out", str(tmp_path)]) == 2
    assert "must be a new or empty folder" in capsys.readouterr().err


def test_a_damaged_record_is_refused(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    table_comparison.compare(table.read(file), ["random"], 1, [Settings(12)], folder)
    header = (folder / "runs.jsonl").read_text().splitlines()[0]
    for line in ("{}", "[]", "nonsense"):
        (folder / "runs.jsonl").write_text(f"{header}\n{line}\n")
        with pytest.raises(InputError, match=r"runs\.jsonl:2"):
            table_comparison.compare(table.read(file), ["random"], 1, [Settings(12)], folder)
    changed = json.loads(header)
    changed["early_stopping"] |= {"dominators": 3}
    (folder / "runs.jsonl").write_text(f"{json.dumps(changed)}\n")
    with pytest.raises(InputError, match="holds a comparison with early_stopping .*'dominators': 3"):
        table_comparison.compare(table.read(file), ["random"], 1, [Settings(12)], folder)


def test_the_clock_of_a_run_leaves_its_pauses_out(tmp_path: Path) -> None:
    times = iter([100.0, 104.0, 105.0, 500.0, 503.0])
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter.create(path, Header({}, {}, 0, "x"), clock=lambda: next(times)) as writer:
        for index in (0, 1):
            writer.append(Proposal(index, "search", (0,), {}, f"f{index}", 0, 0, {"macs": 1}))
            if index == 0:
                writer.append(Completed(0, 1, {"accuracy": 0.5}, 4.0))
        writer.append(Resumed({}))
        writer.append(Completed(1, 1, {"accuracy": 0.5}, 3.0))
    assert timed_comparison.running_seconds(read(path)) == 4 + 1 + 3


def test_races_are_judged_by_the_trainings_that_chose_nothing(tmp_path: Path) -> None:
    names = ("frontier_search", "stratified_random")
    runs = {(name, s): story(tmp_path / f"{name}{s}", 2 * s + i) for i, name in enumerate(names) for s in range(2)}
    each = raced.of_each_run(runs)
    assert each["seed"].tolist() == [0, 1, 0, 1] and each["retrained"].between(0.1, 0.9).all()
    for (name, _), row in zip(runs, each.to_dict("records"), strict=True):
        ledger = runs[name, row["seed"]]
        finalists = {p.fingerprint for p in ledger.proposals.values() if p.kind == "finalist"}
        assert row["front"] == len(finalists) and row["completed"] < row["candidates"] == 60
    found = raced.summary(each).set_index("algorithm")
    leads = each["retrained"].to_numpy()
    assert found.loc["frontier_search", "lead"] == pytest.approx((leads[:2] - leads[2:]).mean())
    printed = raced.write(runs, names, 0.5, tmp_path)
    assert "0.5 minutes each" in printed and (tmp_path / "time.png").stat().st_size > 0
    times = pd.read_csv(tmp_path / "time.csv").groupby(["algorithm", "seed"])["hypervolume"].last()
    assert times.to_numpy() == pytest.approx(each["recorded"].to_numpy(), abs=1e-5)


@pytest.mark.slow
def test_a_race_that_is_interrupted_carries_on(tmp_path: Path) -> None:
    file = written(tmp_path, small(early_stopping=EarlyStopping(())))
    out = tmp_path / "race"
    arguments = [sys.executable, "run_search.py", "compare", file, "--minutes", "0.2", "--seeds", "1", "--repeats", "1"]
    arguments += ["--algorithms", "ageing_evolution,stratified_random", "--out", out]
    program = list(map(str, arguments))
    first = out / "runs" / "ageing_evolution-0"
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (first / "ledger.jsonl").exists() and ledger_of(first).pending, process)
        process.terminate()
        assert process.communicate(timeout=60) == ("", "interrupted; the same command resumes it\n")
    before = ledger_of(first)
    assert process.returncode == 130 and timed_comparison.running_seconds(before) < 12

    result = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    after = ledger_of(first)
    assert after.entries[: len(before.entries)] == before.entries and not after.pending
    assert sum(isinstance(entry.record, Resumed) for entry in after.entries) == 1
    for name in ("ageing_evolution", "stratified_random"):
        ledger = ledger_of(out / "runs" / f"{name}-0")
        finals = [p for p in ledger.proposals.values() if p.kind == "finalist"]
        searched = [p for p in ledger.proposals.values() if p.kind == "search"]
        assert finals and {p.fingerprint for p in finals} <= {p.fingerprint for p in searched}
        assert {p.seed for p in finals}.isdisjoint(p.seed for p in searched)
    lines = [path.read_text() for path in sorted((out / "runs").glob("*/ledger.jsonl"))]
    again = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.stdout == result.stdout
    assert lines == [path.read_text() for path in sorted((out / "runs").glob("*/ledger.jsonl"))]
