"""Data of a run for the script of a report, in columns: ten thousand trials are a few megabytes of JSON.

A network is described once for all its trainings; a trial has its index in the list of networks. Control characters
are removed from text. Accuracies are fractions, costs those of `search_space.cost.counting`, times minutes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY
from results.analysis.importance import Importance
from results.family.growth import Family
from results.tables import frame, hypervolume_over_time
from results.tables.measures import Chosen, Measure
from results.tables.ranking_support import ranking
from search_space import architecture
from search_space.architecture import Architecture
from search_space.base.errors import InputError, printable
from search_space.cost.labels import label_of

DIGITS = 5
STEPS = 1000  # number of drawn steps of the hypervolume
MOST = 12_000  # search trials that are drawn: with more, a page opens slowly without showing more


def data(
    ledger: Ledger,
    trials: pd.DataFrame,
    front: pd.DataFrame,
    family: Family | None,
    found: Mapping[str, Architecture | Chosen],
    measured: Mapping[str, Mapping[Measure, float]],
    importance: Importance,
) -> dict[str, Any]:
    """Return everything that is drawn.

    `front` is that of `results.tables.frame`, `trials` are the `drawn` ones, `found` has their networks, `measured`
    their choices.
    """
    place = {fingerprint: position for position, fingerprint in enumerate(found)}
    references = frame.networks(ledger, ("reference",))
    return {
        "cost": ledger.costs[0],
        "size": label_of(ledger.costs[0]).size,
        "movinets": not ledger.own_task,
        "costs": {name: label_of(name).words for name in ledger.cost_names},
        "trials": _trials(trials, place),
        "networks": _networks(ledger, found),
        "measures": _measures([measured[fingerprint] for fingerprint in found]),
        "front": _points(front, place),
        "references": _points(references.sort_values(ledger.costs[0]), place),
        "parents": _points(_parents(family), place),
        "members": _members(family),
        "volume": _volume(ledger),
        "importance": {
            "statistic": importance.statistic,
            "shares": [[each.dimension, *_numbers([each.value, each.low, each.high])] for each in importance.shares],
        },
        "ranking": {name: _plain(value) for name, value in asdict(ranking(ledger)).items()},
    }


def drawn(trials: pd.DataFrame, kept: Collection[str]) -> pd.DataFrame:
    """Return the drawn rows of `results.tables.frame.trials`: all, or `MOST` evenly spaced ones and the necessary.

    Necessary are trainings outside of the search, and those of the networks `kept`, given by fingerprint.
    """
    if len(trials) <= MOST:
        return trials
    shown = (trials["kind"] != "search") | trials["fingerprint"].isin(kept)
    shown.iloc[np.linspace(0, len(trials) - 1, MOST).round().astype(int)] = True
    return trials[shown]


def networks(ledger: Ledger, wanted: Set[str]) -> dict[str, Architecture | Chosen]:
    """Return the wanted networks of a run by their fingerprints, in the order proposed; of another family plain data.

    Raises:
      InputError: a proposal has an invalid architecture.
    """
    found: dict[str, Architecture | Chosen] = {}
    for index, proposal in ledger.proposals.items():
        if proposal.fingerprint in wanted and proposal.fingerprint not in found:
            place = f"{ledger.path}: trial {index}: architecture"
            plain = proposal.architecture
            found[proposal.fingerprint] = plain if ledger.own_task else architecture.from_dict(plain, place)
    return found


def _trials(trials: pd.DataFrame, place: Mapping[str, int]) -> dict[str, Any]:
    numbers = {name: _numbers(trials.get(name, [])) for name in (ACCURACY.name, "steps", "seconds")}
    return {
        **{name: trials[name].tolist() for name in ("index", "repeat")},
        **{name: _coded(trials[name]) for name in ("kind", "state")},
        **numbers,
        "network": [place[fingerprint] for fingerprint in trials["fingerprint"]],
        "label": _sparse(trials["label"]),
        "reason": _sparse(trials["reason"]),
    }


def _sparse(texts: Iterable[str]) -> dict[int, str]:
    """Return the non-empty texts, by position."""
    return {position: printable(text) for position, text in enumerate(texts) if text}


def _coded(values: Iterable[Any]) -> dict[str, list[Any]]:
    """Return repeated values as positions in the list of distinct ones, which keeps their order."""
    values = list(values)
    levels = sorted({value for value in values if value is not None})
    codes = {value: code for code, value in enumerate(levels)}
    return {"levels": levels, "codes": [codes.get(value, -1) for value in values]}


def _numbers(values: Iterable[Any]) -> list[float | int | None]:
    """Return numbers for JSON, which has no NaN."""
    return [_number(value) for value in values]


def _plain(value: Any) -> Any:
    return _number(value) if isinstance(value, float) else value


def _number(value: Any) -> float | int | None:
    if value is None or value is pd.NA or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.{DIGITS}g}")


def _networks(ledger: Ledger, found: Mapping[str, Architecture | Chosen]) -> dict[str, Any]:
    first = {proposal.fingerprint: proposal for proposal in reversed(ledger.proposals.values())}
    costs = [first[fingerprint].cost for fingerprint in found]
    return {
        "fingerprint": [printable(fingerprint) for fingerprint in found],
        "architecture": [compact(each) for each in found.values()],
        "costs": {name: [cost.get(name) for cost in costs] for name in ledger.cost_names},
    }


def compact(network: Architecture | Chosen) -> str:
    """Return clip, stem, blocks and head as a line: `8.16.2|8|8.2 16.1.5.1 24.3.3.0|...|96.512`.

    A layer is written as its inner channels, its kernel size in time and in space, and its squeeze-excite as 0 or 1. A
    network of another family is written as its choices, in words.
    """
    if not isinstance(network, Architecture):
        return printable(", ".join(f"{name} {option}" for name, option in network.items()))
    clip = f"{network.clip.frames}.{network.clip.resolution}.{network.clip.frame_stride}"
    blocks = [
        " ".join(
            [f"{block.width}.{block.stride}"]
            + [f"{one.expand}.{one.kernel[0]}.{one.kernel[1]}.{one.squeeze_excite:d}" for one in block.layers]
        )
        for block in network.blocks
    ]
    return "|".join([clip, str(network.stem.width), *blocks, f"{network.head.project}.{network.head.dense}"])


def _measures(measured: Sequence[Mapping[tuple[str, str], float]]) -> list[dict[str, Any]]:
    names = dict.fromkeys(name for each in measured for name in each)
    columns = {name: [_number(each.get(name)) for each in measured] for name in names}
    return [{"part": part, "name": name, **_coded(column)} for (part, name), column in columns.items()]


def _points(table: pd.DataFrame, place: Mapping[str, int]) -> dict[str, Any]:
    """Return networks with the mean of their trainings and its interval, cheapest first."""
    return {
        "network": [place[fingerprint] for fingerprint in table["fingerprint"]],
        "label": [printable(label) for label in table["label"]],
        **{name: _numbers(table[name]) for name in (ACCURACY.name, "low", "high", "n")},
    }


def _parents(family: Family | None) -> pd.DataFrame:
    """Return the parents of a family, labelled with the names of their models."""
    if family is None:
        return pd.DataFrame(columns=["fingerprint", "label", ACCURACY.name, "low", "high", "n"])
    table = family.parents()
    return table.assign(label=table["models"].str.join(", ").str.upper())


def _members(family: Family | None) -> list[dict[str, Any]]:
    return [
        {
            "name": member.name,
            "costs": dict(member.network.cost),
            "architectures": [compact(each) for each in member.network.members],
        }
        for member in (family.models if family else ())
    ]


def _volume(ledger: Ledger) -> dict[str, Any]:
    """Return hypervolume over minutes where it changes, and at its end."""
    table = hypervolume_over_time.hypervolume_over_time(ledger)
    value = table["hypervolume"].to_numpy(float)
    steps = np.flatnonzero(np.diff(value, prepend=-1.0, append=-1.0)[:-1])
    if len(steps) > STEPS:
        steps = steps[np.linspace(0, len(steps) - 1, STEPS).round().astype(int)]
    steps = np.unique([*steps, len(value) - 1]) if len(value) else steps
    return {
        "minutes": _numbers(table["seconds"].to_numpy(float)[steps] / 60),
        "finished": table["finished"].to_numpy()[steps].tolist(),
        "value": _numbers(value[steps]),
    }


def check(ledger: Ledger) -> None:
    """Raise `InputError` if no trial has finished, or a trial lacks the drawn costs."""
    if not (ledger.completed or ledger.stopped):
        raise InputError(str(ledger.path), 0, "trials have finished; there is nothing to show yet")
    _ = ledger.costs
