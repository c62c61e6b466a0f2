"""The section of a report on reliability and proxy rank correlation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from nas.benchmark import table as tables
from nas.record.ledger import Ledger
from results.analysis import proxy_correlation
from results.analysis import reliability as statistics
from results.report.markup import Html, bar, element, interval, join, table
from results.tables.ranking_support import ranking
from results.tables.trainings import of_ledger
from search_space.base.errors import InputError

DRAWS = 200
CAPTIONS = ("Reliability of one training, full budget", "Reliability of early measurements")


def reliability(ledger: Ledger) -> Html:
    """Return the reliability of the training statistics, and the rank correlations of predictors."""
    found = statistics.reliability(of_ledger(ledger), draws=DRAWS)
    verdict = element(
        "p", f"{found.kind.capitalize()} of {found.repeated} networks: {found.verdict}.", class_="verdict"
    )
    rows = [
        [
            row["statistic"],
            f"{math.sqrt(row['between']):.3f}",
            f"{math.sqrt(row['within']):.3f}",
            bar(*_number(row, "reliability"), row["reliability_low"] > 0),
            interval(*_number(row, "reliability")),
            interval(*_number(row, "tau_seeds")),
            interval(*_number(row, "tau_accuracy")),
        ]
        for row in _rows(found.rows)
    ]
    head = ["statistic", "sd of networks at equal cost", "sd of seeds", "plot", "reliability"]
    head += ["τ between seeds", "τ with accuracy of other seeds"]
    full, early = ([row for row in rows if ("@" in row[0]) == at] for at in (False, True))
    parts = [table(caption, head, some, texts=(0, 3)) for caption, some in zip(CAPTIONS, (full, early), strict=True)]
    lines = [element("p", line, class_="verdict") for line in ranking(ledger).text().splitlines()]
    return join([*lines, verdict, *(parts if rows else []), _ranking(ledger)])


def _ranking(ledger: Ledger) -> Html:
    try:
        found = proxy_correlation.rank(tables.from_ledger(ledger), draws=DRAWS)
    except InputError as error:
        return element("p", f"No proxy rank correlation: {error}", class_="verdict")
    rows = [
        [
            str(row["predictor"]).replace("macs", "FLOPs").replace("_", " "),
            bar(
                *_number(row, "tau_within"), abs(row["tau_within"]) > 0 and not row["verdict"].startswith("not enough")
            ),
            interval(*_number(row, "tau_within")),
            interval(*_number(row, "beyond_cost")),
            row["networks"],
            row["verdict"],
        ]
        for row in _rows(found.rows)
    ]
    head = ["predictor", "plot", "τ within FLOPs bins", "τ beside log-FLOPs", "networks", "verdict"]
    return table("Proxy rank correlation with trainings by other seeds", head, rows, texts=(0, 1, 5))


def _number(row: Mapping[Any, Any], name: str) -> tuple[float, float, float]:
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


def _rows(frame: pd.DataFrame) -> Iterator[dict[Any, Any]]:
    yield from frame.to_dict("records")
