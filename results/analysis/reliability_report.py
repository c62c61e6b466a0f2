"""Reliability, proxy rank correlation and importance of choices as text, as JSON, as CSV files and as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nas.benchmark import table as tables
from nas.benchmark.table import Table
from nas.record.ledger import Ledger
from results.analysis import importance, proxy_correlation
from results.analysis import reliability as statistics
from results.analysis.importance import Importance
from results.analysis.proxy_correlation import BIN_ENOUGH, ENOUGH, ProxyRanking
from results.analysis.reliability import Reliability
from results.figures import style as figure_style
from results.figures.style import BLACK, BLUE, GREEN, GREY, GRID, TEXT, VERMILION
from results.tables.trainings import Trainings, of_ledger, of_table
from search_space.base.atomic_files import replaced
from search_space.base.errors import InputError

COLOURS = {"early": BLUE, "full": BLUE, "ceiling": BLACK, "cost": VERMILION, "score": GREEN}
SPREADS = ("statistic", "n", "trainings", "mean", "sd networks", "sd seeds")
STATISTICS = (*SPREADS, "reliability", "tau seeds", "tau accuracy")
PREDICTORS = ("predictor", "steps", "s", "n", "tau", "tau within", "beyond log-FLOPs")
CHOSEN = ("regret@1", "regret@5", "verdict")
DIMENSIONS = ("dimension", "share of variance beyond cost")
FILES = ("reliability.csv", "ranking.csv", "importance.csv")


@dataclass(frozen=True)
class Findings:
    """Reliability of the statistics of a table or a run, proxy rank correlations, and importance of choices."""

    reliability: Reliability
    ranking: ProxyRanking
    importance: Importance

    @classmethod
    def of_table(cls, table: Table, bins: int, trainings: Trainings | None = None) -> Findings:
        """Analyse a table; `trainings` are by default those of the table."""
        reliable = statistics.reliability(trainings or of_table(table), bins)
        statistic = reliable.recommended if reliable.recommended in table.statistics else None
        choices = importance.of_table(table, statistic or table.usual_statistic)
        return cls(reliable, proxy_correlation.rank(table, bins), choices)

    @classmethod
    def of_run(cls, ledger: Ledger, bins: int) -> Findings:
        """Analyse a run: reliability by its repeated trainings, the rest by its search trials.

        Raises:
          InputError: no search trial was trained to the full budget.
        """
        return cls.of_table(tables.from_ledger(ledger), bins, of_ledger(ledger))


def text(found: Findings) -> str:
    """Return tables for the terminal; regrets are those within bins, in points of accuracy."""
    return "\n\n".join([_reliability(found.reliability), _ranking(found.ranking), _importance(found.importance)])


def _reliability(found: Reliability) -> str:
    repeated = f"{found.kind} of {found.repeated} networks with two seeds or more"
    head = f"Reliability of one training, {found.name}: {repeated}"
    if found.rows.empty:
        return f"{head}\n\n{found.verdict}"
    legend = [
        "sd networks: standard deviation between networks beyond a quadratic in log cost; sd seeds: between",
        "trainings of one network. reliability: share of the first in the variance of both, ICC(1). tau: Kendall's",
        "tau-b within cost bins, between two seeds, and with the accuracy of the other seeds. 95 % intervals by",
        "bootstrap over networks.",
    ]
    table = _aligned([STATISTICS, *map(_statistic, _records(found.rows))])
    return "\n".join([head, "", *table, "", *legend, "", found.verdict])


def _statistic(row: Mapping[str, Any]) -> tuple[str, ...]:
    spreads = (f"{math.sqrt(row[name]):.3f}" for name in ("between", "within"))
    numbers = (_estimate(row, name, ".2f") for name in ("reliability", "tau_seeds", "tau_accuracy"))
    counts = str(row["architectures"]), str(row["trainings"])
    return row["statistic"], *counts, f"{row['mean']:.3f}", *spreads, *numbers


def _ranking(found: ProxyRanking) -> str:
    sampled = "" if found.networks == found.of else f", a random sample of {found.of}"
    bins = ", ".join(map(str, found.bins))
    head = f"Proxy rank correlation: {found.networks} networks{sampled}, {found.seeds} seeds; {bins} in FLOPs bins"
    legend = [
        "tau: Kendall's tau-b with the mean accuracy of the other seeds at full budget. regret: points of accuracy",
        "between the best network of a bin and the best of the 1 or 5 chosen in it. 95 % intervals by bootstrap over",
        f"networks. Not enough evidence: fewer than {ENOUGH} networks, or 0 in both intervals, of tau within bins and",
        f"beyond log-FLOPs. Bins of fewer than {BIN_ENOUGH} networks are left out.",
    ]
    rows, left_out = _compared(found), len(found.rows) - len(_compared(found))
    if found.long:
        steps = f" of {found.long_steps} steps" if found.long_steps else ""
        legend.append(f"tau long: within bins with the mean accuracy of long trainings{steps}, {found.long} networks.")
    if left_out:
        legend.append(
            f"Left out: {left_out} measurements of trainings, because no network has another seed to compare."
        )
    headings = (*PREDICTORS, *(["tau long"] if found.long else []), *CHOSEN)
    table = _aligned([headings, *(_predictor(row, found.long > 0) for row in _records(rows))])
    return "\n".join([head, "", *table, "", *legend])


def _compared(found: ProxyRanking) -> pd.DataFrame:
    """Return rows of predictors that could be compared."""
    rows = found.rows
    return rows[(rows["networks"] > 0) | rows["tau_long"].notna()].reset_index(drop=True)


def _predictor(row: Mapping[str, Any], long: bool) -> tuple[str, ...]:
    taus = [_estimate(row, name, ".2f") for name in ("tau", "tau_within", "beyond_cost", *(["tau_long"] * long))]
    regrets = (_estimate(row, name, ".1f", 100) for name in ("regret_1_within", "regret_5_within"))
    budget = _number(100 * row["share"], ".3g", " %"), _number(row["seconds"], ".3g"), str(row["networks"])
    return row["predictor"], *budget, *taus, *regrets, row["verdict"]


def _importance(found: Importance) -> str:
    head = f"Analysis of variance of {found.statistic}, {found.trials} networks"
    if not found.shares:
        return f"{head}\n\nnot enough evidence: {found.trials} networks of {importance.ENOUGH}, or none that differ"
    rows = [(each.dimension, _share(each)) for each in (*found.shares, found.together)]
    by_cost = f"{100 * max(found.by_cost, 0):.0f} %"
    legend = [
        f"log-FLOPs predicts {by_cost} of the variance in held-out networks. Shares are of the",
        "rest, also in held-out networks. A share common to several dimensions is split equally; interactions",
        "count as unexplained.",
    ]
    return "\n".join([head, "", *_aligned([DIMENSIONS, *rows]), "", *legend])


def _share(share: importance.Share) -> str:
    return f"{100 * share.value:.1f} % ({_number(100 * share.low, '.1f')} to {_number(100 * share.high, '.1f')})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _estimate(row: Mapping[str, Any], name: str, form: str, scale: float = 1) -> str:
    value, low, high = (scale * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if math.isnan(value):
        return "-"
    return f"{value:{form}} ({_number(low, form)} to {_number(high, form)})"


def _number(value: float, form: str, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"


def as_json(found: Findings) -> dict[str, Any]:
    """Return plain data; None for a missing number."""
    reliable, ranking, choices = found.reliability, found.ranking, found.importance
    names = ("networks", "of", "seeds", "steps", "long", "long_steps")
    return {
        "name": reliable.name,
        "reliability": {
            **{
                name: getattr(reliable, name)
                for name in ("kind", "architectures", "repeated", "recommended", "verdict")
            },
            "statistics": _plain(_records(reliable.rows)),
        },
        "ranking": {
            **{name: getattr(ranking, name) for name in names},
            "draws": proxy_correlation.DRAWS,
            "bins": list(ranking.bins),
            "predictors": _plain(_records(ranking.rows)),
        },
        "importance": {
            "statistic": choices.statistic,
            "networks": choices.trials,
            **_plain([{"by_cost": choices.by_cost}])[0],
            "shares": _plain(_records(_shares(choices))),
        },
    }


def _plain(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]


def _shares(found: Importance) -> pd.DataFrame:
    rows = [asdict(each) for each in (*found.shares, found.together)] if found.shares else []
    return pd.DataFrame(rows, columns=["dimension", "value", "low", "high"])


def write(found: Findings, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write `FILES` and reliability.png, or other formats, to a folder, which is created if missing.

    Raises:
      InputError: they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("--out", str(folder), f"cannot be created: {error.strerror}") from None
    tables_ = [folder / name for name in FILES]
    frames = (found.reliability.rows, found.ranking.rows, _shares(found.importance))
    for path, frame in zip(tables_, frames, strict=True):
        with replaced(path) as new:
            frame.to_csv(new, index=False)
    figures = [folder / f"reliability.{kind}" for kind in formats]
    ranked, shares = _compared(found.ranking), _shares(found.importance)
    count = len(found.reliability.rows), len(ranked), len(shares)
    figure, axes = figure_style.stacked([max(each, 1) for each in count])
    draw_reliability(axes[0], found.reliability.rows)
    draw_ranking(axes[1], ranked)
    draw_shares(axes[2], shares)
    figure_style.save(figure, *figures)
    return [*tables_, *figures]


def draw_reliability(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw reliability (filled) and Kendall's τ between seeds (hollow) of each statistic, with intervals."""
    places = np.arange(len(rows))[::-1]
    if len(rows):
        _dots(axes, rows, "tau_seeds", places + 0.13, BLUE, mfc="white")
        _dots(axes, rows, "reliability", places - 0.13, BLUE)
    _dress(
        axes, places, list(rows.get("statistic", [])), "reliability of one training ●, τ between seeds within bins ○"
    )


