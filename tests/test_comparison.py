"""Test comparisons of Pareto fronts: by hand, and coverage of intervals when seeds, clips and runs vary randomly."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import STEPS, ledger_of, proposal, sampled

from nas.record import correct_clips
from nas.record.events import Completed, Record
from nas.record.hypervolume import CostRange
from nas.record.ledger import Entry, Header, Ledger
from results import outcome
from results.comparison import runs as comparison
from results.comparison import runs_text
from results.comparison.runs import Comparison, compare
from results.tables import resampling
from run_search import main
from search_space.base.errors import InputError

NETS = sorted(sampled(np.random.default_rng(3), 8), key=lambda a: proposal(0, a).cost["macs"])
PROPOSALS = [proposal(0, net) for net in NETS]
MACS = [each.cost["macs"] for each in PROPOSALS]
Training = tuple[str, int, float, float]  # kind, network, accuracy on validation and on test clips


def records(trainings: Sequence[Training], clips: Sequence[np.ndarray | None] = ()) -> list[Record]:
    """Return these re-evaluations in the form of a run's records; a0 is the cheapest published network."""
    published = sorted({net for kind, net, *_ in trainings if kind == "reference"})
    found: list[Record] = []
    for index, (kind, net, validation, test) in enumerate(trainings):
        label = f"a{published.index(net)}" if kind == "reference" else f"trial {net}"
        right = clips[index] if clips else None
        packed = None if right is None else correct_clips.packed(right)
        found.append(dataclasses.replace(PROPOSALS[net], index=index, kind=kind, repeat=index, label=label))
        found.append(Completed(index, STEPS, {"accuracy": validation, "test_accuracy": test}, 1.0, packed))
    return found


def run(folder: Path, trainings: Sequence[Training], clips: Sequence[np.ndarray | None] = ()) -> Ledger:
    """Return a run with these re-evaluations, without a file."""
    entries = [Entry(line, float(line), record) for line, record in enumerate(records(trainings, clips), start=2)]
    header = Header({}, {}, 0, "abc", "2030-01-01T00:00:00+00:00")
    return Ledger(folder / "ledger.jsonl", header, tuple(entries), torn=False, size=0)


def of(ledgers: Sequence[Ledger], against: Sequence[Ledger] = (), draws: int = 500) -> Comparison:
    return compare(ledgers, np.random.default_rng(0), against, draws)


def test_hypervolumes_and_points_by_hand(tmp_path: Path) -> None:
    searched = [("finalist", 1, 0.3, 0.35), ("finalist", 3, 0.2, 0.9), ("finalist", 5, 0.6, 0.55)]
    published = [("reference", 0, 0.1, 0.15), ("reference", 2, 0.4, 0.3), ("reference", 4, 0.5, 0.45)]
    found = of([run(tmp_path, searched + published)])
    assert found.within == {"macs": CostRange(MACS[1], MACS[4])}  # neither network 0 nor networks above 4
    decades = np.log10(MACS[4] / MACS[1])
    # Validation prefers network 1 to network 3, regardless of accuracy on the test clips.
    assert found.searched.value == pytest.approx(0.35)
    part = np.log10(MACS[2] / MACS[1]) / decades
    assert found.references.value == pytest.approx(0.15 * part + 0.3 * (1 - part))
    assert found.difference.value == pytest.approx(found.searched.value - found.references.value)
    cheapest, middle, costly = found.points
    assert [point.name for point in found.points] == ["a0", "a1", "a2"]
    assert [point.costs["macs"] for point in found.points] == [MACS[0], MACS[2], MACS[4]]
    assert math.isnan(cheapest.searched.value) and math.isnan(cheapest.difference.value)
    assert cheapest.references.value == 0.15
    assert (middle.searched.value, middle.difference.value) == pytest.approx((0.35, 0.05))  # from 0.35 to 0.35
    share = np.log(MACS[4] / MACS[3]) / np.log(MACS[5] / MACS[3])
    assert costly.searched.value == pytest.approx(0.35 * (1 - share) + 0.55 * share)
    assert found.resampled == () and math.isnan(found.difference.low) and math.isnan(found.probability)
    assert (found.searched_networks, found.reference_trainings) == (3, 3)


def test_beyond_its_last_network_a_front_keeps_its_accuracy_and_without_a_common_range_there_is_no_volume(
    tmp_path: Path,
) -> None:
    rows: list[Training] = [("finalist", 1, 0.3, 0.35), ("reference", 1, 0.5, 0.25), ("reference", 4, 0.5, 0.45)]
    found = of([run(tmp_path, rows)])
    assert found.within is None and math.isnan(found.difference.value)
    assert [point.difference.value for point in found.points] == pytest.approx([0.1, -0.1])
    assert "the cost ranges of the fronts do not overlap" in runs_text.text(found)


