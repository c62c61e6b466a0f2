"""Tables of a run's event log: trials, networks and Pareto front.

A network is identified by its fingerprint; it can be trained several times, with other seeds. Only trainings with the
full budget count as results. Accuracy is from 0 to 1, costs are those of `search_space.cost.counting`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.record.events import KINDS, Proposal
from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY, Objective
from nas.record.pareto import pareto_front
from search_space.base.atomic_files import replaced

NORMAL = 1.959964  # 97.5 % quantile of the standard normal distribution


def trials(ledger: Ledger) -> pd.DataFrame:
    """Return one row per proposal, in the order proposed.

    Columns:

    - index, kind, label, fingerprint, repeat; state: completed, stopped, failed or pending;
    - steps trained and seconds of training; the exact costs and the metrics, by name;
    - started (proposed) and finished in seconds since 1970; reason of a failure.

    Metrics of a stopped trial are those of its partial budget; a failed or pending one has
    none.
    """
    return _table(ledger, list(ledger.proposals.values()))


def _table(ledger: Ledger, proposals: Sequence[Proposal]) -> pd.DataFrame:
    """Return the rows of `trials` of these proposals; built by columns, because building by rows is slow."""
    started, finished = ledger.times
    results = [ledger.completed.get(each.index) or ledger.stopped.get(each.index) for each in proposals]
    failures = [ledger.failed.get(each.index) for each in proposals]
    ends = [result or failure for result, failure in zip(results, failures, strict=True)]
    columns: dict[str, list[Any]] = {
        name: [getattr(each, name) for each in proposals]
        for name in ("index", "kind", "label", "fingerprint", "repeat")
    }
    columns["state"] = [type(end).__name__.lower() if end else "pending" for end in ends]
    columns["steps"] = [result.steps if result else None for result in results]
    columns["seconds"] = [result.seconds if result else math.nan for result in results]
    for name in ledger.cost_names:
        columns[name] = [each.cost.get(name, math.nan) for each in proposals]
    for name in ledger.metric_names:
        columns[name] = [result.metrics.get(name, math.nan) if result else math.nan for result in results]
    columns["started"] = [started[each.index] for each in proposals]
    columns["finished"] = [finished[end.index] if end else math.nan for end in ends]
    columns["reason"] = [failure.reason if failure else "" for failure in failures]
    return pd.DataFrame(columns).astype({"steps": "Int64"})


def trainings(ledger: Ledger, kinds: Sequence[str] = KINDS, objective: str = ACCURACY.name) -> pd.DataFrame:
    """Return the rows of `trials` that are results: trained for the full budget, of these kinds, with the metric."""
    proposals = ledger.proposals.values()
    table = _table(ledger, [each for each in proposals if each.kind in kinds and each.index in ledger.completed])
    table = table.reindex(columns=list(dict.fromkeys((*table.columns, *ledger.costs, objective))))
    return table[table[objective].notna()]


def networks(ledger: Ledger, kinds: Sequence[str] = KINDS, objective: str = ACCURACY.name) -> pd.DataFrame:
    """Return one row per network trained to the full budget, in the order first proposed.

    Columns:

    - fingerprint; index of its first search trial (missing if it was not searched); its labels;
    - kinds of its trainings, joined by "+"; the metric's mean over its trainings of these `kinds`, their number n;
    - the mean's standard_error and 95 % interval low to high by Student's t (missing for n = 1);
    - exact costs; architecture as plain data.
    """
    return _networks(ledger, trainings(ledger, kinds, objective), objective)


def _networks(ledger: Ledger, results: pd.DataFrame, objective: str) -> pd.DataFrame:
    proposals = ledger.proposals
    searched: dict[str, int] = {}
    for proposal in proposals.values():
        if proposal.kind == "search":
            searched.setdefault(proposal.fingerprint, proposal.index)
    rows = []
    for fingerprint, group in results.groupby("fingerprint", sort=False):
        first = proposals[int(group["index"].iloc[0])]
        rows.append(
            {
                "fingerprint": fingerprint,
                "index": searched.get(str(fingerprint)),
                "label": ", ".join(filter(None, group["label"].unique())),
                "kinds": "+".join(group["kind"].unique()),
                **summary(group[objective].to_numpy(float), objective),
                **first.cost,
                "architecture": first.architecture,
            }
        )
    leading = ("fingerprint", "index", "label", "kinds", *summary(np.ones(1), objective), *ledger.costs)
    columns = dict.fromkeys((*leading, *(name for row in rows for name in row)))
    return pd.DataFrame(rows, columns=list(columns)).astype({"index": "Int64"})


def summary(values: np.ndarray, name: str = ACCURACY.name) -> dict[str, Any]:
    """Return the mean of values [n] as `name`, n, standard_error, and the 95 % interval low, high; NaN for n = 1."""
    mean, n = float(values.mean()), len(values)
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    reach = error * student_t(n - 1) if n > 1 else math.nan
    return {name: mean, "n": n, "standard_error": error, "low": mean - reach, "high": mean + reach}


def student_t(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t distribution with `freedom` degrees of freedom."""
    from scipy.special import stdtrit  # slow to import, and not needed for runs without repeats

    return float(stdtrit(freedom, 0.975))


