"""Configurations as frozen dataclasses: plain data checked against their annotations, merged, and made into them.

A configuration class may have, besides its fields, keys of the release that are no field here; `other_keys` names
them. So every key is a field, an `Other` key with its reason, or a mistake.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

from search_space.base.errors import InputError
from search_space.base.names import hint

T = TypeVar("T")
MAX_INTEGER = 2**53  # what a float holds exactly; no count of anything here is larger


@dataclass(frozen=True)
class Other:
    """A key of the release that is no field here.

    Attributes:
      why: it is ignored, or refused.
      only: the values it may have nevertheless, the release's default first; none: it may have any, and is ignored.
    """

    why: str
    only: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Ignored:
    """A key that was given and has no meaning here."""

    place: str
    why: str


def field_types(kind: Any) -> Mapping[str, Any]:
    """Field names of a configuration class and their types."""
    return _field_types(kind)


@cache
def _field_types(kind: Any) -> Mapping[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _section(annotation: Any) -> Any:
    """The configuration class of a field that holds one, or may hold none; else None."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return annotation
    if typing.get_origin(annotation) is types.UnionType:
        return next((kind for kind in map(_section, typing.get_args(annotation)) if kind), None)
    return None


def check_types(config: Any) -> None:
    """For `__post_init__`: every field as `convert` makes it of what was given."""
    for name, annotation in field_types(type(config)).items():
        object.__setattr__(config, name, convert(name, annotation, getattr(config, name)))


def check_range(config: Any, low: float, high: float, *names: str) -> None:
    """For `__post_init__`: each of these fields is None or within low..high.

    Raises:
      InputError: one of them is not.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            raise InputError(name, value, f"must be from {low:g} to {high:g}")


def convert(place: str, annotation: Any, value: Any) -> Any:
    """`value` as `annotation` asks: lists become tuples, integers floats where a float is wanted; nothing else changes.

    Raises:
      InputError: the value is of another type.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is types.UnionType:
        return _convert_union(place, arguments, value)
    if origin is tuple:
        return _convert_list(place, arguments[0], value)
    if _section(annotation):
        return value if isinstance(value, annotation) else build(annotation, value, f"{place}.")
    return _convert_plain(place, annotation, value)


def _convert_union(place: str, kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    listed = isinstance(value, list | tuple)
    likely = [kind for kind in kinds if (typing.get_origin(kind) is tuple) == listed and fits(kind, value)]
    return convert(place, (likely or kinds)[0], value)


def _convert_list(place: str, kind: Any, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(place, value, "must be a list")
    return tuple(convert(f"{place}[{i}]", kind, item) for i, item in enumerate(value))


_PLAIN: Mapping[type, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda v: isinstance(v, bool)),
    int: ("an integer", lambda v: isinstance(v, int) and not isinstance(v, bool) and abs(v) <= MAX_INTEGER),
    float: (
        "a finite number",
        lambda v: isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= 1e300 and math.isfinite(v),
    ),
    str: ("a text", lambda v: isinstance(v, str) and "\0" not in v),
}


def fits(kind: Any, value: Any) -> bool:
    """Whether a plain value is one of `kind`; what is not plain is left to `convert`."""
    return kind not in _PLAIN or _PLAIN[kind][1](value)


def _convert_plain(place: str, kind: Any, value: Any) -> Any:
    if not fits(kind, value):
        raise InputError(place, value, f"must be {_PLAIN[kind][0]}")
    return kind(value)


def other_keys(kind: type) -> Mapping[str, Other]:
    """The keys of the release that `kind` knows and has no field for."""
    return cast(Mapping[str, Other], getattr(kind, "OTHER_KEYS", {}))


def select(kind: type, data: object, place: str) -> tuple[dict[str, Any], list[Ignored]]:
    """The fields of `kind` in plain data, nested ones too, each of the right type; and the keys that are ignored.

    Raises:
      InputError: names `place`, which goes before the key: the key is unknown, of another type, or refused.
    """
    if not isinstance(data, Mapping):
        raise InputError(place.rstrip(":. "), data, "must be a mapping of keys to values")
    found: dict[str, Any] = {}
    ignored: list[Ignored] = []
    for key, value in data.items():
        here = f"{place}{key}"
        if key in field_types(kind):
            found[key], more = _select_field(field_types(kind)[key], value, here)
            ignored += more
        else:
            ignored += _select_other(kind, key, value, here)
    return found, ignored


def _select_field(annotation: Any, value: Any, place: str) -> tuple[Any, list[Ignored]]:
    kind = _section(annotation)
    if kind and (value is not None or kind is annotation):
        spelled = getattr(kind, "spelled_out", lambda given: given)(value)
        return select(kind, spelled, f"{place}.")
    convert(place, annotation, value)
    return value, []


def _select_other(kind: type, key: object, value: object, place: str) -> list[Ignored]:
    other = other_keys(kind).get(str(key))
    if other is None:
        known = [*field_types(kind), *other_keys(kind)]
        meant = hint(key, known) or f"; known: {', '.join(known)}"
        raise InputError(place.removesuffix(str(key)).rstrip(": ."), key, f"is an unknown key{meant}")
    if not other.only:
        return [Ignored(place, other.why)]
    if value not in other.only and (not isinstance(value, list) or tuple(value) not in other.only):
        raise InputError(place, value, f"is not supported: {other.why}")
    return []


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `over` has in its place; mappings are merged, all else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(before, value) if both else value  # type: ignore[arg-type]
    return merged


def build(kind: type[T], data: object, place: str) -> T:
    """The configuration of plain data that has only fields of `kind`.

    Raises:
      InputError: names `place`, which goes before the field: the field is unknown, of another type, or out of range.
    """
    if not isinstance(data, Mapping):
        raise InputError(place.rstrip("."), data, "must be a mapping of keys to values")
    for key in data:
        if key not in field_types(kind):
            raise InputError(f"{place}{key}", key, f"is an unknown key{hint(key, field_types(kind))}")
    values = {key: _nested(field_types(kind)[key], value, f"{place}{key}") for key, value in data.items()}
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{place}{error.place}", error.value, error.rule) from None


def _nested(annotation: Any, value: Any, place: str) -> Any:
    kind = _section(annotation)
    return build(kind, value, f"{place}.") if kind and isinstance(value, Mapping) else value
