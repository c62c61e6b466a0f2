"""Configuration classes: frozen dataclasses that pydantic validates, with one line for an error.

A class is declared once, with the type and the range of each field. Validation, error messages, JSON Schemas and the
reference pages of all keys are derived from that.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass as validated

from search_space.base.errors import InputError
from search_space.base.names import hint

T = TypeVar("T")
Schema = Mapping[str, Any]
_NESTED = (str, dict, list, tuple)
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_UNKNOWN = "unexpected_keyword_argument"


@dataclass_transform(frozen_default=True)
def configuration(kind: type[T]) -> type[T]:
    """Make `kind` a frozen dataclass that validates its fields; the constructor raises `InputError`.

    Nothing is converted except integers to numbers. `__post_init__` may raise `InputError` for rules that concern
    several fields.
    """
    made: Any = validated(frozen=True, config=_STRICT)(kind)
    construct = made.__init__

    @functools.wraps(construct)
    def __init__(self: Any, *arguments: Any, **values: Any) -> None:
        try:
            construct(self, *arguments, **values)
        except ValidationError as error:
            raise _input_error(made, error, "") from None

    made.__init__ = __init__
    return cast(type[T], made)


def within(low: float, high: float) -> Any:
    """Range of a number, both ends included."""
    return Field(ge=low, le=high)


NOT_EMPTY = Field(min_length=1)


def _distinct(options: Sequence[Any]) -> Sequence[Any]:
    for i, option in enumerate(options):
        if option in options[:i]:
            raise InputError(f"[{i}]", option, "is listed twice")
    return options


Options = Annotated[tuple[T, ...], NOT_EMPTY, AfterValidator(_distinct)]
"""Type of a list with at least one option and none twice."""


def made_from(kind: type[T], data: object, place: str) -> T:
    """The configuration `kind` from plain data, as JSON can hold it.

    Raises:
      InputError: names `place` and the key: an unknown or missing key, a wrong type, a value out of range.
    """
    of: Any = kind
    _check_plain(data, place)
    try:
        # As JSON, because only there a list may become a tuple while nothing else is converted.
        return cast(T, _adapter(of).validate_json(json.dumps(data)))
    except ValidationError as error:
        raise _input_error(kind, error, place, data) from None


def _check_plain(data: Any, place: str) -> None:
    """Refuse keys that JSON would turn into texts, such as 0 and true, and texts that no file name may hold."""
    if found := _not_plain(data):
        path, value, rule = found
        raise InputError(joined(place, reversed(path)), value, rule)


def _not_plain(data: Any) -> tuple[list[str | int], object, str] | None:
    """The way to what is refused, from the inside out; as quick as it can be for data in order."""
    kind = type(data)
    if kind is str:
        return ([], data, "holds a NUL character") if "\0" in data else None
    for key, value in data.items() if kind is dict else enumerate(data) if kind in (list, tuple) else ():
        if kind is dict and type(key) is not str:
            return [], key, "is a key that is not a text"
        if type(value) in _NESTED and (found := _not_plain(value)):
            found[0].append(key)
            return found
    return None


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def json_schema(kind: Any) -> dict[str, Any]:
    """JSON Schema of a configuration class, as pydantic makes it."""
    return _adapter(kind).json_schema()


def plain(config: object) -> dict[str, Any]:
    """The inverse of `made_from`, without keys that are null."""
    kind: Any = type(config)
    return dict(_adapter(kind).dump_python(config, mode="json", exclude_none=True))


def _input_error(kind: Any, error: ValidationError, place: str, data: object = None) -> InputError:
    """One line for the error that explains most: an unknown key is often a missing one that is misspelled."""
    errors = error.errors(include_url=False)
    first = next((each for each in errors if each["type"] == _UNKNOWN), errors[0])
    if first["type"] == "json_invalid":
        return InputError(place, data, "holds a text that is not valid Unicode")
    schema = json_schema(kind)
    loc = first["loc"]
    if loc and isinstance(loc[0], int):  # a positional argument of the constructor
        loc = (dataclasses.fields(kind)[loc[0]].name, *loc[1:])
    path, allowed = _followed(schema, loc)
    where, value = joined(place, path), first["input"]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return InputError(joined(where, [cause.place]), cause.value, cause.rule)
    if first["type"] == _UNKNOWN:
        known = list(target(schema, _followed(schema, loc[:-1])[1])["properties"])
        rule = f"is an unknown key; known: {', '.join(known)}{hint(loc[-1], known)}"
        return InputError(joined(place, path[:-1]), path[-1], rule)
    if first["type"] in ("missing", "missing_argument") and not isinstance(loc[-1], int):
        given = sorted(value) if isinstance(value, dict) else []
        return InputError(joined(place, path[:-1]), given, f"lacks the key {path[-1]!r}")
    if first["type"] == "missing":
        return InputError(
            joined(place, path[:-1]), value, f"must be {described(schema, _followed(schema, path[:-1])[1])}"
        )
    names = [each for each in allowed.get("enum", []) if isinstance(each, str)]
    return InputError(where, value, f"must be {described(schema, allowed)}{hint(value, names) if names else ''}")


def joined(place: str, path: Iterable[str | int]) -> str:
    """`search.blocks[1].width` for `search` and the path `blocks`, 1, `width`."""
    for part in path:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part:
            place += part if not place or part.startswith("[") else f".{part}"
    return place


def target(schema: Schema, part: Schema) -> Schema:
    """The part of a JSON Schema that a reference leads to; of a union with null the other."""
    if "$ref" in part:
        return target(schema, schema["$defs"][part["$ref"].rpartition("/")[2]])
    options = [each for each in part.get("anyOf", ()) if each.get("type") != "null"]
    return target(schema, options[0]) if len(options) == 1 else part


def _followed(schema: Schema, path: Iterable[str | int]) -> tuple[list[str | int], Schema]:
    """The keys and places of `path` that are in the data, without pydantic's names of types, and the schema there."""
    kept: list[str | int] = []
    part = target(schema, schema)
    for step in path:
        if isinstance(step, int):
            items = part.get("prefixItems", [])
            part = target(schema, items[step] if step < len(items) else part.get("items", {}))
        elif "properties" in part:
            part = target(schema, part["properties"].get(step, {}))
        elif isinstance(part.get("additionalProperties"), Mapping):
            part = target(schema, part["additionalProperties"])
        elif "anyOf" in part:  # the name of the type that pydantic tried
            continue
        kept.append(step)
    return kept, part