def front(
    ledger: Ledger,
    kinds: Sequence[str] = ("search", "finalist"),
    objective: str = ACCURACY.name,
) -> pd.DataFrame:
    """Return the rows of `networks` on the Pareto front of mean metric (higher is better) and the cost objectives.

    Rows are sorted by the first of these costs, cheapest first. With search trials among the `kinds`, means of one
    training have selection bias: report `selected_front` instead.
    """
    results = trainings(ledger, kinds, objective)
    # A long run has thousands of networks; only those on the front get a row.
    means = results.groupby("fingerprint", sort=False).agg({objective: "mean", **dict.fromkeys(ledger.costs, "first")})
    best = non_dominated(means.reset_index(), ledger.costs, objective)["fingerprint"]
    networks_on_it = _networks(ledger, results[results["fingerprint"].isin(best)], objective)
    return non_dominated(networks_on_it, ledger.costs, objective)


def non_dominated(table: pd.DataFrame, costs: Sequence[str], objective: str = ACCURACY.name) -> pd.DataFrame:
    """Return the rows of a table on its Pareto front of a metric and of costs; the first of equal ones.

    Rows are sorted by the first of the costs, cheapest first.
    """
    columns = (*(Objective(cost, "min") for cost in costs), Objective(objective, "max"))
    points = np.stack([each.minimised(table[each.name]) for each in columns], axis=1)
    return table.iloc[pareto_front(points)].reset_index(drop=True)


def selected_kinds(ledger: Ledger) -> tuple[str, ...]:
    """Return the kinds of trainings that evaluate the search: only re-evaluations ("finalist") if any, else search.

    Search trials have selection bias: the best of many noisy trainings is usually also a lucky one. Re-evaluations with
    new seeds have not.
    """
    retrained = any(ledger.proposals[index].kind == "finalist" for index in ledger.completed)
    return ("finalist",) if retrained else ("search",)


def selected_front(ledger: Ledger, objective: str = ACCURACY.name) -> pd.DataFrame:
    """Return the front to report and to build on: `front` of `selected_kinds`."""
    return front(ledger, selected_kinds(ledger), objective)


def write_trials(ledger: Ledger, path: str | Path) -> None:
    """Write `trials` as CSV. Raises `InputError` if it cannot be written."""
    _write(trials(ledger), path)


def write_front(ledger: Ledger, path: str | Path) -> None:
    """Write `selected_front` as CSV, without the architectures. Raises `InputError` if it cannot be written."""
    _write(selected_front(ledger).drop(columns="architecture", errors="ignore"), path)


def _write(table: pd.DataFrame, path: str | Path) -> None:
    with replaced(path) as new:
        table.to_csv(new, index=False)