def draw_ranking(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw Kendall's τ of each predictor with its interval: within bins filled, over all networks hollow.

    Args:
      axes: where to draw.
      rows: of a `ProxyRanking`; the ceiling's interval within bins is a grey strip.
    """
    places = np.arange(len(rows))[::-1]
    for kind, group in rows.groupby("kind"):
        at = places[group.index]
        _dots(axes, group, "tau", at + 0.13, COLOURS[str(kind)], mfc="white")
        _dots(axes, group, "tau_within", at - 0.13, COLOURS[str(kind)])
    for _, ceiling in rows[rows["kind"] == "ceiling"].iterrows():
        axes.axvspan(ceiling["tau_within_low"], ceiling["tau_within_high"], color=GRID, zorder=0)
    _dress(
        axes, places, list(rows["predictor"]), "Kendall's τ with other seeds at full budget: within bins ●, overall ○"
    )


def draw_shares(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the share of the variance beyond cost of each dimension, with its interval."""
    places = np.arange(len(rows))[::-1]
    if len(rows):
        _dots(axes, rows.rename(columns={"low": "value_low", "high": "value_high"}), "value", places, GREEN)
    _dress(axes, places, list(rows["dimension"]), "share of the variance beyond log-FLOPs")


def _dress(axes: Axes, places: np.ndarray, names: Sequence[str], label: str) -> None:
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.set_yticks(places, names, fontsize=TEXT)
    axes.set_xlabel(label)
    figure_style.dress(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _dots(axes: Axes, rows: pd.DataFrame, name: str, at: np.ndarray, colour: str, **style: Any) -> None:
    value = rows[name].to_numpy(float)
    reach = np.nan_to_num(np.stack([value - rows[f"{name}_low"], rows[f"{name}_high"] - value])).clip(0)
    axes.errorbar(
        value, at, xerr=reach, fmt="o", color=colour, markersize=5, elinewidth=0.9, capsize=2, zorder=3, **style
    )
