"""Cells of a benchmark table's CSV file, read and checked column by column (docs/reference/benchmark_tables.md).

Every error names the file, the line (the header is line 1), the column, the value and the constraint.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search_space.base import untrusted_files
from search_space.base.atomic_files import replaced
from search_space.base.errors import InputError
from search_space.cost.counting import COST_NAMES

Option = int | float | str | None  # None: the choice is absent
MACS = "macs"
MAX_BYTES = 2**29  # NAS-Bench-101 with its 423 624 networks would take 2e8
CHOICE, SCORE = "choice.", "score."
LONG = "long_accuracy"
SECONDS = "seconds"
_PER_SEED = re.compile(r"([a-z][a-z0-9_ ]{0,60})\.(0|[1-9]\d{0,3})(?:@([1-9]\d{0,14}))?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?")

Columns = dict[str, Sequence[str]]


def line(row: int) -> str:
    """Return the line of row `row` in a file."""
    return f"line {row + 2}"


def read(path: Path) -> Columns:
    """Return the columns of a file by name, each with a text for every row.

    Raises:
      InputError: unreadable, not CSV, no rows, rows of unequal length, or unknown, duplicate or missing columns.
    """
    check_ending(path)
    try:
        text = _content(path).decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except OSError as error:  # also raised by a broken gzip file
        raise InputError(str(path), error.strerror or str(error), "prevented reading the table") from None
    except (EOFError, zlib.error, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InputError(str(path), str(error), "prevented parsing the table; expected CSV with a header") from None
    _check_header(path, header)
    for row, cells in enumerate(rows):
        if len(cells) != len(header):
            raise InputError(
                f"{path}: {line(row)}", len(cells), f"is the number of cells; the header has {len(header)}"
            )
    if not rows:
        raise InputError(str(path), 0, "is the number of rows; a table needs at least one")
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _content(path: Path) -> bytes:
    data = untrusted_files.content(path, MAX_BYTES)
    if path.suffix != ".gz":
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        unpacked = file.read(MAX_BYTES + 1)
    if len(unpacked) > MAX_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_BYTES} bytes")
    return unpacked


def check_ending(path: Path) -> None:
    """Check that a path has the suffix of a CSV file, plain or compressed.

    Raises:
      InputError: it has not.
    """
    if not path.name.endswith((".csv", ".csv.gz")):
        raise InputError(str(path), path.suffix, "is not a valid suffix of a benchmark table; expected .csv or .csv.gz")


def _check_header(path: Path, header: Sequence[str]) -> None:
    for i, name in enumerate(header):
        if name in header[:i]:
            raise InputError(f"{path}: line 1", name, "is a duplicate column")
        if not _known(name):
            rule = "is not a column of a benchmark table; see docs/reference/benchmark_tables.md"
            raise InputError(f"{path}: line 1", name, rule)
    for name in (MACS, *(f"accuracy.{seed}" for seed in range(max(seeds_of(header), 1)))):
        if name not in header:
            raise InputError(f"{path}: line 1", ",".join(header), f"lacks the column {name}")
    if not any(name.startswith(CHOICE) for name in header):
        raise InputError(f"{path}: line 1", ",".join(header), "lacks a column choice.NAME")


def _known(name: str) -> bool:
    plain = name in (*COST_NAMES, "steps", "long_steps", "architecture", "fingerprint")
    named = name.startswith((CHOICE, SCORE)) and not name.endswith(".")
    once = bool(re.fullmatch(rf"({SECONDS}|{LONG})\.(0|[1-9]\d{{0,3}})", name))
    return plain or named or once or statistic(name) is not None


def statistic(column: str) -> tuple[str, int, int] | None:
    """Return name, seed and steps (0: full budget) of a column of a statistic, `loss.1@64`; None for other columns."""
    match = _PER_SEED.fullmatch(column)
    if match is None or match[1] in ("choice", "score", SECONDS, LONG):
        return None
    return match[1], int(match[2]), int(match[3] or 0)


def seeds_of(header: Sequence[str]) -> int:
    """Return the number of seeds of the statistics: one more than the highest."""
    return max((found[1] + 1 for found in map(statistic, header) if found), default=0)


def statistics(path: Path, columns: Columns) -> dict[str, np.ndarray]:
    """Return all statistics of a table: float [R, S] by name, `loss` and `loss@64`; NaN where not measured."""
    names = dict.fromkeys(found[::2] for found in map(statistic, columns) if found)
    seeds = range(seeds_of([*columns]))
    return {
        f"{name}@{steps}" if steps else name: per_seed(path, name, seeds, columns, f"@{steps}" if steps else "")
        for name, steps in names
    }


def per_seed(path: Path, name: str, seeds: range, columns: Columns, end: str = "") -> np.ndarray:
    """Return columns `name`.0, `name`.1 and so on side by side: float [R, S]; NaN if empty or missing."""
    empty = np.empty((len(columns[MACS]), 0))
    return np.column_stack([empty, *(numbers(path, f"{name}.{seed}{end}", columns) for seed in seeds)])


def long_accuracy(path: Path, columns: Columns) -> np.ndarray:
    """Return accuracies of long trainings: float [R, L]."""
    seeds = [int(name.rpartition(".")[2]) for name in columns if name.startswith(f"{LONG}.")]
    return per_seed(path, LONG, range(max(seeds, default=-1) + 1), columns)


def option(text: str) -> Option:
    """Return the value of a choice: numbers as numbers, so that they are ordered; empty as absence."""
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _REAL.fullmatch(text) else text or None


def integers(path: Path, name: str, column: Sequence[str]) -> np.ndarray:
    """Return a column of integers of at least 1: int64 `[R]`.

    Raises:
      InputError: a cell is something else.
    """
    for row, text in enumerate(column):
        if not re.fullmatch(r"\d{1,18}", text) or int(text) < 1:
            raise InputError(f"{path}: {line(row)}: {name}", text, "must be an integer of at least 1")
    return np.array([*map(int, column)], dtype=np.int64)


def numbers(path: Path, name: str, columns: Columns) -> np.ndarray:
    """Return float [R]; NaN for empty cells and for a missing column."""
    column = columns.get(name, [""] * len(columns[MACS]))
    return np.array([_number(f"{path}: {line(row)}: {name}", text) for row, text in enumerate(column)])


def _number(place: str, text: str) -> float:
    if not text:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(place, text, "must be a finite number, or empty")
    return number


def constant(path: Path, name: str, columns: Columns) -> int:
    """Return the common value of a column, 0 if it is missing.

    Raises:
      InputError: its cells differ, or are not integers.
    """
    if name not in columns:
        return 0
    values = integers(path, name, columns[name])
    for row in np.flatnonzero(values != values[0])[:1]:
        rule = f"must be the same in all rows: {values[0]}"
        raise InputError(f"{path}: {line(row)}: {name}", int(values[row]), rule)
    return int(values[0])


def objects(path: Path, name: str, columns: Columns) -> list[Mapping[str, Any]]:
    """Return a JSON object per row; empty if the column is missing."""
    return [_object(f"{path}: {line(row)}: {name}", text) for row, text in enumerate(columns.get(name, ()))]


def _object(place: str, text: str) -> Mapping[str, Any]:
    try:
        data = untrusted_files.parsed_json(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise InputError(place, text, "must be a JSON object")
    return data


def text(value: Option) -> str:
    """Return the text of a cell; empty for absent or unmeasured values."""
    return "" if value is None or value != value else str(value)


def write(path: Path, columns: Columns) -> None:
    """Write a file of these columns, completely or not at all.

    Raises:
      InputError: a suffix that `read` does not accept, or the file cannot be written.
    """
    check_ending(path)
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    data = lines.getvalue().encode()
    with replaced(path) as new:
        new.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
