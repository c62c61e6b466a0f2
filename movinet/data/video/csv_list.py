"""Lists of videos with labels.

- Kinetics: `label,youtube_id,time_start,time_end[,split][,group]`; the file is `<id>_<start:06d>_<end:06d>.mp4`, in
  the root or in its sub-folder with the name of the class or the split.
- General: `label,file[,start,end][,split][,group]`, start and end in seconds from the first frame.
- Lines of `path label`, without a header.

Labels are names, numbered in sorted order over the whole list, or whole numbers from 0, which are kept. 3.0 is read as
3, because pandas writes integers so in a column with gaps. A `classes.txt` beside the list, one name per line, sets the
order. Numbers among names, and numbers that are no class (-1, 1.5, nan), are errors unless `classes.txt` has them as
names. Other columns are ignored.

A `SplitRule` divides a list without splits. Lines of a group, of a Kinetics video or of a file are then in one split.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from movinet.data.store import SPLITS, Skipped, split_called
from movinet.data.video.folder import VideoFile
from movinet.data.video.splits import SplitRule, divide
from search_space.base.errors import InputError, why
from search_space.base.untrusted_files import content

MAX_LIST = 1 << 28  # bytes; Kinetics-700 has 3e7
MAX_CLASSES = 1 << 17
MAX_SECONDS = 10**6  # Kinetics writes six digits
WHOLE_NUMBER = re.compile(r"\d{1,18}(\.0*)?", re.ASCII)


@dataclass(frozen=True)
class Row:
    """Line of a list, with the paths relative to the root where its file may be, in order of preference."""

    line: int
    label: str
    places: tuple[str, ...]
    segment: tuple[float, float] | None
    split: str
    group: str = ""


def read_csv(
    list_file: Path, split: str = "all", root: Path | None = None, rule: SplitRule | None = None
) -> tuple[tuple[str, ...], list[VideoFile], list[Skipped]]:
    """Return the classes of the whole list, and the files of `split` below `root` (by default the list's folder).

    A list without splits is divided by `rule`; without a rule it counts as the requested split. Missing files and files
    outside the root are skipped.

    Raises:
      InputError: the list is unreadable, a line is invalid, or no file exists.
    """
    rows = list(_rows(list_file))
    if not rows:
        raise InputError(str(list_file), "no lines", "must list videos with their labels")
    classes, numbers = _classes(list_file, rows)
    if rule and not any(row.split for row in rows):
        rows = _divided(rows, rule)
    if named := sorted({row.split for row in rows} - {""}):
        if unnamed := [row for row in rows if not row.split]:
            why = "is the split of this line; a list must name the split of all lines or of none"
            raise InputError(f"{list_file}: line {unnamed[0].line}", "", why)
        if split not in ("all", *named):
            raise InputError(str(list_file), split, f"is the split of no line; the list has {', '.join(named)}")
    files: list[VideoFile] = []
    skipped: list[Skipped] = []
    base = os.path.realpath(root or list_file.parent)
    for row in rows:
        if split in ("all", row.split) or not row.split:
            found = _find(base, row.places)
            if isinstance(found, Skipped):
                skipped.append(found)
            else:
                files.append(VideoFile(Path(base, found), found, numbers[row.label], row.segment))
    if not files:
        first = f"; first: {skipped[0].file} {skipped[0].reason}" if skipped else ""
        raise InputError(str(list_file), split, f"has no video below {base}{first}")
    return classes, files, skipped


def _divided(rows: Sequence[Row], rule: SplitRule) -> list[Row]:
    groups = [row.group or rule.group(row.places[0]) for row in rows]
    splits = divide([row.label for row in rows], groups, rule)
    return [replace(row, split=split) for row, split in zip(rows, splits, strict=True)]


def listed_splits(list_file: Path) -> tuple[str, ...]:
    """Return the splits in the list, or "all" if it has none."""
    named = {row.split for row in _rows(list_file)}
    return tuple(split for split in SPLITS if split in named) or ("all",)


def _find(base: str, places: Sequence[str]) -> str | Skipped:
    for place in places:
        path = os.path.realpath(os.path.join(base, place))
        if os.path.isfile(path):
            if os.path.commonpath((path, base)) != base:
                return Skipped(place, f"lies outside of {base}")
            return place
    return Skipped(places[0], "does not exist")


def _rows(list_file: Path) -> Iterator[Row]:
    try:
        lines = content(list_file, MAX_LIST).decode("utf-8-sig").splitlines()
        header = [name.strip().lower() for name in next(csv.reader(lines[:1]), [])]
        if "label" in header:
            yield from _csv_rows(list_file, header, lines[1:])
        else:
            yield from _plain_rows(list_file, lines)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(str(list_file), why(error), "prevented reading the list") from error


def _csv_rows(list_file: Path, header: Sequence[str], lines: Iterable[str]) -> Iterator[Row]:
    kinetics = {"youtube_id", "time_start", "time_end"} <= set(header)
    if not kinetics and "file" not in header:
        rule = "must be label,youtube_id,time_start,time_end,split or label,file[,start,end][,split][,group]"
        raise InputError(f"{list_file}: header", ",".join(header), rule)
    for line, fields in enumerate(csv.reader(lines), 2):
        if any(fields):
            if len(fields) != len(header):
                raise InputError(f"{list_file}: line {line}", fields, f"must have {len(header)} fields")
            row = dict(zip(header, (field.strip() for field in fields), strict=True))
            yield (_kinetics_row if kinetics else _general_row)(f"{list_file}: line {line}", line, row)


def _kinetics_row(place: str, line: int, row: dict[str, str]) -> Row:
    label, split = _filled(place, row, "label"), row.get("split", "")
    for name in ("time_start", "time_end"):
        _filled(place, row, name)
    start, end = _segment(place, row, "time_start", "time_end")
    file = f"{_filled(place, row, 'youtube_id')}_{int(start):06d}_{int(min(end, MAX_SECONDS)):06d}.mp4"
    folders = ("", label, label.replace(" ", "_"), split, os.path.join(split, label))
    places = tuple(dict.fromkeys(os.path.join(folder, file) for folder in folders))
    group = row.get("group") or row["youtube_id"]
    return Row(line, label, places, None, split and split_called(split, place), group)


def _general_row(place: str, line: int, row: dict[str, str]) -> Row:
    label, split = _filled(place, row, "label"), row.get("split", "")
    timed = row.get("start") or row.get("end")
    segment = _segment(place, row, "start", "end") if timed else None
    split = split and split_called(split, place)
    return Row(line, label, (_filled(place, row, "file"),), segment, split, row.get("group", ""))


def _plain_rows(list_file: Path, lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            path, _, label = line.strip().rpartition(" ")
            if not path:
                raise InputError(
                    f"{list_file}: line {number}", line, "must be `path label`, or the list needs a header"
                )
            yield Row(number, label, (path.strip(),), None, "")


def _filled(place: str, row: dict[str, str], name: str) -> str:
    if not row[name] or "\0" in row[name]:
        raise InputError(f"{place}: {name}", row[name], "must not be empty")
    return row[name]


def _segment(place: str, row: dict[str, str], start: str, end: str) -> tuple[float, float]:
    try:
        first, last = float(row.get(start) or 0), float(row.get(end) or "inf")
    except ValueError as error:
        raise InputError(place, f"{row.get(start)}, {row.get(end)}", "must be seconds") from error
    if not 0 <= first < last or first > MAX_SECONDS:
        raise InputError(place, f"{row.get(start)}, {row.get(end)}", "must be a start from 0 on and a later end")
    return first, last


def _classes(list_file: Path, rows: Sequence[Row]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names in order, and the number of each label of the list."""
    labels = {row.label: row.line for row in reversed(rows)}  # and the first line of each
    names_file = list_file.with_name("classes.txt")
    given = read_classes(names_file) if names_file.exists() else ()
    whole = {label: int(label.partition(".")[0]) for label in labels if WHOLE_NUMBER.fullmatch(label)}
    if whole.keys() == labels.keys():
        numbers = whole
        most = max(numbers.values()) + 1
        if most > MAX_CLASSES:
            raise InputError(str(list_file), most, f"classes must be at most {MAX_CLASSES}")
        names = given or tuple(map(str, range(most)))
        if most > len(names):
            raise InputError(str(list_file), most - 1, f"must be below {len(names)}, the names in {names_file.name}")
        return names, numbers
    names = given or tuple(sorted(labels))
    unknown = sorted(labels.keys() - set(names))
    if unknown:
        raise InputError(str(list_file), unknown, f"must be among the names in {names_file.name}")
    odd = [label for label in labels if _is_number(label)]
    if odd and not given:
        odd = [label for label in odd if label not in whole] or odd
        first = min(odd, key=labels.__getitem__)
        rule = "is not a valid label here: all labels must be names, or all whole numbers from 0"
        raise InputError(f"{list_file}: line {labels[first]}", first, rule)
    return names, {name: number for number, name in enumerate(names)}


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def read_classes(file: Path) -> tuple[str, ...]:
    """Return the names in `file`, one per line. Raises `InputError` if it is empty or has a duplicate."""
    try:
        lines = content(file, MAX_LIST).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(file), why(error), "prevented reading the class names") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) < len(names):
        raise InputError(str(file), f"{len(names)} names", "must be at least one, without duplicates")
    return names
