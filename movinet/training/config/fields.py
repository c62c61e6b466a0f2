"""Keys of Model Garden configuration files without a field here, and merging of files.

A configuration class lists such keys in `OTHER_KEYS`. So every key of a file is a field, an `Other` key with its
reason, or an error.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from search_space.base.configuration import joined
from search_space.base.errors import InputError
from search_space.base.names import hint


@dataclass(frozen=True)
class Other:
    """A key of the Model Garden implementation without a field here.

    Attributes:
      why: the reason why it is ignored or refused.
      only: values that are accepted, the default of the Model Garden implementation first; without any the key is
        ignored.
    """

    why: str
    only: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Ignored:
    """A key of a file that has no effect here."""

    place: str
    why: str


@cache
def field_types(kind: Any) -> Mapping[str, Any]:
    """Return field names and types of a configuration class."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def other_keys(kind: type) -> Mapping[str, Other]:
    """Return the keys of the Model Garden implementation that `kind` has no field for."""
    return cast(Mapping[str, Other], getattr(kind, "OTHER_KEYS", {}))


def _section(annotation: Any) -> Any:
    """Return the configuration class of a field that holds one, several or optionally one; else None."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return annotation
    if typing.get_origin(annotation) in (types.UnionType, tuple):
        return next((kind for kind in map(_section, typing.get_args(annotation)) if kind), None)
    return None


def select(kind: type, data: object, place: str = "") -> tuple[dict[str, Any], list[Ignored]]:
    """Split plain data into the fields of `kind`, nested ones too, and the keys that are ignored.

    Raises:
      InputError: the key at `place` is unknown or refused.
    """
    if not isinstance(data, Mapping):
        raise InputError(place, data, "must be a mapping of keys to values")
    found: dict[str, Any] = {}
    ignored: list[Ignored] = []
    for key, value in data.items():
        here = joined(place, [str(key)])
        if key in field_types(kind):
            found[key], more = _select_field(_section(field_types(kind)[key]), value, here)
            ignored += more
        else:
            ignored += _select_other(kind, key, value, place)
    return found, ignored


def _select_field(kind: Any, value: Any, place: str) -> tuple[Any, list[Ignored]]:
    value = getattr(kind, "spelled_out", lambda given: given)(value)
    if not kind or not isinstance(value, Mapping):
        return value, []  # validated when all files are merged
    return select(kind, value, place)


def _select_other(kind: type, key: object, value: object, place: str) -> list[Ignored]:
    other = other_keys(kind).get(str(key))
    if other is None:
        known = [*field_types(kind), *other_keys(kind)]
        meant = hint(key, known) or f"; known: {', '.join(known)}"
        raise InputError(place, key, f"is an unknown key{meant}")
    if not other.only:
        return [Ignored(joined(place, [str(key)]), other.why)]
    if value not in other.only and (not isinstance(value, list) or tuple(value) not in other.only):
        raise InputError(joined(place, [str(key)]), value, f"is not supported: {other.why}")
    return []


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over` in its place; mappings are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(before, value) if both else value  # type: ignore[arg-type]
    return merged
