"""Scaling coefficients that a search of `nas.studies.coefficients` tried, and those that it selected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY
from results.tables.frame import summary
from search_space.base.atomic_files import replaced
from search_space.base.checks import check_keys
from search_space.base.errors import InputError
from search_space.base.yaml_file import read_yaml
from search_space.network import yaml_text
from search_space.scaling.compound import Coefficients
from search_space.scaling.expected_growth import DIMENSIONS, TOLERANCE, shares_of

SCHEMA = "movinet-nas/coefficients/1"
FOLDER = "coefficients"  # in a run's folder
RECORD = "coefficients.yaml"
TABLE = "coefficients.csv"
_KEYS = ("schema", "chosen", "why", "coefficients", "parents", "times", "draws")


def _accuracies(ledger: Ledger) -> dict[tuple[str, int], float]:
    """Return validation accuracies by (fingerprint, repeat)."""
    trained = ledger.proposals
    return {
        (trained[i].fingerprint, trained[i].repeat): done.metrics[ACCURACY.name] for i, done in ledger.completed.items()
    }


def table(ledger: Ledger) -> pd.DataFrame:
    """Return one row per draw; draw 0 is the incumbent.

    Columns:

    - the coefficients of depth, width, resolution and frames, with the share of each in the growth; the growth;
    - `miss`: the worst error of a step of phi, as a fraction of a doubling;
    - `same_as`: the first draw with the same networks, itself if there is none;
    - `first`: mean accuracy over the parents of the first training, which all draws have;
    - for selected draws, from trainings with new seeds: accuracy; the mean difference from the incumbent of the same
      parent and repeat, their number n, and its 95 % interval low to high, by Student's t.
    """
    found = _accuracies(ledger)
    planned = ledger.header.config
    networks = [draw["fingerprints"] for draw in planned["draws"]]
    incumbent = _re_evaluations(planned["draws"][0], planned["settings"]["seeds"], found)
    rows = []
    for index, draw in enumerate(planned["draws"]):
        coefficients = Coefficients(**draw["coefficients"])
        finals = _re_evaluations(draw, planned["settings"]["seeds"], found)
        first = np.mean([found.get((name, 0), math.nan) for name in draw["fingerprints"]])
        rows.append(
            {
                "draw": index,
                **draw["coefficients"],
                **{f"share.{name}": share for name, share in shares_of(coefficients).items()},
                "growth": coefficients.growth,
                "miss": float(np.abs(np.array(draw["steps"]) / 2 - 1).max()),
                "same_as": networks.index(draw["fingerprints"]),
                "first": float(first),
                ACCURACY.name: float(finals.mean()),
                **_difference(finals - incumbent),
            }
        )
    return pd.DataFrame(rows)


def _re_evaluations(draw: Mapping[str, Any], seeds: int, found: Mapping[tuple[str, int], float]) -> np.ndarray:
    """Return accuracies [parents, seeds] of the re-evaluations of a draw; NaN where there is none."""
    names = draw["fingerprints"]
    return np.array([[found.get((name, repeat), math.nan) for repeat in range(1, seeds + 1)] for name in names])


def _difference(pairs: np.ndarray) -> dict[str, Any]:
    if np.isnan(pairs).any():
        return {"difference": math.nan, "n": 0, "low": math.nan, "high": math.nan}
    told = summary(pairs.ravel(), "difference")
    return {name: told[name] for name in ("difference", "n", "low", "high")}


def decision(ledger: Ledger) -> dict[str, Any]:
    """Return the selected coefficients with the reason, and everything tried, as plain data.

    The best selected draw by its re-evaluations replaces the incumbent if the interval of its difference is above zero.

    Raises:
      InputError: the search is not finished.
    """
    tried, planned = table(ledger), ledger.header.config
    if tried["n"].iloc[0] == 0:
        raise InputError(str(ledger.path), len(ledger.completed), "trainings are done; the search is not finished")
    others = tried[(tried["draw"] > 0) & (tried["n"] > 0) & (tried["same_as"] == tried["draw"])]
    best = others.sort_values(ACCURACY.name).iloc[-1] if len(others) else tried.iloc[0]
    better = bool(best["low"] > 0)
    reach = f"{best['difference']:+.3f} [{best['low']:+.3f}, {best['high']:+.3f}]"
    reason = f"draw {best['draw']:.0f} is the best of {len(others)} re-evaluated; its lead over the incumbent, {reach}"
    chosen = int(best["draw"]) if better else 0
    return {
        "schema": SCHEMA,
        "chosen": chosen,
        "why": f"{reason}, is above zero" if better else f"{reason}, is not enough evidence to replace it",
        "coefficients": planned["draws"][chosen]["coefficients"],
        "parents": planned["parents"],
        "times": planned["times"],
        "draws": [
            {**_plain(row), "steps": _steps(planned, draw)}
            for row, draw in zip(tried.to_dict("records"), planned["draws"], strict=True)
        ],
    }


def _steps(planned: Mapping[str, Any], draw: Mapping[str, Any]) -> dict[str, float]:
    """Return the factor by which the expected cost grows up to each phi from the phi before."""
    return {str(phi): round(step, 4) for phi, step in zip(planned["phis"][1:], draw["steps"], strict=True)}


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def write(ledger: Ledger, folder: Path) -> list[Path]:
    """Write coefficients.csv and coefficients.yaml; return their paths. Raises `InputError` as `decision` does."""
    decided, paths = decision(ledger), [folder / TABLE, folder / RECORD]
    with replaced(paths[0]) as new:
        table(ledger).to_csv(new, index=False)
    with replaced(paths[1]) as new:
        new.write_text(yaml_text(decided), encoding="utf-8")
    return paths


def text(ledger: Ledger) -> str:
    """Return the table and the decision, for the terminal."""
    rows = [("draw", *DIMENSIONS, "growth", "off by", "first", "accuracy", "difference")]
    for row in table(ledger).to_dict("records"):
        retrained = row["n"] > 0
        reach = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" if retrained else "-"
        rows.append((
            str(row["draw"]),
            *(f"{row[name]:.3f} ({row[f'share.{name}']:.2f})" for name in DIMENSIONS),
            f"{row['growth']:.3f}",
            f"{row['miss']:.1%}{'' if row['miss'] <= TOLERANCE else ' !'}",
            f"{row['first']:.3f}",
            f"{row[ACCURACY.name]:.3f}" if retrained else "-",
            ("incumbent" if row["draw"] == 0 else reach) if row["same_as"] == row["draw"] else f"as {row['same_as']}",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", decision(ledger)["why"]])


def chosen(folder: Path) -> tuple[Coefficients, str] | None:
    """Return the coefficients selected by the record in a run's folder, and their source; None without a record.

    Raises:
      InputError: the record cannot be read or has another schema.
    """
    path = folder / FOLDER / RECORD
    if not path.exists():
        return None
    place = str(path)
    data = check_keys(place, read_yaml(path, FOLDER), _KEYS, _KEYS)
    if data["schema"] != SCHEMA:
        raise InputError(f"{place}: schema", data["schema"], f"must be {SCHEMA!r}")
    values = check_keys(f"{place}: coefficients", data["coefficients"], DIMENSIONS, DIMENSIONS)
    return Coefficients(**values), f"{FOLDER}/{RECORD}, draw {data['chosen']}"
