"""Check of a name against a list of known names, with a suggestion for a misspelled one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from search_space.base.errors import InputError


def hint(word: object, known: Iterable[str]) -> str:
    """Return a "did you mean" suggestion of the nearest of `known`, as end of a message; '' if none is near."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(word).lower(), names, 1, cutoff=0.5)
    return f"; did you mean {names[close[0]]!r}?" if close else ""


def check_choice(place: str, value: object, known: Iterable[str]) -> None:
    """Check that `value` is one of `known`.

    Raises:
      InputError: it is not; the message has all of them and the nearest.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise InputError(place, value, f"must be one of {', '.join(names)}{hint(value, names)}")
