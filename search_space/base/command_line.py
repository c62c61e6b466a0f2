"""Common parts of all commands: help with examples, and invalid input as one line with exit code 2."""

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
    "exit codes: 0 success; 1 internal error; 2 invalid input, with one line of explanation; 130 interrupted;\n"
    "141 output pipe closed"
)


def epilog(examples: Sequence[tuple[str, str]], codes: str = EXIT_CODES) -> str:
    """Return the end of a help text: example commands with explanations, and the exit codes."""
    lines = [f"  {command}\n      {meaning}" for command, meaning in examples]
    return "\n".join(["examples:", *lines, "", codes])


class OptionParser(argparse.ArgumentParser):
    """Parser that raises `InputError` for a wrong option. Abbreviations of options are disabled."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse like argparse, but report an unknown option before a missing one."""
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
        """Raise the message as an `InputError`."""
        raise InputError(self.prog.split()[-1], message, "is invalid; see --help")


class Parser(OptionParser):
    """Parser of `python -m <command>`; examples are arguments of the command with explanations."""

    def __init__(
        self, command: str, description: str | None, examples: Sequence[tuple[str, str]] = (), codes: str = EXIT_CODES
    ) -> None:
        program = f"python -m {command}"
        end = epilog([(f"{program} {example}", meaning) for example, meaning in examples], codes)
        super().__init__(prog=program, description=description, epilog=end)


def print_escaped(text: str, file: TextIO | None = None) -> None:
    """Print text with control characters escaped, as names may come from untrusted files.

    Characters outside of the output's encoding become question marks.
    """
    out = file or sys.stdout
    encoding = getattr(out, "encoding", None) or "utf-8"
    print(printable(text, "\n\t").encode(encoding, "replace").decode(encoding), file=out, flush=True)


# Operating system errors that concern a file or folder, not the program.
_OF_PLACES = (
    errno.EACCES, errno.EBUSY, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EIO, errno.EISDIR, errno.ELOOP,
    errno.EMFILE, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.ENOTEMPTY, errno.EPERM,
    errno.EROFS, errno.ESTALE,
)  # fmt: skip


def place_fault(error: BaseException) -> str:
    """Describe a file or folder that could not be read or written; return '' for other errors.

    It handles operating system errors, and TensorFlow errors that contain their text.
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
    """Return the exit code of `work`; 2 with one line for invalid input, 130 if interrupted, 141 for a closed pipe."""
    try:
        return work()
    except InputError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except BrokenPipeError:
        mute()
        return 141  # as after SIGPIPE
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
    """Discard further output; otherwise Python's last flush at exit would fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
