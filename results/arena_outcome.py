"""All files of a comparison on a table, and what is printed at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.arena import Played, Settings
from nas.table import Table
from results import arena, arena_plots, arena_text


def write_comparison(
    table: Table,
    played: Sequence[Played],
    algorithms: Sequence[str],
    settings: Settings,
    folder: Path,
    formats: Sequence[str] = ("png",),
) -> str:
    """curves.csv, summary.csv and the pictures; with early stopping stopping.csv. Returns the text to print."""
    frame = arena.curves(table, played)
    summary = arena.summary(frame, algorithms, settings.evaluations, settings.seed)
    paths = [arena.write(frame, folder / "curves.csv"), arena.write(summary, folder / "summary.csv")]
    told = f"algorithms see {settings.statistic} of one training, hypervolumes are of accuracy, the mean over trainings"
    texts = [told, arena_text.summary_text(summary, settings.evaluations)]
    if any(run.stopping for run in played):
        stopped = arena.stopping(table, played, algorithms, settings.seed)
        paths.append(arena.write(stopped, folder / "stopping.csv"))
        texts.append(arena_text.stopping_text(stopped))
    paths += arena_plots.save(frame, algorithms, settings.evaluations, folder, formats)
    return "\n\n".join([*texts, "\n".join(map(str, paths))])
