"""The event log of a run (ledger.jsonl): append-only JSON lines, from which figures, reports and resume are derived.

The first line is a header with the schema, the whole configuration, versions, seed and data hash; then
follows one line per record of `nas.record.events`, with its "time" in seconds since 1970. See `ledger_writer`.
"""

from __future__ import annotations

import functools
import gc
import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from nas.record.events import (
    Completed,
    Event,
    Failed,
    Note,
    Proposal,
    Record,
    Resumed,
    Rung,
    Stopped,
    from_dict,
)
from nas.record.objective import MACS
from nas.tasks.registry import MOVINET
from search_space.base import untrusted_files
from search_space.base.checks import check_integer, check_keys, check_number
from search_space.base.errors import InputError

SCHEMA = "movinet-nas/ledger/1"
MAX_BYTES = 2**32  # a trial of the default search takes 2e3


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Header:
    """Header of an event log: everything that the run depends on.

    `created` is an ISO time, `chance` the frequency of the most frequent class among the validation clips (0: unknown).
    """

    config: Mapping[str, Any]
    versions: Mapping[str, str]
    seed: int
    data_hash: str
    created: str = field(default_factory=_now)
    chance: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("config", self.config), ("versions", self.versions)):
            if not isinstance(value, Mapping):
                raise InputError(f"header.{name}", value, "must be a mapping")
        check_integer("header.seed", self.seed, 0, 2**63 - 1)
        check_number("header.chance", self.chance, 0, 1)
        for name, text in (("data_hash", self.data_hash), ("created", self.created)):
            if not isinstance(text, str):
                raise InputError(f"header.{name}", text, "must be a text")


@dataclass(frozen=True)
class Entry:
    """One line of an event log: its number from 1, its time in seconds since 1970, and its record."""

    line: int
    time: float
    record: Record


@dataclass(frozen=True)
class Ledger:
    """Content of an event log.

    `torn`: the last line is incomplete after a crash and left out; `size`: bytes without it.
    """

    path: Path
    header: Header
    entries: tuple[Entry, ...]
    torn: bool
    size: int

    @functools.cached_property
    def events(self) -> list[Event]:
        """Events for an algorithm on resume, in order; rungs repeated by a resumed trial are left out."""
        seen: set[tuple[int, int]] = set()
        events: list[Event] = []
        for entry in self.entries:
            record = entry.record
            if isinstance(record, Resumed | Note):
                continue
            if isinstance(record, Rung):
                if (record.index, record.steps) in seen:
                    continue
                seen.add((record.index, record.steps))
            events.append(record)
        return events

    @functools.cached_property
    def proposals(self) -> dict[int, Proposal]:
        """Proposals by trial index, in the order proposed."""
        return {event.index: event for event in self.events if isinstance(event, Proposal)}

    @functools.cached_property
    def rungs(self) -> list[Rung]:
        """Rungs in the order measured; the first of each trial and number of steps."""
        return [event for event in self.events if isinstance(event, Rung)]

    @functools.cached_property
    def completed(self) -> dict[int, Completed]:
        """Completed trials by index, in the order completed."""
        return {event.index: event for event in self.events if isinstance(event, Completed)}

    @functools.cached_property
    def stopped(self) -> dict[int, Stopped]:
        """Stopped trials by index, in the order stopped."""
        return {event.index: event for event in self.events if isinstance(event, Stopped)}

    @functools.cached_property
    def failed(self) -> dict[int, Failed]:
        """Failed trials by index, without those that were retried."""
        failed: dict[int, Failed] = {}
        for event in self.events:
            if isinstance(event, Failed):
                failed[event.index] = event
            else:
                failed.pop(event.index, None)
        return failed

    @functools.cached_property
    def times(self) -> tuple[dict[int, float], dict[int, float]]:
        """Times by trial index of its proposal and of its end, in seconds since 1970."""
        started, finished = {}, {}
        for entry in self.entries:
            if isinstance(entry.record, Proposal):
                started[entry.record.index] = entry.time
            elif isinstance(entry.record, Completed | Stopped | Failed):
                finished[entry.record.index] = entry.time
        return started, finished

    @functools.cached_property
    def costs(self) -> tuple[str, ...]:
        """Names of the cost objectives; tables and figures order networks by the first. Every proposal has them.

        Raises:
          InputError: the header's costs are not a list of names, or a trial has no positive value of one of them.
        """
        names = self.header.config.get("costs", [MACS.name])
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"{self.path}:1: config.costs", names, "must be a list of at least one cost")
        for index, proposal in self.proposals.items():
            for name in names:
                value = proposal.cost.get(name)
                if value is None or not 0 < value < math.inf:
                    raise InputError(f"{self.path}: trial {index}: cost.{name}", value, "must be a number above 0")
        return tuple(names)

    @property
    def own_task(self) -> str:
        """Name of the network family that a user brought; '' for MoViNets."""
        task = self.header.config.get("task")
        name = task.get("name", MOVINET) if isinstance(task, Mapping) else MOVINET
        return "" if name == MOVINET else str(name)

    @functools.cached_property
    def cost_names(self) -> list[str]:
        """Names of the costs of all proposals, in order of appearance."""
        return _names(proposal.cost for proposal in self.proposals.values())

    @functools.cached_property
    def metric_names(self) -> list[str]:
        """Names of the metrics of all results, those of completed trials before those of stopped ones."""
        return _names(event.metrics for events in (self.completed, self.stopped) for event in events.values())

    @functools.cached_property
    def pending(self) -> list[Proposal]:
        """Trials that are proposed, but neither completed, stopped nor failed; a retried trial is pending."""
        finished = self.completed.keys() | self.stopped.keys() | self.failed.keys()
        return [proposal for index, proposal in self.proposals.items() if index not in finished]


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    names: dict[str, None] = {}
    for mapping in mappings:
        if not names.keys() >= mapping.keys():  # nearly all records of a run have the same names
            names.update(dict.fromkeys(mapping))
    return [*names]