def test_clips_are_one_draw_for_all_networks(tmp_path: Path) -> None:
    """Two networks right on the same clips differ by nothing, even for few clips; on other clips by much."""
    half = np.arange(60) < 30
    rows: list[Training] = [(kind, net, 0.5, 0.5) for kind in ("finalist", "reference") for net in (1, 4) for _ in "ab"]
    same = of([run(tmp_path / "same", rows, [half] * 8)])
    assert same.resampled == ("seeds", "clips") and same.test_clips == 60
    assert same.difference.low == same.difference.high == 0
    assert same.searched.high - same.searched.low == pytest.approx(4 * 0.5 / np.sqrt(60), rel=0.2)  # binomial
    other = of([run(tmp_path / "other", rows, [half] * 4 + [~half] * 4)])
    assert other.difference.high - other.difference.low == pytest.approx(8 * 0.5 / np.sqrt(60), rel=0.2)


PAIRS = np.array([2] * 30)


def test_clips_of_a_video_are_drawn_together(tmp_path: Path) -> None:
    right = np.repeat(np.arange(30) < 15, 2)
    rows: list[Training] = [(kind, net, 0.5, 0.5) for kind in ("finalist", "reference") for net in (1, 4) for _ in "ab"]
    single_run = run(tmp_path, rows, [right] * 8)
    single = of([single_run])
    entries = [
        dataclasses.replace(entry, record=dataclasses.replace(entry.record, correct=correct_clips.packed(right, PAIRS)))
        if isinstance(entry.record, Completed)
        else entry
        for entry in single_run.entries
    ]
    videos = of([dataclasses.replace(single_run, entries=tuple(entries))])
    assert videos.resampled == ("seeds", "videos")
    wider = (videos.searched.high - videos.searched.low) / (single.searched.high - single.searched.low)
    assert wider == pytest.approx(np.sqrt(2), rel=0.15)


def test_without_the_results_of_clips_the_comparison_says_that_it_counts_seeds_only(tmp_path: Path) -> None:
    right = np.arange(10) < 5
    rows: list[Training] = [(kind, net, 0.5, 0.5) for kind in ("finalist", "reference") for net in (1, 4) for _ in "ab"]
    found = of([run(tmp_path, rows, [right] * 7 + [None])])
    assert found.resampled == ("seeds",) and found.test_clips == 0
    assert "95 % intervals over seeds only (test clips not recorded)" in runs_text.text(found)


DIFFICULTY, SEEDS = 1.2, 0.12  # standard deviations in logits, between clips and between seeds


def drawn_run(rng: np.random.Generator, folder: Path, effects: np.ndarray, clips: np.ndarray) -> Ledger:
    """Return a run with networks [2, 4], searched and published, with these effects in logits and 3 seeds each."""
    rows: list[Training] = []
    right = []
    for kind, own in zip(("finalist", "reference"), effects, strict=True):
        for net, effect in enumerate(own):
            for _ in range(3):
                logit = effect + rng.normal(0, SEEDS)
                validation, test = (
                    rng.random(300) < 1 / (1 + np.exp(-logit - difficulty))
                    for difficulty in (rng.normal(0, DIFFICULTY, 300), clips)
                )
                rows.append((kind, 2 * net, validation.mean(), test.mean()))
                right.append(test)
    return run(folder, rows, right)


@pytest.mark.parametrize(("runs", "between"), [(1, 0.0), (3, 0.25)])
def test_intervals_cover_the_truth(tmp_path: Path, runs: int, between: float) -> None:
    """Check intervals for the networks of one run, and for the mean over runs that differ; the clips are shared."""
    rng, curve, ahead = np.random.default_rng(5), np.linspace(-1.2, 1.2, 4), 0.3
    normal = np.random.default_rng(0).normal(size=100_000)

    def accuracy(effect: float, spread: float) -> float:
        return float((1 / (1 + np.exp(-effect - spread * normal))).mean())

    spread = math.hypot(DIFFICULTY, SEEDS)
    truth = [accuracy(each + ahead, math.hypot(spread, between)) - accuracy(each, spread) for each in curve]
    repeats, covered, at_points = 40, 0, 0.0
    for repeat in range(repeats):
        clips = rng.normal(0, DIFFICULTY, 300)
        effects = [np.stack([curve + ahead + rng.normal(0, between), curve]) for _ in range(runs)]
        found = of(
            [drawn_run(rng, tmp_path / f"{repeat}-{i}", each, clips) for i, each in enumerate(effects)], draws=200
        )
        widths = np.diff(np.log10(np.array(MACS)[[0, 2, 4, 6]]), append=np.log10(MACS[6]))
        covered += found.difference.low <= truth @ widths / widths.sum() <= found.difference.high
        at_points += np.mean(
            [p.difference.low <= t <= p.difference.high for p, t in zip(found.points, truth, strict=True)]
        )
    assert covered / repeats > 0.86 and at_points / repeats > 0.86
    assert found.resampled == (("runs",) if runs > 1 else ()) + ("seeds", "clips")


