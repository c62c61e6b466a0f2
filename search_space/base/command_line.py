"""What the commands of all packages share: help with examples, and bad input as one line and exit code 2."""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO

from search_space.base.errors import InputError, printable
from search_space.base.names import hint

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
    """Prints text that may hold names from files of others: a terminal shows it, and does not act on it.

    Characters that the output's encoding does not have become question marks.
    """
    out = file or sys.stdout
    encoding = getattr(out, "encoding", None) or "utf-8"
    print(printable(text, "\n\t").encode(encoding, "replace").decode(encoding), file=out, flush=True)


# Errors of the operating system about a file or folder, not about the program.
_OF_PLACES = (
    errno.EACCES, errno.EBUSY, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EIO, errno.EISDIR, errno.ELOOP,
    errno.EMFILE, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.ENOTEMPTY, errno.EPERM,
    errno.EROFS, errno.ESTALE,
)  # fmt: skip


def place_fault(error: BaseException) -> str:
    """Describe a file or folder that could not be read or written; empty if the error is of another kind.

    Understands errors of the operating system, and those of TensorFlow, which hold its words.
    """
    if isinstance(error, OSError):
        if error.errno not in _OF_PLACES:
            return ""
        why = os.strerror(error.errno)
        return f"{os.fsdecode(error.filename)}: {why}" if isinstance(error.filename, str | bytes) else why
    if not type(error).__module__.startswith("tensorflow"):
        return ""
    message = str(getattr(error, "message", error))
    for code in _OF_PLACES:
        found, why, _ = message.partition(os.strerror(code))
        if why:
            place = found.rstrip("; :").split()[-1:]
            return f"{place[0]}: {why}" if place and "/" in place[0] else why
    return ""


def exit_code(work: Callable[[], int]) -> int:
    """That of `work`; 2 with one line for bad input, 130 if it was interrupted, 141 if nobody reads what it prints."""
    try:
        return work()
    except InputError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except BrokenPipeError:
        mute()
        return 141  # as if SIGPIPE had ended the process
    except Exception as error:
        fault = place_fault(error)
        if not fault:
            raise
        print("error:", printable(fault), file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted", file=sys.stderr)
        return 130


def mute() -> None:
    """Prints no more: Python flushes once again at its end, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
