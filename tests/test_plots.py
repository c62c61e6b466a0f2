"""Plots of synthetic runs: their contents, labels that don't overlap, and complete files."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Annotation
from synthetic_run import ledger_of, proposal, run, sampled

from nas.record.events import Completed, Note
from nas.record.ledger import Ledger
from results.family import parents
from results.family.growth import Family, FamilyConfig, scale_family
from results.figures import run as plots
from results.figures import style
from results.tables import frame, hypervolume_over_time
from search_space.base.errors import InputError
from search_space.scaling.compound import Factors

ROOT = Path(__file__).parents[1]
CONFIG = FamilyConfig(lift=Factors(depth=1.5, width=2, resolution=7, frames=1.6))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory) -> Ledger:
    return run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def family(ledger) -> Family:
    return scale_family(parents.of_run(ledger), CONFIG)


def drawn(ledger: Ledger, family: Family | None) -> Axes:
    figure, axes = style.new(columns=2)
    chosen = family.parents() if family else pd.DataFrame()
    tables = frame.trials(ledger), frame.selected_front(ledger), frame.networks(ledger, ("reference",))
    plots.draw_front(axes, *tables, chosen)
    figure.draw_without_rendering()
    return axes


def labels(axes: Axes) -> dict[str, Annotation]:
    return {text.get_text(): text for text in axes.texts if isinstance(text, Annotation)}


def legend(axes: Axes) -> str:
    return "; ".join(text.get_text() for text in axes.get_legend().get_texts())


def test_everything_is_drawn_where_it_belongs(ledger, family):
    axes = drawn(ledger, family)
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "multiply-adds per clip"
    trials, front = frame.trials(ledger), frame.selected_front(ledger)
    search = trials[trials["kind"] == "search"]
    stopped, completed = (search[search["state"] == state] for state in ("stopped", "completed"))
    clouds = {
        len(cloud.get_offsets()): cloud
        for cloud in axes.collections
        if cloud.get_label().startswith(("candidates", "stopped"))
    }
    assert set(clouds) == {len(stopped), len(completed)}
    hollow, full = clouds[len(stopped)], clouds[len(completed)]
    assert hollow.get_facecolor().size == 0 and full.get_facecolor().size > 0
    assert np.array_equal(hollow.get_offsets(), stopped[["macs", "accuracy"]].to_numpy(float))
    published, step = (line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert np.array_equal(step.get_xydata(), front[["macs", "accuracy"]].to_numpy(float))
    best = np.maximum.accumulate(frame.networks(ledger, ("reference",)).sort_values("macs")["accuracy"])
    assert np.array_equal(np.unique(published.get_ydata()), np.unique(best))
    found = labels(axes)
    assert {"A0", "A1", "A2", "A3", "A4", "A5"} < set(found)
    references = frame.networks(ledger, ("reference",)).set_index("label")
    assert found["A3"].xy == (references["macs"]["a3"], references["accuracy"]["a3"])
    models = ", ".join(text for text in found if text.islower()).split(", ")
    assert sorted(models) == ["a0", "a1", "a2", "a3", "a4", "a5"]
    for text, label in found.items():
        if text.islower():
            chosen = family.parents()
            parent = chosen[chosen["models"].str.join(", ") == text]
            assert label.xy == (parent["macs"].iloc[0], parent["accuracy"].iloc[0])
    assert "front, re-evaluated" in legend(axes) and f"candidates ({len(completed)})" in legend(axes)


@pytest.mark.parametrize("seed", range(2))
def test_labels_neither_collide_nor_leave_the_picture(tmp_path, seed):
    ledger = run(tmp_path, seed, searched=40)
    axes = drawn(ledger, scale_family(parents.of_run(ledger), CONFIG))
    boxes = [text.get_window_extent() for text in labels(axes).values()]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
    around = axes.get_legend().get_window_extent()
    assert not around.overlaps(axes.bbox) and around.x1 <= axes.get_figure().bbox.x1
    ticks = [tick.label1.get_window_extent() for tick in axes.xaxis.get_major_ticks() if tick.label1.get_text()]
    inside = [box for box in ticks if axes.bbox.x0 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1]
    assert len(inside) >= 3 and not any(a.overlaps(b) for a, b in itertools.pairwise(inside))


def test_a_search_without_finals_or_references(tmp_path):
    ledger = run(tmp_path, searched=12, repeats=0, references=False)
    axes = drawn(ledger, None)
    assert not labels(axes) and "published" not in legend(axes) and "re-evaluated" not in legend(axes)
    low, high = axes.get_ylim()
    assert ((frame.front(ledger)["accuracy"] > low) & (frame.front(ledger)["accuracy"] < high)).all()


@pytest.mark.parametrize("records", [0, 1, 2])
def test_the_first_minutes_of_a_run(tmp_path, records):
    """Draw runs with no trial, with one trial under way, and with one finished trial."""
    net = sampled(np.random.default_rng(0), 1)[0]
    story = [Note("started"), proposal(0, net), Completed(0, 9, {"accuracy": 0.5}, 1.0)]
    ledger = ledger_of(tmp_path, story[: records + 1])
    plots.save_front(ledger, None, tmp_path / "front.png")
    plots.save_hypervolume(ledger, tmp_path / "hypervolume.png")
    assert imread(tmp_path / "front.png").std() > 0
    waiting = [text.get_text() for text in drawn(ledger, None).texts]
    assert waiting == ([] if records == 2 else ["no trial finished yet"])


def test_hypervolume_over_time(ledger):
    axes = Figure().add_subplot()
    table = hypervolume_over_time.hypervolume_over_time(ledger)
    plots.hypervolume_over_time(axes, table)
    (line,) = axes.lines
    assert np.array_equal(line.get_xdata()[1:], table["seconds"] / 60)
    assert np.array_equal(line.get_ydata()[1:], table["hypervolume"])
    assert axes.get_ylim()[1] > table["hypervolume"].max() and "minutes" in axes.get_xlabel()


def test_files_are_whole_and_alone(ledger, family, tmp_path):
    plots.save_front(ledger, family, tmp_path / "front.png")
    plots.save_hypervolume(ledger, tmp_path / "hypervolume.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["front.png", "hypervolume.png"]
    height, width = imread(tmp_path / "front.png").shape[:2]
    assert (width, height) == (2070, 1320)
    before = (tmp_path / "front.png").read_bytes()
    with pytest.raises(InputError, match="prevented writing it"):
        plots.save_front(ledger, family, tmp_path / "none" / "front.png")
    assert (tmp_path / "front.png").read_bytes() == before
