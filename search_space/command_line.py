"""What the commands of all packages share: help with examples, and bad input as one line and exit code 2."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO

from search_space.choices import hint
from search_space.errors import InputError, printable

EXIT_CODES = (
    "exit codes: 0 done; 1 a fault of the program; 2 input that must be mended, in one line; 130 interrupted;\n"
    "141 nobody reads what is printed"
)


def epilog(examples: Sequence[tuple[str, str]], codes: str = EXIT_CODES) -> str:
    """The end of a help: commands, each with what it does, and the exit codes."""
    lines = [f"  {command}\n      {meaning}" for command, meaning in examples]
    return "\n".join(["examples:", *lines, "", codes])


class OptionParser(argparse.ArgumentParser):
    """A bad option is bad input, in one line. No abbreviations: each would be an option of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does, but an unknown option is told before what it was to be is missed."""
        given = list(sys.argv[1:] if args is None else args)
        if self._subparsers is None:
            self._check_options(given)
        return super().parse_known_args(given, namespace)

    def _check_options(self, given: Sequence[str]) -> None:
        known = self._option_string_actions
        for word in itertools.takewhile(lambda word: word != "--", given):
            name = word.partition("=")[0]
            if name.startswith("--") and name not in known:
                raise InputError(self.prog.split()[-1], word, f"is not one of its options{hint(name, known)}")

    def error(self, message: str) -> NoReturn:
        """Raises what is wrong as an `InputError`."""
        raise InputError(self.prog.split()[-1], message, "is wrong; see --help")


class Parser(OptionParser):
    """The options of `python -m <command>`; examples are what follows that, each with what it does."""

    def __init__(
        self, command: str, description: str | None, examples: Sequence[tuple[str, str]] = (), codes: str = EXIT_CODES
    ) -> None:
        program = f"python -m {command}"
        end = epilog([(f"{program} {example}", meaning) for example, meaning in examples], codes)
        super().__init__(prog=program, description=description, epilog=end)


def say(text: str, file: TextIO | None = None) -> None:
    """Prints text that may hold names from files of others: a terminal shows it, and does not act on it."""
    print(printable(text, "\n\t"), file=file, flush=True)


def exit_code(work: Callable[[], int]) -> int:
    """That of `work`; 2 with one line for bad input, 130 if it was interrupted, 141 if nobody reads what it prints."""
    try:
        return work()
    except InputError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        mute()
        return 141  # as if SIGPIPE had ended the process


def mute() -> None:
    """Prints no more: Python flushes once again at its end, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