def described(schema: Schema, part: Schema) -> str:
    """Values that a part of a JSON Schema allows, as words: `an integer from 1 to 8`."""
    part = part if "anyOf" in part else target(schema, part)
    if "allowed" in part:
        return str(part["allowed"])
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(described(schema, each) for each in part["anyOf"]))
    if "enum" in part:
        return f"one of {', '.join(map(_shown, part['enum']))}"
    if "const" in part:
        return _shown(part["const"])
    return _DESCRIBED.get(part.get("type", ""), lambda schema, part: "plain data")(schema, part)


def _shown(value: object) -> str:
    """A value as YAML has it: a name as it is, anything else as JSON."""
    return value if isinstance(value, str) and value else json.dumps(value)


def _number(name: str) -> Callable[[Schema, Schema], str]:
    def text(schema: Schema, part: Schema) -> str:
        least, above, most = (part.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
        if least is not None and most is not None:
            return f"{name} from {least:g} to {most:g}" if name == "a number" else f"{name} from {least} to {most}"
        if above is not None:
            return f"{name} above {above:g}" + (f" and at most {most:g}" if most is not None else "")
        return name

    return text


def _array(schema: Schema, part: Schema) -> str:
    if "prefixItems" in part:
        items = [described(schema, each) for each in part["prefixItems"]]
        return f"a list of {len(items)}: {', '.join(items)}"
    least, most = part.get("minItems", 0), part.get("maxItems")
    entries = "1 entry" if (least, most) == (1, None) else f"{least} entries"
    size = f" of {least} to {most} entries" if most is not None else f" of at least {entries}" if least else ""
    each = target(schema, part.get("items", {}))
    return f"a list{size}" + (f", each {described(schema, each)}" if each and "properties" not in each else "")


def _object(schema: Schema, part: Schema) -> str:
    if keys := part.get("properties"):
        return f"a mapping with the keys {', '.join(keys)}"
    values = part.get("additionalProperties")
    return f"a mapping from names to {described(schema, values)}" if isinstance(values, Mapping) else "a mapping"


_DESCRIBED: Mapping[str, Callable[[Schema, Schema], str]] = {
    "integer": _number("an integer"),
    "number": _number("a number"),
    "boolean": lambda schema, part: "true or false",
    "string": lambda schema, part: "a text that is not empty" if part.get("minLength") else "a text",
    "array": _array,
    "object": _object,
    "null": lambda schema, part: "null",
}