def test_runs_are_pooled_and_compared_with_other_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def one(name: str, ahead: float) -> Ledger:
        rows: list[Training] = [("finalist", n, 0.3 + n / 20, 0.3 + n / 20 + ahead) for n in (1, 4) for _ in "ab"]
        rows += [("reference", n, 0.3, 0.3 + n / 20) for n in (1, 4) for _ in "ab"]
        return ledger_of(tmp_path / name, records(rows))

    runs, others = [one("first", 0.1), one("second", 0.2)], [one("random1", 0.0), one("random2", -0.1)]
    pooled = of(runs)
    assert pooled.difference.value == pytest.approx(0.15) and pooled.resampled == ("runs", "seeds")
    assert [each.searched - each.references for each in pooled.runs] == pytest.approx([0.1, 0.2])
    assert 0 < pooled.difference.low < 0.15 < pooled.difference.high
    against = of(runs, others)
    assert against.difference.value == pytest.approx(0.2) and against.against == "other runs"
    assert [point.difference.value for point in against.points] == pytest.approx([0.2, 0.2])

    folders = [str(each.path.parent) for each in (*runs, *others)]
    out = tmp_path / "pooled.json"
    assert main(["compare-runs", *folders[:2], "--against", *folders[2:], "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text()) and printed["difference"]["value"] == pytest.approx(0.2)
    elsewhere = compare(runs, np.random.default_rng(0), draws=200, published_by=others[0])
    assert elsewhere.difference.value == pytest.approx(0.15) and elsewhere.against == "published networks"
    assert main(["compare-runs", folders[0], "--against", folders[2], "--published", folders[3]]) == 2
    assert "cannot be combined" in capsys.readouterr().err
    assert main(["compare-runs", *folders[:2]]) == 0
    assert "hypervolume of each run:\n  run     searched front  published networks\n  first " in capsys.readouterr().out
    figure = tmp_path / "fronts.svg"
    assert main(["compare-runs", *folders[:2], "--figure", str(figure), "--published", folders[2]]) == 0
    assert "mean of 2 runs" in figure.read_text() and "the same, random1" in figure.read_text()


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    whole: list[Training] = [("finalist", 1, 0.5, 0.5), ("reference", 1, 0.5, 0.5)]
    first = run(tmp_path / "first", whole)
    with pytest.raises(InputError, match="has no re-evaluated searched network"):
        of([run(tmp_path / "a", whole[1:])])
    with pytest.raises(InputError, match="has no re-evaluated published network"):
        of([run(tmp_path / "b", whole[:1])])
    with pytest.raises(InputError, match="is named twice"):
        of([first, first])
    with pytest.raises(InputError, match="has other published networks than"):
        of([first, run(tmp_path / "c", [whole[0], ("reference", 2, 0.5, 0.5)])])
    for place, name in (("clips", "data_hash"), ("training recipe", "config")):
        changed = run(tmp_path / name, whole)
        object.__setattr__(changed.header, name, {"training": {"steps": 7}} if name == "config" else "other")
        with pytest.raises(InputError, match=f"differs from .*first in its {place}"):
            of([first, changed])
    with pytest.raises(InputError, match="draws: 0 must be"):
        of([first], draws=0)


def test_a_figure_shows_the_test_accuracies_of_the_front_that_validation_selects(tmp_path: Path) -> None:
    rows: list[Training] = [
        ("finalist", n, v, t) for n, v, t in ((1, 0.3, 0.35), (3, 0.2, 0.9), (5, 0.6, 0.55)) for _ in "ab"
    ]
    rows += [("reference", n, v, t) for n, v, t in ((0, 0.1, 0.15), (2, 0.4, 0.3), (4, 0.35, 0.45)) for _ in "ab"]
    right = [np.arange(20) < 20 * test for *_, test in rows]
    shown = comparison.front_tables(run(tmp_path, rows, right), np.random.default_rng(0))
    assert shown.clips == "test" and shown.intervals == "95 % intervals over seeds and 20 test clips"
    assert shown.front["macs"].to_list() == [MACS[1], MACS[5]] and shown.front["accuracy"].to_list() == [0.35, 0.55]
    assert (shown.front["low"] < shown.front["accuracy"]).all() and (
        shown.front["high"] > shown.front["accuracy"]
    ).all()
    assert shown.references["selected"].to_list() == [True, True, False]
    assert outcome.comparison(run(tmp_path / "again", rows[:6])) is None
    alone = comparison.front_tables(run(tmp_path / "alone", rows[:6], right[:6]), np.random.default_rng(0))
    assert alone.clips == "test" and alone.references.empty


def test_a_network_trained_once_borrows_the_deviations_of_the_others(tmp_path: Path) -> None:
    rows: list[Training] = [("finalist", 1, 0.5, 0.5), ("finalist", 4, 0.6, 0.6), ("finalist", 4, 0.6, 0.7)]
    sets = [resampling.tested(run(tmp_path, rows), "finalist")]
    drawn = resampling.draw(sets, 400, np.random.default_rng(0)).sets[0]
    # 0.05 widened by the square root of 2; in logits it is the same at 0.5 as at 0.65.
    borrowed = 0.05 * np.sqrt(2) * (0.5 * 0.5) / (0.65 * 0.35)
    assert set(np.round(np.abs(drawn.drawn_test[:, 0] - 0.5), 6)) == {round(borrowed, 6)}
    assert drawn.drawn_test[:, 1].std() == pytest.approx(0.0707 / np.sqrt(2), rel=0.15)
    assert set(drawn.drawn_validation[:, 0]) == {0.5}
