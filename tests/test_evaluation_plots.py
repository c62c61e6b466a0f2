"""Test plots of synthetic evaluations: their content, readable names, and complete files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from results.figures import evaluation as plots
from search_space.base.errors import InputError

ROOT = Path(__file__).parents[1]
STREAM = pd.DataFrame({"frames": range(1, 9), "top1": np.linspace(0.2, 0.72, 8), "top5": np.linspace(0.5, 0.93, 8)})
MULTI = pd.DataFrame(
    [
        {"crops": crops, "clips": n, "top1": 0.5 + 0.02 * n + 0.01 * crops, "top5": 0.9}
        for crops in (1, 3)
        for n in (1, 2, 5)
    ]
)


def axes() -> Axes:
    return Figure(figsize=(7, 5), layout="constrained").add_subplot()


def evaluation(mode: str, classes: int = 4) -> dict:
    curve = {"stream": STREAM, "multi": MULTI}.get(mode, STREAM.tail(1))
    rng = np.random.default_rng(classes)
    return {
        "schema": plots.SCHEMA,
        "mode": mode,
        "classes": [
            {"name": f"class {i}", "examples": 9 * (i > 0), "accuracy": float(rng.random()) if i else None}
            for i in range(classes)
        ],
        "curve": curve.to_dict("records"),
        "confusion": rng.integers(0, 9, (classes, classes)).tolist(),
    }


def written(folder: Path, mode: str, classes: int = 4) -> Path:
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(evaluation(mode, classes)))
    return folder


def legend(drawn: Axes) -> list[str]:
    return [text.get_text() for text in drawn.get_legend().get_texts()]


def test_a_stream_is_top1_and_top5_over_frames():
    drawn = axes()
    plots.streaming(drawn, {"a0": STREAM})
    assert legend(drawn) == ["top-1", "top-5"] and drawn.get_xlabel() == "frames seen"
    for line, measure in zip(drawn.lines, ("top1", "top5"), strict=True):
        assert np.array_equal(line.get_xydata(), STREAM[["frames", measure]].to_numpy(float))
    low, high = drawn.get_ylim()
    assert low < 0.2 and high > 0.93
    assert [text.get_text() for text in drawn.texts] == ["72.0%", "93.0%"]


def test_several_streams_are_told_apart():
    drawn = axes()
    plots.streaming(drawn, {"a0": STREAM, "a1": STREAM.assign(top1=0.5)})
    assert legend(drawn) == ["a0, top-1", "a1, top-1"]
    assert len({line.get_color() for line in drawn.lines}) == 2


def test_clips_are_a_line_for_each_number_of_crops():
    drawn = axes()
    plots.multi_clip(drawn, {"a0": MULTI})
    assert legend(drawn) == ["1 crop", "3 crops"]
    assert (
        drawn.lines[1].get_xydata().tolist() == MULTI[MULTI["crops"] == 3][["clips", "top1"]].to_numpy(float).tolist()
    )
    assert all(tick == int(tick) for tick in drawn.get_xticks())


@pytest.mark.parametrize("classes", [4, 30, 200])
def test_classes_are_bars_from_the_best_on(classes):
    drawn = axes()
    table = pd.DataFrame(evaluation("clip", classes)["classes"])
    plots.class_accuracy(drawn, table)
    known = table.dropna().sort_values("accuracy", ascending=False)
    shown = min(len(known), 30)
    bars = sorted(drawn.patches, key=lambda bar: -bar.get_y())
    assert len(bars) == shown and bars[0].get_width() == known["accuracy"].iloc[0]
    assert bars[-1].get_width() == known["accuracy"].iloc[-1]
    names = [tick.get_text() for tick in drawn.get_yticklabels()]
    assert names[0] == known["name"].iloc[0] and "class 0" not in names
    assert f"{known['accuracy'].mean():.1%}" in legend(drawn)[0]


def test_confusion_is_by_label_and_named_while_that_can_be_read():
    drawn = axes()
    matrix = np.array([[3, 1], [0, 0]])
    plots.confusion(drawn, matrix, ["run", "a name that is far too long for any axis of ours"])
    assert drawn.images[0].get_array().tolist() == [[0.75, 0.25], [0, 0]]
    names = [tick.get_text() for tick in drawn.get_xticklabels()]
    assert names[0] == "run" and len(names[1]) == 28
    crowded = axes()
    plots.confusion(crowded, np.eye(60), [str(i) for i in range(60)])
    assert len(crowded.get_xticklabels()) < 15


def test_the_command_draws_every_evaluation_and_those_of_a_kind_together(tmp_path, capsys):
    folders = [
        written(tmp_path / "a0", "stream"),
        written(tmp_path / "a1", "stream"),
        written(tmp_path / "b" / "a0", "multi", 50),
        written(tmp_path / "c", "frame"),
    ]
    assert plots.main([str(folder) for folder in folders]) == 0
    printed = capsys.readouterr().out.split()
    found = sorted(str(path) for path in tmp_path.rglob("*.png"))
    assert sorted(printed) == found
    own = {folder.relative_to(tmp_path).as_posix(): sorted(p.name for p in folder.glob("*.png")) for folder in folders}
    both = ["classes.png", "confusion.png"]
    assert own == {
        "a0": [*both, "stream.png", "stream_compared.png"],
        "a1": [*both, "stream.png"],
        "b/a0": [*both, "multi.png"],
        "c": both,
    }
    assert all(imread(path).std() > 0 for path in found)


def test_the_command_writes_the_formats_asked_for(tmp_path, capsys):
    folder = written(tmp_path / "a0", "stream")
    assert plots.main([str(folder), "--format", "svg,pdf"]) == 0
    assert len(capsys.readouterr().out.split()) == 6 == len([*folder.glob("*.svg"), *folder.glob("*.pdf")])
    assert plots.main([str(folder), "--format", "gif"]) == 2
    assert capsys.readouterr().err == "error: --format: 'gif' must be of png, svg, pdf, by commas\n"


@pytest.mark.parametrize("content", [None, "{", "[]", '{"schema": "another"}'])
def test_what_is_no_evaluation_is_refused(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "evaluation.json").write_text(content)
    assert plots.main([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "evaluation.json" in line
    with pytest.raises(InputError):
        plots.read_evaluation(tmp_path)
