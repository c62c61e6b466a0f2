"""Results of commands as JSON objects, for programs; docs/reference/json_output.md has their structure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.record.events import Proposal
from nas.record.ledger import Ledger
from results.analysis import coefficients, reproduction
from results.analysis.reproduction import Reproduction
from results.family.emit import RECORD
from results.family.growth import Family
from results.outcome import comparison
from results.tables import frame
from results.tables.ranking_support import ranking
from search_space.network import Network, load


def text(value: object) -> str:
    """Return one line of JSON; numbers that are not finite become null, a path its text."""
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Return a value that JSON can represent: None for numbers that are not finite, lists for arrays and tuples."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def rows(table: pd.DataFrame, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return an object for each row, with all columns or the named ones."""
    chosen = table if names is None else table[list(names)]
    return [plain(row) for row in chosen.to_dict("records")]


def outcome(ledger: Ledger, folder: Path) -> dict[str, Any]:
    """Return the result of a search with its files: counts of trials, front, family, and comparison if any."""
    kinds = [ledger.proposals[index].kind for index in ledger.completed]
    counts = {
        "completed": kinds.count("search"),
        "stopped": len(ledger.stopped),
        "failed": len(ledger.failed),
        "retrained": len(kinds) - kinds.count("search"),
    }
    compared = comparison(ledger)
    front = frame.selected_front(ledger)
    return {
        "run": folder,
        "counts": counts,
        "front": rows(front, [name for name in front.columns if name != "architecture"]),
        "family": [] if ledger.own_task else _written_models(folder / "configs"),
        "comparison": None if compared is None else plain(asdict(compared)),
        "ranking": plain(asdict(ranking(ledger))),
    }


def models(family: Family) -> list[dict[str, Any]]:
    """Return an object per model: name, target, exact costs, clips, layers, and its trial or ensemble members."""
    return [_model(member.network, member.decision) for member in family.models]


def _written_models(folder: Path) -> list[dict[str, Any]]:
    """Return the same for a family in files, because scaling one takes seconds."""
    decisions = json.loads((folder / RECORD).read_text(encoding="utf-8"))["models"]
    return [_model(load(folder / f"movinet_{each['model']}.yaml"), each) for each in decisions]


def _model(network: Network, decision: Mapping[str, Any]) -> dict[str, Any]:
    parent = decision.get("parent")
    return {
        "model": decision["model"],
        "target_macs": network.target_macs,
        "cost": dict(network.cost),
        "clips": [asdict(each.clip) for each in network.members],
        "layers": [each.depth for each in network.members],
        "from": list(decision["members"]) if parent is None else parent["index"],
    }


def tried_coefficients(ledger: Ledger, files: Iterable[Path]) -> dict[str, Any]:
    """Return the draws, the decision, and the written files."""
    return {"draws": rows(coefficients.table(ledger)), **coefficients.decision(ledger), "files": list(files)}


def reproduced(found: Reproduction, point: Proposal) -> dict[str, Any]:
    """Return the network, the fields of `Reproduction` and derived values."""
    return {
        "point": point.label or f"trial {point.index}",
        "macs": point.cost.get("macs"),
        **asdict(found),
        "difference": found.difference,
        "by_chance": found.by_chance,
        "verdict": reproduction.verdict(found),
    }


def tables(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return the rows of each table NAME.csv that a comparison wrote into its folder."""
    return {name: rows(pd.read_csv(folder / f"{name}.csv")) for name in names}
