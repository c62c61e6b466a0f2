"""The exception for input that a user can correct, and escaping of text for a terminal."""

import unicodedata

LONGEST = 2000  # characters of a message
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories: control, direction marks, surrogates, line breaks


def printable(text: str, kept: str = "") -> str:
    """Return `text` with control and invisible characters escaped, as `\\x1b`, except the characters `kept`."""
    if text.isprintable():
        return text
    return "".join(
        repr(each)[1:-1] if each not in kept and unicodedata.category(each) in _UNSEEN else each for each in text
    )


class InputError(ValueError):
    """Invalid input: a configuration, an option, a file, a video or a results folder.

    The message is one line that names field, value and constraint, as in
    ``search.yaml: budget.steps: -3 must be an integer of at least 1``.
    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, place: str, value: object, rule: str) -> None:
        line = " ".join(f"{place}: {_shown(value)} {rule}".splitlines())
        super().__init__(printable(line)[:LONGEST])
        self.place = place
        self.value = value
        self.rule = rule

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, object, str]]:
        return InputError, (self.place, self.value, self.rule)


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except RecursionError:  # deeply nested lists
        shown = f"a {type(value).__name__}"
    return shown if len(shown) <= 120 else shown[:117] + "..."


def why(error: Exception) -> str:
    """Return the reason of an error that a file raised, without its number and path."""
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
