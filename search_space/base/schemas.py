"""JSON Schemas and reference pages of configuration files, derived from the classes that validate them."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from search_space.base.configuration import Schema, described, json_schema, target


def explained(kind: type) -> dict[str, Any]:
    """Return the JSON Schema of a configuration class, with descriptions of keys from the docstrings."""
    schema = json_schema(kind)
    for each in classes(kind):
        part = schema if each is kind else schema["$defs"][each.__name__]
        part["description"] = _summary(each)
        for name, meaning in meanings(each).items():
            if name in part["properties"]:
                part["properties"][name]["description"] = meaning
    return schema


def classes(kind: type) -> list[type]:
    """Return a configuration class and those of its fields, at any depth."""
    return list(_classes(kind, {}).values())


def _classes(kind: Any, found: dict[str, type]) -> dict[str, type]:
    if isinstance(kind, type) and hasattr(kind, "__pydantic_fields__") and kind.__name__ not in found:
        found[kind.__name__] = kind
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            _classes(hints[field.name], found)
    for argument in typing.get_args(kind):
        _classes(argument, found)
    return found


def _summary(kind: type) -> str:
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def meanings(kind: type) -> dict[str, str]:
    """Return the meaning of each field, from the section `Attributes:` of a class docstring."""
    found = {name: meaning for base in reversed(kind.__bases__) for name, meaning in meanings(base).items()}
    text = (kind.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    for entry in re.split(r"\n(?=(?: {6}| {2})\S)", text.rstrip()) if text else ():
        names, _, meaning = entry.strip().partition(": ")
        found |= dict.fromkeys((name.strip() for name in names.split(",")), " ".join(meaning.split()))
    return found


def page(schema: Schema) -> str:
    """Return the reference page of a configuration file: a table of keys for each section, as Markdown."""
    return "\n".join(_section(schema, "", schema))


def _section(schema: Schema, path: str, part: Schema) -> Iterator[str]:
    yield f"## {path or 'Top level'}\n"
    if part.get("description"):
        yield f"{part['description']}\n"
    yield "| key | value | default | meaning |\n| --- | --- | --- | --- |"
    below = []
    for name, key in part["properties"].items():
        section = target(schema, key)
        items = target(schema, section.get("items", {})) if section.get("type") == "array" else {}
        inner, suffix = (items, "[]") if "properties" in items else (section, "")
        value = described(schema, key)
        if "properties" in inner:
            below.append((f"{path}.{name}{suffix}" if path else name + suffix, inner))
            value = "list of sections" if suffix else "section"
        cells = (f"`{name}`", value, _default(part, name, key), key.get("description", ""))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""
    for where, inner in below:
        yield from _section(schema, where, inner)


def _default(part: Schema, name: str, key: Schema) -> str:
    if "default" not in key:
        return "required" if name in part.get("required", ()) else ""
    default = key["default"]
    if isinstance(default, Mapping):
        return "{}" if not default else ""  # it is in the section's table
    return f"`{json.dumps(default)}`"
