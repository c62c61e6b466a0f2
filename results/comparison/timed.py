"""Search algorithms compared in real training at equal time: hypervolume over time, and of the re-evaluated fronts.

Hypervolumes are those of `nas.record.hypervolume`, over one range of cost for all runs: all that their spaces and
limits allow. The accuracies recorded during a search have selection bias, because the training that is measured also
selects the network. So runs are compared by the mean of new trainings of their fronts. Runs of one seed are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.record.hypervolume import CostRange, Ranges, hypervolume
from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY
from results.comparison.on_table import BASELINE, mean_with_interval
from results.comparison.on_table_text import columns, interval
from results.figures import style
from results.figures.table_comparison import GRID, draw
from results.tables.frame import trainings
from results.tables.hypervolume_over_time import hypervolume_over_time, ranges_of_run
from search_space.base.atomic_files import replaced

Runs = Mapping[tuple[str, int], Ledger]


def whole_ranges(runs: Runs) -> Ranges:
    """Return the range of each cost objective that the space and limits of any run allow."""
    by_cost = zip(*(ranges_of_run(ledger) for ledger in runs.values()), strict=True)
    return tuple(CostRange(min(each.low for each in ranges), max(each.high for each in ranges)) for ranges in by_cost)


def of_each_run(runs: Runs) -> pd.DataFrame:
    """Return a row for each run.

    Columns: algorithm, seed; candidates started, and completed to the full budget; size of the front; recorded:
    hypervolume during the search; retrained: of the front by the means of new trainings only.
    """
    within = whole_ranges(runs)
    rows = []
    for (name, number), ledger in runs.items():
        finals = trainings(ledger, ("finalist",))
        means = finals.groupby("fingerprint")[[*ledger.costs, ACCURACY.name]].mean()
        searched = [index for index, proposal in ledger.proposals.items() if proposal.kind == "search"]
        row: dict[str, Any] = {"algorithm": name, "seed": number, "candidates": len(searched)}
        row |= {"completed": len(ledger.completed.keys() & set(searched)), "front": len(means)}
        over_time = hypervolume_over_time(ledger, within=within)
        row["recorded"] = float(over_time["hypervolume"].iloc[-1]) if len(over_time) else 0.0
        costs = means[[*ledger.costs]].to_numpy(float)
        row["retrained"] = float(hypervolume(costs, means[ACCURACY.name].to_numpy(), within))
        rows.append(row)
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame, seed: int = 0, baseline: str = BASELINE) -> pd.DataFrame:
    """Return means of `of_each_run` over seeds, by algorithm, with 95 % intervals by bootstrap over seeds.

    lead: paired difference of the retrained hypervolume to the baseline, if it ran.
    """
    rows = []
    by_seed = {name: runs.sort_values("seed") for name, runs in table.groupby("algorithm", sort=False)}
    for name, runs in by_seed.items():
        rng = np.random.default_rng(seed)
        row: dict[str, Any] = {"algorithm": name, "seeds": len(runs)}
        for column in ("candidates", "completed", "front", "recorded", "retrained"):
            row |= mean_with_interval(column, runs[column].to_numpy(float), rng)
        if baseline in by_seed:
            lead = runs["retrained"].to_numpy() - by_seed[baseline]["retrained"].to_numpy()
            row |= mean_with_interval("lead", lead, rng)
        rows.append(row)
    return pd.DataFrame(rows)


def text(table: pd.DataFrame, minutes: float) -> str:
    """Return the table of `summary`."""
    lead = f"lead over {BASELINE}"
    rows = [[f"{minutes:g} minutes each", "seeds", "candidates", "to the end", "recorded", "trained again", lead]]
    for row in table.to_dict("records"):
        counts = [f"{row['candidates']:.0f}", f"{row['completed']:.0f}"]
        volumes = [interval(row, name, 4) for name in ("recorded", "retrained")]
        cells = [*counts, *volumes, interval(row, "lead", 4) if "lead" in row else ""]
        rows.append([str(row["algorithm"]), str(row["seeds"]), *cells])
    return columns(rows)


def write(
    runs: Runs, algorithms: Sequence[str], minutes: float, folder: Path, formats: Sequence[str] = ("png",)
) -> str:
    """Write runs.csv, summary.csv, time.csv and time.png, or other formats; return the text to print."""
    each = of_each_run(runs)
    found = summary(each)
    times = _over_time(runs)
    paths = []
    for name, frame in (("runs", each), ("summary", found), ("time", times)):
        paths.append(folder / f"{name}.csv")
        with replaced(paths[-1]) as new:
            frame.to_csv(new, index=False, float_format="%.6g")
    pictures = [folder / f"time.{kind}" for kind in formats]
    _save(times, algorithms, minutes, pictures)
    paths += pictures
    return "\n\n".join([text(found, minutes), "\n".join(map(str, paths))])


def _over_time(runs: Runs) -> pd.DataFrame:
    """Return algorithm, seed and `results.tables.hypervolume_over_time.hypervolume_over_time` of each run."""
    within = whole_ranges(runs)
    parts = []
    for (name, number), ledger in runs.items():
        part = hypervolume_over_time(ledger, within=within)
        parts.append(part.assign(algorithm=name, seed=number))
    return pd.concat(parts, ignore_index=True)


def _save(times: pd.DataFrame, algorithms: Sequence[str], minutes: float, paths: Sequence[Path]) -> None:
    grid = np.linspace(0, minutes, GRID)
    volumes = {}
    for name in algorithms:
        steps = [
            np.append(0.0, run["hypervolume"])[np.searchsorted(run["seconds"] / 60, grid, side="right")]
            for _, run in times[times["algorithm"] == name].groupby("seed")
        ]
        volumes[name] = np.stack(steps)
    figure, axes = style.new(columns=2)
    draw(axes, grid, volumes, "minutes of search on one core")
    axes.set_ylabel("hypervolume as recorded (mean attained accuracy)")
    style.save(figure, *paths)