def read(path: str | Path) -> Ledger:
    """Read the event log in the file `path`. An incomplete last line is tolerated and reported.

    Raises:
      InputError: no such file, not an event log, another version, a damaged line before the last, or inconsistent
        events: a trial that was never proposed, or proposed or finished twice.
    """
    path = Path(path)
    try:
        data = untrusted_files.content(path, MAX_BYTES)
    except OSError as error:
        raise InputError(str(path), error.strerror, "prevented reading this event log") from None
    lines, torn = _lines(path, data)
    header = _header(f"{path}:1", lines[0])
    with _collector_paused():
        entries = tuple(_entry(path, number, line) for number, line in enumerate(lines[1:], start=2))
    _check_story(path, entries)
    return Ledger(path, header, entries, torn, size=sum(map(len, lines)) + len(lines))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Disable garbage collection, which would take two thirds of the time of a long event log and find nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _lines(path: Path, data: bytes) -> tuple[list[bytes], bool]:
    """Return complete lines, and whether an incomplete one followed: without its end, or no JSON."""
    *lines, rest = data.split(b"\n")
    torn = bool(rest)
    if not torn and len(lines) > 1 and not _is_json(lines[-1]):
        lines.pop()
        torn = True
    if not lines:
        raise InputError(
            str(path), data[:40].decode(errors="replace"), "is not an event log: it lacks a complete first line"
        )
    return lines, torn


def _is_json(line: bytes) -> bool:
    try:
        _parsed(line)
    except ValueError:
        return False
    return True


def _parsed(line: bytes) -> Any:
    """Return the data in a line. Numbers such as NaN, which are no JSON, pass here; the records check them."""
    try:
        return orjson.loads(line)
    except ValueError:
        return untrusted_files.parsed_json(line.decode())


def _start(line: bytes) -> str:
    return line[:60].decode(errors="replace")


def _header(place: str, line: bytes) -> Header:
    rule = f"is not the header of an event log; its schema must be {SCHEMA!r}"
    try:
        data = _parsed(line)
    except ValueError:
        raise InputError(place, _start(line), rule) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        newer = isinstance(schema, str) and re.fullmatch(r"movinet-nas/ledger/\d+", schema)
        raise InputError(place, schema, f"is of another version; this one reads {SCHEMA!r}" if newer else rule)
    names = tuple(field.name for field in fields(Header))
    values = dict(check_keys(place, data, ("schema", *names), [name for name in names if name != "chance"]))
    del values["schema"]
    try:
        return Header(**values)
    except InputError as error:
        raise InputError(f"{place}: {error.place}", error.value, error.rule) from None


def _entry(path: Path, number: int, line: bytes) -> Entry:
    place = f"{path}:{number}"
    try:
        data = _parsed(line)
    except ValueError:
        rule = "is not JSON: the event log is damaged; to resume the search without this line, run: "
        raise InputError(place, _start(line), rule + _repair_command(path, f"{number}d")) from None
    moment = data.pop("time", None) if isinstance(data, dict) else None
    record = from_dict(data, place)
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not abs(moment) < 1e15:
        raise InputError(f"{place}: time", moment, "must be a number of seconds")
    return Entry(number, moment, record)


def _check_story(path: Path, entries: tuple[Entry, ...]) -> None:
    proposed: dict[int, int] = {}
    finished: dict[int, int] = {}
    for entry in entries:
        record = entry.record
        if isinstance(record, Resumed | Note):
            continue
        if isinstance(record, Proposal):
            _check_once(path, "was proposed", proposed, record.index, entry.line)
        elif record.index not in proposed:
            raise InputError(
                f"{path}:{entry.line}", f"trial {record.index}", f"was never proposed; {_cut(path, entry)}"
            )
        elif isinstance(record, Completed | Stopped):
            _check_once(path, "finished", finished, record.index, entry.line)


def _cut(path: Path, entry: Entry) -> str:
    return f"to resume the search from the lines before it, run: {_repair_command(path, f'{entry.line},$d')}"


def _repair_command(path: Path, edit: str) -> str:
    """Return a command that removes lines, and keeps a copy of the original event log."""
    file, copy = shlex.quote(str(path)), shlex.quote(f"{path}.damaged")
    return f"cp -n {file} {copy}; sed -i '{edit}' {file}"


def _check_once(path: Path, what: str, lines: dict[int, int], index: int, line: int) -> None:
    if index in lines:
        raise InputError(f"{path}:{line}", f"trial {index}", f"{what} twice, lines {lines[index]} and {line}")
    lines[index] = line
