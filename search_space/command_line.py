"""What the commands of all packages share: whatever is wrong with their input is one line and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn, TextIO

from search_space.errors import InputError, printable


class Parser(argparse.ArgumentParser):
    """The flags of `python -m <command>`; a bad one is bad input. No abbreviations: each would be a flag."""

    def __init__(self, command: str, description: str | None) -> None:
        super().__init__(
            prog=f"python -m {command}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise InputError(self.prog.split()[-1], message, "is wrong; see --help")


def say(text: str, file: TextIO | None = None) -> None:
    """Prints text that may hold names from files of others: a terminal shows it, and does not act on it."""
    print(printable(text, "\n\t"), file=file, flush=True)


def exit_code(work: Callable[[], int]) -> int:
    """That of `work`; 2 with one line for input that must be mended, 130 if it was interrupted."""
    try:
        return work()
    except InputError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted", file=sys.stderr)
        return 130
