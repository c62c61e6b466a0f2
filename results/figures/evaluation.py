"""Figures of an evaluation: accuracy by clips and crops or by frames, accuracy by class, and the confusion of classes.

It reads the evaluation.json of `movinet.evaluate` in each folder and writes the figures beside it. Several evaluations
of one kind are also drawn in one figure, in the first folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from results.figures import style as figure_style
from results.figures.style import BLUE, GREY, SMALL, TEXT, VERMILION, dress, legend_above
from search_space.base import untrusted_files
from search_space.base.command_line import Parser, exit_code
from search_space.base.errors import InputError, printable

SCHEMA = "movinet-nas/evaluation/1"
MAX_BYTES = 2**28
NAMED = 40  # classes whose names are readable along an axis
EXTREMES = 15  # above, only the best and the worst ones


def multi_clip(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    """Draw top-1 accuracy over the number of clips, a line per evaluation and number of crops.

    Args:
      axes: where to draw.
      curves: name of an evaluation -> table of crops, clips, top1.
    """
    lines = [
        (_named(name, "1 crop" if crops == 1 else f"{crops} crops", curves), own["clips"], own["top1"])
        for name, table in curves.items()
        for crops, own in table.groupby("crops")
    ]
    _lines(axes, lines)
    axes.set_xlabel("clips of a video")


def streaming(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    """Draw top-1 and top-5 accuracy over the number of frames; for several evaluations only top-1.

    Args:
      axes: where to draw.
      curves: name of an evaluation -> table of frames, top1, top5.
    """
    measures = ("top1",) if len(curves) > 1 else ("top1", "top5")
    titles = {"top1": "top-1", "top5": "top-5"}
    lines = [
        (_named(name, titles[measure], curves), table["frames"], table[measure])
        for name, table in curves.items()
        for measure in measures
    ]
    _lines(axes, lines)
    axes.set_xlabel("frames seen")


def class_accuracy(axes: Axes, classes: pd.DataFrame) -> None:
    """Draw a bar per class, best first; of many classes only the best and the worst.

    Args:
      axes: where to draw.
      classes: table of name, examples, accuracy; classes without examples are left out.
    """
    table = classes.dropna(subset="accuracy").sort_values("accuracy", ascending=False, kind="stable")
    mean = float(table["accuracy"].mean())
    if len(table) > NAMED:
        axes.set_title(f"the best and the worst {EXTREMES} of {len(table)} classes", fontsize=TEXT, loc="right")
        table = pd.concat([table.head(EXTREMES), table.tail(EXTREMES)])
    places = np.arange(len(table))[::-1]
    axes.barh(places, table["accuracy"], color=np.where(table["accuracy"] < mean, VERMILION, BLUE), height=0.7)
    axes.axvline(mean, color=GREY, linewidth=1.2, linestyle="--", label=f"mean over classes, {mean:.1%}")
    axes.set_yticks(places, [_short(name) for name in table["name"]], parse_math=False)
    axes.set_ylim(-0.8, len(table) - 0.2)
    axes.set_xlim(0, 1)
    axes.set_xlabel("top-1 accuracy")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    dress(axes, "x")
    legend_above(axes)


def confusion(axes: Axes, matrix: np.ndarray, classes: Sequence[str]) -> None:
    """Draw the fraction of each label's examples (rows) that are predicted as each class (columns).

    Args:
      axes: where to draw.
      matrix: counts, label by prediction.
      classes: their names.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    bar = axes.figure.colorbar(image, ax=axes, format=PercentFormatter(1, decimals=0), fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=TEXT, color=GREY)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    dress(axes)
    axes.grid(False)
    axes.spines[:].set(visible=True, color=GREY)
    if len(classes) <= NAMED:
        places, names = range(len(classes)), [_short(name) for name in classes]
        size = TEXT if len(classes) <= NAMED // 2 else SMALL
        axes.set_xticks(places, names, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(places, names, fontsize=size, parse_math=False)


def _named(name: str, part: str, curves: Mapping[str, Any]) -> str:
    """Return the name of a line: only the part if there is one evaluation."""
    return part if len(curves) == 1 else f"{name}, {part}"


def _short(name: object) -> str:
    text = str(name)
    text = printable(text)
    return text if len(text) <= 28 else f"{text[:15]}\u2026{text[-12:]}"  # names often differ at their ends


def _lines(axes: Axes, lines: Sequence[tuple[str, pd.Series, pd.Series]]) -> None:
    highest = max(y.iloc[-1] for _, _, y in lines)
    for i, (name, x, y) in enumerate(lines):
        style = figure_style.line_style(i)
        axes.plot(x, y, linewidth=1.5, label=name, markevery=max(1, len(x) // 15), **style)
        axes.annotate(
            f"{y.iloc[-1]:.1%}",
            (x.iloc[-1], y.iloc[-1]),
            (4, 4 if y.iloc[-1] == highest else -10),
            textcoords="offset points",
            fontsize=TEXT,
            color=style["color"],
            fontweight="bold",
        )
    values = np.concatenate([y.to_numpy(float) for _, _, y in lines])
    room = max(0.02, 0.08 * float(np.ptp(values)))
    axes.set_ylim(max(0.0, values.min() - room), min(1.0, values.max() + room) + 0.01)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("accuracy")
    dress(axes)
    legend_above(axes)


def read_evaluation(folder: Path) -> dict[str, Any]:
    """The evaluation.json of a folder. Raises `InputError` if it is not one."""
    file = folder / "evaluation.json"
    try:
        found = untrusted_files.parsed_json(untrusted_files.content(file, MAX_BYTES))
    except (OSError, ValueError) as error:
        raise InputError(str(file), str(error), "prevented reading the file") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise InputError(str(file), schema, f"must be the schema {SCHEMA!r}")
    return found


def save(folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write the figures of an evaluation to its folder; return their paths."""
    found = read_evaluation(folder)
    names = [row["name"] for row in found["classes"]]
    saved = save_curves({folder.name: found}, folder, formats)
    bars = min(len(names), 2 * EXTREMES if len(names) > NAMED else NAMED)
    figure, axes = figure_style.new(columns=2, height=max(figure_style.TWO_COLUMNS[1], 0.17 * bars))
    class_accuracy(axes, pd.DataFrame(found["classes"]))
    saved += _saved(figure, folder, "classes", formats)
    figure, axes = figure_style.new(columns=2, height=figure_style.WIDTHS[2])
    confusion(axes, np.array(found["confusion"]), names)
    return [*saved, *_saved(figure, folder, "confusion", formats)]


def save_curves(
    evaluations: Mapping[str, Mapping[str, Any]], folder: Path, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write a figure over clips and one over frames, each for one or several evaluations."""
    saved = []
    for mode, draw in (("multi", multi_clip), ("stream", streaming)):
        curves = {name: pd.DataFrame(one["curve"]) for name, one in evaluations.items() if one["mode"] == mode}
        if len(curves) >= min(2, len(evaluations)):
            figure, axes = figure_style.new(columns=min(2, len(evaluations)))
            draw(axes, curves)
            saved += _saved(figure, folder, f"{mode}{'_compared' * (len(evaluations) > 1)}", formats)
    return saved


def _saved(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    paths = [folder / f"{name}.{kind}" for kind in formats]
    figure_style.save(figure, *paths)
    return paths


EXAMPLES = (
    ("results/runs/seen", "figures of one evaluation"),
    (
        "results/runs/seen results/runs/by_frame --format png,svg",
        "figures of two, and of both, in two formats",
    ),
)


def parser() -> Parser:
    """Return the command line parser."""
    top = Parser("results.figures.evaluation", __doc__, EXAMPLES)
    top.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folder with an evaluation.json")
    top.add_argument("--format", default="png", metavar="A,B", help="of the figures: png, svg, pdf (png)")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 on success, 2 for invalid input."""

    def work() -> int:
        options = parser().parse_args(arguments)
        return _main(options.folders, figure_style.formats_of(options.format))

    return exit_code(work)


def _main(folders: Sequence[Path], formats: Sequence[str]) -> int:
    saved = [path for folder in folders for path in save(folder, formats)]
    if len(folders) > 1:
        read = {_label(folder, folders): read_evaluation(folder) for folder in folders}
        saved += save_curves(read, folders[0], formats)
    print("\n".join(map(str, saved)))
    return 0


def _label(folder: Path, folders: Sequence[Path]) -> str:
    """Return the folder's name, or its path if another one has that name."""
    return folder.name if sum(other.name == folder.name for other in folders) == 1 else str(folder)


if __name__ == "__main__":
    sys.exit(main())
