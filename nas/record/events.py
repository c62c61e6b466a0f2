"""Events of a trial as plain data: proposed, measured early, then completed, stopped or failed.

Each state has its type, so a failed trial has no accuracy and an unfinished one cannot be on a front. All are frozen,
validated on creation, and have a JSON form (`to_dict`, `from_dict`).
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields
from typing import Any

from nas.record import correct_clips
from search_space.base.checks import check_integer, check_keys
from search_space.base.errors import InputError
from search_space.space.choices import Genotype

KINDS = ("search", "reference", "finalist")
MAX_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class Proposal:
    """A training to run.

    `index` is unique in a run. `kind`: "search" (asked of the algorithm), "reference" (a published
    network at the proxy's scale) or "finalist" (a re-evaluation of a selected network, number `repeat`). `genotype` is
    None if the architecture is not in the space. `cost` holds exact costs by name, `seed` is the seed of this training.
    """

    index: int
    kind: str
    genotype: Genotype | None
    architecture: Mapping[str, Any]
    fingerprint: str
    repeat: int
    seed: int
    cost: Mapping[str, int]
    label: str = ""

    def __post_init__(self) -> None:
        _check_count("proposal.index", self.index)
        if self.kind not in KINDS:
            raise InputError("proposal.kind", self.kind, f"must be one of {', '.join(KINDS)}")
        _check_genotype(self.genotype, required=self.kind == "search")
        _check_mapping("proposal.architecture", self.architecture)
        _check_text("proposal.fingerprint", self.fingerprint)
        _check_count("proposal.repeat", self.repeat)
        _check_count("proposal.seed", self.seed)
        for name, value in _check_mapping("proposal.cost", self.cost).items():
            if type(value) is not int or value < 0 or value > MAX_INTEGER:  # the field name is built only for an error
                _check_count(f"proposal.cost.{name}", value)
        _check_text("proposal.label", self.label, empty=True)


@dataclass(frozen=True)
class Rung:
    """An early measurement of trial `index` after `steps` training steps; `seconds` is its training time so far."""

    index: int
    steps: int
    metrics: Mapping[str, float]
    seconds: float

    def __post_init__(self) -> None:
        _check_measurement("rung", self)


@dataclass(frozen=True)
class Completed:
    """Trial `index` trained for the full budget. Only these have an objective.

    `correct`: for a re-evaluation, the correctly classified test clips, in the form of `nas.record.correct_clips`.
    """

    index: int
    steps: int
    metrics: Mapping[str, float]
    seconds: float
    correct: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_measurement("completed", self)
        if self.correct is not None:
            correct_clips.check("completed.correct", self.correct)


@dataclass(frozen=True)
class Stopped:
    """Trial `index` was stopped early; its metrics are those of a partial budget."""

    index: int
    steps: int
    metrics: Mapping[str, float]
    seconds: float

    def __post_init__(self) -> None:
        _check_measurement("stopped", self)


@dataclass(frozen=True)
class Failed:
    """Trial `index` has no result after `attempts` attempts; `reason` is one line for the user."""

    index: int
    reason: str
    attempts: int

    def __post_init__(self) -> None:
        _check_count("failed.index", self.index)
        _check_text("failed.reason", self.reason)
        check_integer("failed.attempts", self.attempts, 1, MAX_INTEGER)


@dataclass(frozen=True)
class Resumed:
    """The run was resumed, by software of these versions."""

    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_mapping("resumed.versions", self.versions)


@dataclass(frozen=True)
class Note:
    """One line of information."""

    text: str

    def __post_init__(self) -> None:
        _check_text("note.text", self.text)


Event = Proposal | Rung | Completed | Stopped | Failed
Record = Event | Resumed | Note

RECORDS: Mapping[str, type[Record]] = {
    "proposal": Proposal,
    "rung": Rung,
    "completed": Completed,
    "stopped": Stopped,
    "failed": Failed,
    "resumed": Resumed,
    "note": Note,
}


def to_dict(record: Record) -> dict[str, Any]:
    """Return plain data for JSON, with the record's name under "event"; the inverse of `from_dict`."""
    data = {"event": type(record).__name__.lower(), **vars(record)}
    if isinstance(record, Completed) and record.correct is None:
        del data["correct"]
    return data


def from_dict(data: object, place: str = "event") -> Record:
    """Return the record from plain data.

    Raises:
      InputError: an unknown event, an unknown or missing key, or a value out of its range.
    """
    name = data.get("event") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(name, str) or name not in RECORDS:
        raise InputError(place, data, f"must be a mapping whose 'event' is one of {', '.join(RECORDS)}")
    values = dict(data)
    del values["event"]
    allowed, required = _keys(name)
    if not required <= values.keys() <= allowed:
        check_keys(place, data, ("event", *allowed), tuple(required))
    if isinstance(values.get("genotype"), list):
        values["genotype"] = tuple(values["genotype"])
    try:
        return RECORDS[name](**values)
    except InputError as error:
        raise InputError(f"{place}: {error.place}", error.value, error.rule) from None


@functools.cache
def _keys(name: str) -> tuple[Set[str], Set[str]]:
    """Return the allowed and the required keys of a record, both in order."""
    names = dict.fromkeys(field.name for field in fields(RECORDS[name]))
    return names.keys(), dict.fromkeys(name for name in names if name not in {"label", "versions", "correct"}).keys()


def _check_count(place: str, value: object) -> None:
    check_integer(place, value, 0, MAX_INTEGER)


def _check_text(place: str, value: object, empty: bool = False) -> None:
    if not isinstance(value, str) or not (value or empty):
        raise InputError(place, value, "must be a text" if empty else "must be a text that is not empty")
    if not value.isascii() and any(unicodedata.category(each) == "Cs" for each in value):
        raise InputError(place, value, "must be valid Unicode text")  # surrogates cannot be written to a file


def _check_mapping(place: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(place, value, "must be a mapping with names as keys")
    return value


def _check_genotype(genotype: object, required: bool) -> None:
    if genotype is None and not required:
        return
    if not isinstance(genotype, tuple) or {*map(type, genotype)} - {int} or min(genotype, default=0) < 0:
        raise InputError("proposal.genotype", genotype, "must be a list of option indices")


def _check_measurement(place: str, event: Rung | Completed | Stopped) -> None:
    _check_count(f"{place}.index", event.index)
    _check_count(f"{place}.steps", event.steps)
    for name, value in _check_mapping(f"{place}.metrics", event.metrics).items():
        _check_number(f"{place}.metrics.{name}", value)
    _check_number(f"{place}.seconds", event.seconds)


def _check_number(place: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise InputError(place, value, "must be a finite number; a diverged trial is a failed one")
