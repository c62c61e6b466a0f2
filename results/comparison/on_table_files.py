"""All files of a comparison on a table, and the text printed at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.benchmark.table import Table
from nas.benchmark.table_comparison import Settings, TableRun
from results.comparison import on_table, on_table_text
from results.figures import table_comparison


def write_comparison(
    table: Table,
    runs: Sequence[TableRun],
    algorithms: Sequence[str],
    settings: Settings,
    folder: Path,
    formats: Sequence[str] = ("png",),
) -> str:
    """Write curves.csv, summary.csv and figures; with early stopping, stopping.csv. Return the text to print."""
    frame = on_table.curves(table, runs)
    summary = on_table.summary(frame, algorithms, settings.evaluations, settings.seed)
    paths = [on_table.write(frame, folder / "curves.csv"), on_table.write(summary, folder / "summary.csv")]
    told = f"algorithms receive {settings.statistic} of one training; hypervolumes use the mean accuracy over trainings"
    texts = [told, on_table_text.summary_text(summary, settings.evaluations)]
    if any(run.stopping for run in runs):
        stopped = on_table.stopping(table, runs, algorithms, settings.seed)
        paths.append(on_table.write(stopped, folder / "stopping.csv"))
        texts.append(on_table_text.stopping_text(stopped))
    paths += table_comparison.save(frame, algorithms, settings.evaluations, folder, formats)
    return "\n\n".join([*texts, "\n".join(map(str, paths))])
