"""Pictures of an evaluation: accuracy by clips and crops or by frames seen, by class, and which classes are mistaken.

    python -m results.evaluation_plots DIR [DIR ...]

reads the evaluation.json that `movinet.evaluate` wrote into each DIR and writes the pictures beside it; several
evaluations of one kind are also drawn into one picture, in the first DIR.
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

from results.files import replaced
from results.plots import BLACK, BLUE, DPI, GREEN, GREY, SIZE, TEXT, VERMILION
from search_space import foreign_files
from search_space.command_line import Parser, exit_code
from search_space.errors import InputError, printable

SCHEMA = "movinet-nas/evaluation/1"
MAX_BYTES = 2**28
COLOURS = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", BLACK)  # Okabe & Ito, as in results.plots
MARKS = "osD^vPX"
NAMED = 40  # classes whose names are readable along an axis
EXTREMES = 15  # of more classes, the best and the worst ones


def multi_clip(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    """Top-1 over the number of clips, a line for each evaluation and number of crops.

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
    axes.set_xlabel("clips of a video", fontsize=TEXT + 1)


def streaming(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    """Top-1 and top-5 over the frames seen; of several evaluations top-1.

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
    axes.set_xlabel("frames seen", fontsize=TEXT + 1)


def class_accuracy(axes: Axes, classes: pd.DataFrame) -> None:
    """A bar for each class, best first; of many classes those at both ends.

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
    axes.set_xlabel("top-1 accuracy", fontsize=TEXT + 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _frame(axes, "x")
    _legend(axes)


def confusion(axes: Axes, matrix: np.ndarray, classes: Sequence[str]) -> None:
    """The share of each label's examples (rows) that are predicted as each class (columns).

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
    axes.set_xlabel("predicted", fontsize=TEXT + 1)
    axes.set_ylabel("label", fontsize=TEXT + 1)
    axes.tick_params(labelsize=TEXT, color=GREY)
    axes.spines[:].set_color(GREY)
    if len(classes) <= NAMED:
        places, names = range(len(classes)), [_short(name) for name in classes]
        size = TEXT if len(classes) <= NAMED // 2 else TEXT - 3
        axes.set_xticks(places, names, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(places, names, fontsize=size, parse_math=False)


def _named(name: str, part: str, curves: Mapping[str, Any]) -> str:
    """What a line is called: the part alone where there is one evaluation."""
    return part if len(curves) == 1 else f"{name}, {part}"


def _short(name: object) -> str:
    text = str(name)
    text = printable(text)
    return text if len(text) <= 28 else f"{text[:15]}\u2026{text[-12:]}"  # names often differ at their ends


def _lines(axes: Axes, lines: Sequence[tuple[str, pd.Series, pd.Series]]) -> None:
    highest = max(y.iloc[-1] for _, _, y in lines)
    for i, (name, x, y) in enumerate(lines):
        colour, mark = COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)] if len(x) <= 30 else ""
        axes.plot(x, y, color=colour, marker=mark, markersize=4.5, linewidth=1.8, label=name)
        axes.annotate(
            f"{y.iloc[-1]:.1%}",
            (x.iloc[-1], y.iloc[-1]),
            (4, 4 if y.iloc[-1] == highest else -10),
            textcoords="offset points",
            fontsize=TEXT,
            color=colour,
            fontweight="bold",
        )
    values = np.concatenate([y.to_numpy(float) for _, _, y in lines])
    room = max(0.02, 0.08 * float(np.ptp(values)))
    axes.set_ylim(max(0.0, values.min() - room), min(1.0, values.max() + room) + 0.01)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("accuracy", fontsize=TEXT + 1)
    _frame(axes, "both")
    _legend(axes)


def _frame(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=TEXT, color=GREY)
    axes.grid(True, axis=grid, color="#E6E6E6", linewidth=0.7, zorder=0)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _legend(axes: Axes) -> None:
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0, "ncols": 3}
    axes.legend(fontsize=TEXT, frameon=False, columnspacing=1.5, **place)


def read_evaluation(folder: Path) -> dict[str, Any]:
    """The evaluation.json of a folder. Raises `InputError` if it is not one."""
    file = folder / "evaluation.json"
    try:
        found = foreign_files.parsed_json(foreign_files.content(file, MAX_BYTES))
    except (OSError, ValueError) as error:
        raise InputError(str(file), str(error), "is why it cannot be read") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise InputError(str(file), schema, f"must be the schema {SCHEMA!r}")
    return found


def save(folder: Path) -> list[Path]:
    """The pictures of an evaluation, as PNG in its folder; returns which."""
    found = read_evaluation(folder)
    names = [row["name"] for row in found["classes"]]
    saved = save_curves({folder.name: found}, folder)
    figure, axes = _new(height=max(SIZE[1], 0.19 * min(len(names), 2 * EXTREMES if len(names) > NAMED else NAMED)))
    class_accuracy(axes, pd.DataFrame(found["classes"]))
    saved.append(_saved(figure, folder / "classes.png"))
    figure, axes = _new(height=SIZE[0])
    confusion(axes, np.array(found["confusion"]), names)
    return [*saved, _saved(figure, folder / "confusion.png")]


def save_curves(evaluations: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """A picture of what went over clips, and one of what went over frames; of several evaluations, of several each."""
    saved = []
    for mode, draw in (("multi", multi_clip), ("stream", streaming)):
        curves = {name: pd.DataFrame(one["curve"]) for name, one in evaluations.items() if one["mode"] == mode}
        if len(curves) >= min(2, len(evaluations)):
            figure, axes = _new()
            draw(axes, curves)
            saved.append(_saved(figure, folder / f"{mode}{'_compared' * (len(evaluations) > 1)}.png"))
    return saved


def _new(height: float = SIZE[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(SIZE[0], height), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()


def _saved(figure: Figure, path: Path) -> Path:
    with replaced(path) as new:
        figure.savefig(new, format="png")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for input that must be mended."""
    top = Parser("results.evaluation_plots", __doc__)
    top.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folder with an evaluation.json")
    return exit_code(lambda: _main(top.parse_args(arguments).folders))


def _main(folders: Sequence[Path]) -> int:
    saved = [path for folder in folders for path in save(folder)]
    if len(folders) > 1:
        saved += save_curves({_label(folder, folders): read_evaluation(folder) for folder in folders}, folders[0])
    print("\n".join(map(str, saved)))
    return 0


def _label(folder: Path, folders: Sequence[Path]) -> str:
    """Its name, or its path where another has that name."""
    return folder.name if sum(other.name == folder.name for other in folders) == 1 else str(folder)


if __name__ == "__main__":
    sys.exit(main())
