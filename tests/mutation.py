"""Seeded damage to files: to the data in them, to their text, to their bytes."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import yaml

DEEP: Any = 0
for _ in range(200):
    DEEP = [DEEP]

# Values that may break a reader, or that a terminal, a page, a path or a formula may interpret.
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**400, 0.5, -0.0, 5e-324, 1e308, -1e308, float("inf"), float("nan"),
    "", "x", "../../evil", "/etc/passwd", "\x1b[31mred\x1b[0m", "<script>alert(1)</script>", "a\0b", "é\u202e",
    "$\\frac{1}{0}$", "a" * 10_000, "1:" * 500 + "1", "!!python/object/apply:os.system ['true']", "=cmd()", "-rf", "~",
    [], {}, [[]], {"": None}, {"x": {"x": {}}}, [0] * 2000, ["a", 1, None], DEEP,
)  # fmt: skip


def places(data: Any) -> list[tuple[Any, Any]]:
    """Return every container in plain data with each of its keys or indices."""
    found: list[tuple[Any, Any]] = []
    waiting = [data]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            waiting.append(node[key])
    return found


def nasty(rng: random.Random) -> Any:
    """Return a copy of one of `NASTY`."""
    return copy.deepcopy(rng.choice(NASTY))


def changed(data: Any, rng: random.Random) -> Any:
    """Return plain data with one to four values replaced, removed, duplicated, renamed or exchanged."""
    data = copy.deepcopy(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        inside = places(data)
        if not inside:
            return nasty(rng)
        node, key = rng.choice(inside)
        how = rng.randrange(8)
        if how < 4:
            node[key] = nasty(rng)
        elif how == 4:
            del node[key]
        elif how == 5:
            other, place = rng.choice(inside)
            node[key] = copy.deepcopy(other[place]) if place in list(_keys(other)) else None
        elif isinstance(node, list):
            node.insert(key, copy.deepcopy(node[key]))
        else:
            node[rng.choice(("x", "schema", "", "\x1b[2J", str(key) * 2))] = (
                copy.deepcopy(node[key]) if how == 6 else node.pop(key)
            )
    return nasty(rng) if rng.random() < 0.02 else data


def _keys(node: Any) -> Any:
    return node if isinstance(node, dict) else range(len(node))


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return bytes cut short, changed, duplicated or moved."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 2, 5))):
        if len(content) < 2:
            break
        start, end = sorted(rng.randrange(len(content)) for _ in range(2))
        end = min(end, start + 200)
        how = rng.randrange(5)
        if how == 0:
            del content[rng.randrange(len(content)) :]
        elif how == 1:
            content[start] = rng.choice((0, 10, 34, 44, 58, 91, 123, 255, rng.randrange(256)))
        elif how == 2:
            content[start] ^= 1 << rng.randrange(8)
        elif how == 3:
            content[start:start] = content[start:end]
        else:
            del content[start:end]
    return bytes(content)


def as_yaml(data: Any) -> bytes:
    """Return YAML in block style, or JSON for data that YAML cannot represent."""
    try:
        return yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, RecursionError):
        return json.dumps(data).encode()


def mutated_yaml(content: bytes, rng: random.Random) -> bytes:
    """Return a YAML file with other data or other bytes."""
    if rng.random() < 0.3:
        return damaged(content, rng)
    return as_yaml(changed(yaml.load(content, yaml.CSafeLoader), rng))


def mutated_lines(content: bytes, rng: random.Random) -> bytes:
    """Return a file of JSON lines with one to three lines changed, duplicated, exchanged or damaged."""
    lines = content.splitlines()
    for _ in range(rng.choice((1, 1, 3))):
        place, other = (0 if rng.random() < 0.3 else rng.randrange(len(lines)) for _ in range(2))
        how = rng.random()
        if how < 0.6:
            try:
                lines[place] = json.dumps(changed(json.loads(lines[place]), rng)).encode()
            except ValueError:
                continue
        elif how < 0.7:
            lines.insert(place, lines[other])
        elif how < 0.8:
            lines[place], lines[other] = lines[other], lines[place]
        else:
            lines[place] = damaged(lines[place], rng)
    return b"\n".join(lines) + (b"\n" if rng.random() < 0.8 else b"")


def mutated_cells(content: bytes, rng: random.Random) -> bytes:
    """Return a CSV file with one to four cells replaced, or with other bytes."""
    if rng.random() < 0.3:
        return damaged(content, rng)
    rows = [line.split(b",") for line in content.splitlines()]
    for _ in range(rng.choice((1, 1, 4))):
        row = rows[0 if rng.random() < 0.3 else rng.randrange(len(rows))]
        if row:
            value = rng.choice((*map(str, NASTY[:-5]), "nan", "1e999", '"', "1x3x3"))
            row[rng.randrange(len(row))] = value.encode("utf-8", "surrogatepass")
    return b"\n".join(b",".join(row) for row in rows) + b"\n"
