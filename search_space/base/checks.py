"""Checks of single values, for input without a configuration class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from search_space.base.errors import InputError
from search_space.base.names import hint


def check_integer(place: str, value: object, low: int, high: int) -> int:
    """Return `value` if it is an integer in low..high, else raise an `InputError` that names `place`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(place, value, f"must be an integer from {low} to {high}")
    return value


def check_number(place: str, value: object, low: float, high: float, hint: str = "") -> float:
    """Return `value` if it is a number in low..high, else raise an `InputError` that names `place`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(place, value, f"must be a number from {low:g} to {high:g}{hint}")
    return value


def check_pattern(place: str, value: str) -> str:
    """`value` if it is a regular expression, else an `InputError` that names `place`."""
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(place, value, f"is not a regular expression: {error}") from None
    return value


def check_shares(place: str, shares: Sequence[float]) -> None:
    """Check that the shares of validation and test leave something to train on; else raise an `InputError`."""
    if len(shares) != 2 or min(shares) <= 0 or sum(shares) >= 1:
        raise InputError(place, list(shares), "must be the shares of validation and test, above 0 and below 1 together")


def check_keys(place: str, data: object, allowed: Sequence[str], required: Sequence[str] = ()) -> Mapping[str, Any]:
    """Return `data` if it is a mapping with only `allowed` and all `required` keys, else raise an `InputError`."""
    if not isinstance(data, Mapping):
        raise InputError(place, data, f"must be a mapping with the keys {', '.join(allowed)}")
    for key in data:
        if key not in allowed:
            raise InputError(place, key, f"is an unknown key; known: {', '.join(allowed)}{hint(key, allowed)}")
    for key in required:
        if key not in data:
            raise InputError(place, sorted(map(str, data)), f"lacks the key {key!r}")
    return data


def check_schema(place: str, data: object, known: str, hint: str = "") -> None:
    """Check that the schema of `data`, if it has one, is `known`; do this before its keys are read.

    Raises:
      InputError: it has another or a newer schema.
    """
    if not isinstance(data, Mapping) or data.get("schema", known) == known:
        return
    given = data["schema"]
    family, _, version = known.rpartition("/")
    newer = isinstance(given, str) and re.fullmatch(rf"{re.escape(family)}/(\d{{1,9}})", given)
    if newer and int(newer[1]) > int(version):
        hint = "; it is of a newer version of movinet-nas: update this one"
    raise InputError(f"{place}.schema", given, f"must be {known!r}{hint}")


def check_list(place: str, data: object) -> Sequence[Any]:
    """Return `data` if it is a list or tuple, else raise an `InputError`."""
    if not isinstance(data, list | tuple):
        raise InputError(place, data, "must be a list")
    return data
