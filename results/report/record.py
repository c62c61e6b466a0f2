"""Record of a run, and how to reproduce it: the last sections of a report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from nas.record.events import Failed, Note, Resumed
from nas.record.ledger import Ledger
from results.report.markup import Html, definitions, details, element, join, table
from search_space.network import yaml_text

MOST_ROWS = 200  # per table


def failures(ledger: Ledger) -> Html:
    """Return failed trials and events of the run: retried attempts, pauses."""
    failed = [(f"trial {each.index}", each.attempts, each.reason) for each in ledger.failed.values()]
    told = [(_after(ledger, entry.time), _event(entry.record)) for entry in ledger.entries if _is_logged(entry.record)]
    parts: list[Html] = []
    for caption, head, rows in (
        ("Trials without a result", ["trial", "attempts", "why"], failed),
        ("Events: retried attempts, pauses, notes", ["after", "what"], told),
    ):
        if rows:
            more = f", the first {MOST_ROWS} of {len(rows)}" if len(rows) > MOST_ROWS else ""
            parts.append(table(caption + more, head, rows[:MOST_ROWS], texts=(0, len(head) - 1)))
    nothing = element("p", "No failures, no retries, no interruptions.")
    return join(parts or [nothing])


def _is_logged(record: object) -> bool:
    return isinstance(record, Note | Resumed | Failed)


def _event(record: object) -> str:
    if isinstance(record, Note):
        return record.text
    if isinstance(record, Failed):
        return f"trial {record.index} failed after {record.attempts} attempts: {record.reason}"
    return "the run was resumed"


def _after(ledger: Ledger, moment: float) -> str:
    return f"{(moment - ledger.entries[0].time) / 60:.1f} min"


def reproduce(ledger: Ledger) -> Html:
    """Return commands, seed, data, versions and configuration."""
    folder = shlex.quote(str(ledger.path.parent))
    commands = [
        (
            f"python run_search.py search {folder}/config.yaml --seed {ledger.header.seed} --out NEW",
            "repeat the search",
        ),
        (f"python run_search.py search --resume {folder}", "resume it, if it is not finished"),
        (f"python run_search.py reproduce {folder} TRIAL", "repeat one training and compare it with its record"),
        (f"python run_search.py report {folder}", "create this page again"),
    ]
    facts = [("seed", ledger.header.seed), ("data hash", ledger.header.data_hash), ("begun", ledger.header.created)]
    listed = [
        element("div", element("dt", meaning), element("dd", element("code", line))) for line, meaning in commands
    ]
    return join(
        [
            element("dl", *listed, class_="commands"),
            definitions(facts, class_="record"),
            _versions(ledger),
            details("Configuration", element("pre", yaml_text(ledger.header.config), tabindex=0)),
        ]
    )


def _versions(ledger: Ledger) -> Html:
    """Return the versions at the start, and at each resume."""
    resumed = [entry.record.versions for entry in ledger.entries if isinstance(entry.record, Resumed)]
    columns: Sequence[Mapping[str, str]] = [ledger.header.versions, *resumed]
    distinct = [each for position, each in enumerate(columns) if each and each not in columns[:position]]
    names = dict.fromkeys(name for each in distinct for name in each)
    rows = [[name, *(each.get(name, "–") for each in distinct)] for name in names]
    head = ["", "at the start", *(f"resumed, {number}" for number in range(1, len(distinct)))]
    return table("Versions", head, rows, texts=range(len(head))) if rows else Html("")
