"""Test figures for papers: sizes and type, their texts, colours with a second cue, and files of any format."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Annotation, Text
from pypdf import PdfReader
from synthetic_run import run
from synthetic_table import synthetic_table

import run_search
from results.analysis import reliability_report
from results.analysis.proxy_correlation import rank
from results.family import parents
from results.family.growth import FamilyConfig, scale_family
from results.figures import evaluation, table_comparison
from results.figures import run as plots
from results.figures import style as figure_style
from results.tables import frame, hypervolume_over_time
from search_space.base.errors import InputError
from search_space.scaling.compound import Factors

SVG = "{http://www.w3.org/2000/svg}"
# For each figure: its number of columns, and the labels of its axes.
PICTURES = {
    "frontier": (2, "multiply-adds per clip", "accuracy on validation clips"),
    "frontier, one column": (1, "multiply-adds per clip", "accuracy on validation clips"),
    "hypervolume": (1, "running time (minutes)", "hypervolume (mean accuracy)"),
    "arena": (2, "evaluations", "hypervolume, share of the true one"),
    "ranking": (2, "Kendall's τ with other seeds at full budget: within bins ●, overall ○", ""),
    "stream": (1, "frames seen", "accuracy"),
    "clips": (1, "clips of a video", "accuracy"),
    "classes": (2, "top-1 accuracy", ""),
    "confusion": (2, "predicted", "label"),
}


def arena_volumes(algorithms: int = 8) -> dict[str, np.ndarray]:
    """Return growing hypervolumes of 4 seeds over 50 evaluations."""
    rng = np.random.default_rng(0)
    return {
        f"algorithm {i}": np.maximum.accumulate(rng.random((4, 50)) ** (1 / (1 + i)), axis=1) for i in range(algorithms)
    }


def draw_all(folder: Path) -> dict[str, tuple[Figure, Axes]]:
    """Draw every figure from tables alone."""
    ledger = run(folder)
    front = frame.selected_front(ledger)
    lift = Factors(depth=1.5, width=2, resolution=7, frames=1.6)
    family = scale_family(parents.of_run(ledger), FamilyConfig(lift=lift))
    tables = frame.trials(ledger), front, frame.networks(ledger, ("reference",)), family.parents()
    steps = pd.DataFrame({"frames": range(1, 51), "top1": np.linspace(0.2, 0.7, 50), "top5": np.linspace(0.5, 0.9, 50)})
    clips = pd.DataFrame({"crops": [1, 1, 3, 3], "clips": [1, 2, 1, 2], "top1": [0.4, 0.5, 0.5, 0.6]})
    classes = pd.DataFrame({"name": [f"class {i}" for i in range(36)], "accuracy": np.linspace(0, 1, 36)})
    heights = {"frontier, one column": 3.3, "confusion": figure_style.WIDTHS[2]}
    made = {name: figure_style.new(columns, heights.get(name)) for name, (columns, *_) in PICTURES.items()}
    axes = {name: each for name, (_, each) in made.items()}
    plots.draw_front(axes["frontier"], *tables)
    plots.draw_front(axes["frontier, one column"], *tables)
    plots.hypervolume_over_time(axes["hypervolume"], hypervolume_over_time.hypervolume_over_time(ledger))
    table_comparison.draw(axes["arena"], np.arange(1, 51), arena_volumes(), "evaluations")
    reliability_report.draw_ranking(axes["ranking"], rank(synthetic_table(1, (3, 3, 3), seeds=3), draws=50).rows)
    evaluation.streaming(axes["stream"], {"a0": steps})
    evaluation.multi_clip(axes["clips"], {"a0": clips})
    evaluation.class_accuracy(axes["classes"], classes)
    evaluation.confusion(axes["confusion"], np.eye(36), list(classes["name"]))
    return made


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Figure, Axes]]:
    return draw_all(tmp_path_factory.mktemp("run"))


def texts(figure: Figure) -> list[Text]:
    """Return the visible texts."""
    figure.draw_without_rendering()
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_a_column_or_two_wide_with_type_that_can_be_read_there(drawn, name):
    figure, axes = drawn[name]
    columns, *said = PICTURES[name]
    assert [axes.get_xlabel(), axes.get_ylabel()] == said
    assert figure.get_figwidth() == {1: 3.3, 2: 6.9}[columns]
    shown = texts(figure)
    assert len(shown) >= 6 and min(text.get_fontsize() for text in shown) >= 7
    assert not [text.get_text() for text in shown if "$" in text.get_text()]  # it would be set in other fonts
    named = axes.get_legend().get_texts() if axes.get_legend() else []
    for text in (axes.xaxis.label, axes.yaxis.label, *named):
        if text.get_text():
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text.get_text()
            assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text.get_text()


@pytest.mark.parametrize("name", ["frontier, one column", "confusion", "stream"])
def test_files_hold_text_as_text_and_are_the_same_each_time(drawn, name, tmp_path):
    figure, axes = drawn[name]
    paths = [tmp_path / f"{i}.{kind}" for kind in figure_style.FORMATS for i in (0, 1)]
    figure_style.save(figure, *paths)
    for first, second in zip(paths[::2], paths[1::2], strict=True):
        assert first.read_bytes() == second.read_bytes(), first.suffix
    assert imread(tmp_path / "0.png").shape[1] == round(figure.get_figwidth() * figure_style.DPI)
    drawing = ElementTree.parse(tmp_path / "0.svg").getroot()
    written = ["".join(text.itertext()).strip() for text in drawing.iter(f"{SVG}text")]
    assert drawing.tag == f"{SVG}svg" and axes.get_xlabel() in written and axes.get_ylabel() in (*written, "")
    if axes.get_legend():
        assert {text.get_text() for text in axes.get_legend().get_texts()} <= set(written)
    assert "<dc:date" not in (tmp_path / "0.svg").read_text()
    document = PdfReader(tmp_path / "0.pdf", strict=True)
    (page,) = document.pages
    assert float(page.mediabox.width) == pytest.approx(72 * figure.get_figwidth(), abs=0.5)
    assert axes.get_xlabel() in page.extract_text() and not document.metadata.creation_date
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    assert fonts and {font["/Subtype"] for font in fonts} <= {"/Type0", "/TrueType"}  # never outlines of type 3


def test_lines_differ_in_more_than_colour(drawn):
    _, axes = drawn["arena"]
    lines = axes.get_lines()
    assert [line.get_label() for line in lines] == [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(lines) == 8 and all(len(line.get_xdata()) == 50 for line in lines)
    for name, line in zip(arena_volumes(), lines, strict=True):
        assert line.get_label() == name
        assert line.get_ydata() == pytest.approx(arena_volumes()[name].mean(axis=0))
    for one, other in itertools.combinations(lines, 2):
        assert (one.get_linestyle(), one.get_marker()) != (other.get_linestyle(), other.get_marker())
    styles = [figure_style.line_style(i) for i in range(28)]
    assert len({(style["color"], style["linestyle"]) for style in styles}) == 28


def test_every_predictor_has_both_its_dots(drawn):
    _, axes = drawn["ranking"]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    judged = rank(synthetic_table(1, (3, 3, 3), seeds=3), draws=50).rows
    assert names == judged["predictor"].tolist()
    bars = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
    dots = np.concatenate([bar.lines[0].get_xdata() for bar in bars])
    assert sorted(dots) == pytest.approx(sorted([*judged["tau"], *judged["tau_within"]]))
    assert {bar.lines[0].get_markerfacecolor() == "white" for bar in bars} == {True, False}


def test_labels_of_a_frontier_in_one_column_do_not_collide(drawn):
    figure, axes = drawn["frontier, one column"]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts if isinstance(text, Annotation)]
    assert len(boxes) > 6 and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("text", ["", "jpg", "png,", "png;svg", "PNG"])
def test_another_format_is_refused(text):
    with pytest.raises(InputError, match="must be of png, svg, pdf, by commas"):
        figure_style.formats_of(text)


def test_the_command_writes_the_formats_asked_for(tmp_path, capsys):
    run(tmp_path, searched=12)
    assert run_search.main(["plot", str(tmp_path), "--format", "pdf,svg,pdf"]) == 0
    printed = capsys.readouterr().out.split()
    pictures = [f"{name}.{kind}" for name in ("front", "hypervolume") for kind in ("pdf", "svg")]
    assert printed[-4:] == [str(tmp_path / name) for name in pictures] and not list(tmp_path.glob("*.png"))
    assert run_search.main(["plot", str(tmp_path), "--format", "eps"]) == 2
    assert capsys.readouterr().err == "error: --format: 'eps' must be of png, svg, pdf, by commas\n"
    for command in (["reliability", str(tmp_path)], ["compare", "tiny", "--out", str(tmp_path / "race")]):
        assert run_search.main([*command, "--format", "eps"]) == 2
        assert "--format: 'eps'" in capsys.readouterr().err
    assert not (tmp_path / "race").exists()
