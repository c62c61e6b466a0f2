"""Architecture search for mobile video networks: run a search, inspect the Pareto front, export A0 to A6."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from cli import commands, comparisons, preparing, run_files, searches
from cli.commands import CommandParser
from search_space.base.command_line import exit_code, mute, print_escaped
from search_space.base.errors import InputError
from search_space.base.names import hint

OWN = (
    "cli",
    "movinet",
    "movinet_nas",
    "nas",
    "results",
    "search_space",
)  # packages of this project: if one is missing, it is a bug


def parser() -> CommandParser:
    """Return the parser of all commands and options."""
    return commands.parser(__doc__ or "", _version())


def _version() -> str:
    try:
        return metadata.version("movinet-nas")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns 0 on success, 1 if `doctor` found that no search can run, 2 for invalid input, 130 if interrupted, 141 if
    the output pipe is closed.
    """
    # Matrices here are small, and threads would wait for each other; numpy reads this on its first import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return exit_code(lambda: _printed(_text(list(sys.argv[1:] if arguments is None else arguments))))


def _text(arguments: list[str]) -> str:
    """Run a command and return the text that it prints."""
    try:
        options = _parsed(arguments)
        return COMMANDS[options.command](options)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in OWN:
            raise
        rule = "is not installed; create the environment by `make setup`, and activate it by `. .venv/bin/activate`"
        raise InputError("library", error.name, rule) from None


def _parsed(given: list[str]) -> argparse.Namespace:
    """Parse the options; without a command, those of `search`, so that `run_search.py` alone is the default search."""
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given = ["search", *given]
    if not given[0].startswith("-") and given[0] not in COMMANDS:
        raise InputError("command", given[0], f"must be one of {', '.join(COMMANDS)}{_meant(given[0])}")
    options, unknown = parser().parse_known_args(given)
    if unknown:
        rule = "is not one of its options" if unknown[0].startswith("-") else "is an unexpected argument"
        raise InputError(options.command, unknown[0], rule)
    return options


def _meant(word: str) -> str:
    """Suggest a command for an unknown word."""
    from nas.config.search_config import presets

    names = presets()
    if word in names or word.endswith((".yaml", ".yml")):
        return f"; did you mean 'search {word}'?"
    return hint(word, [*COMMANDS, *(f"search {name}" for name in names)])


def _printed(text: str) -> int:
    try:
        print_escaped(text)
    except OSError as error:
        mute()
        if isinstance(error, BrokenPipeError):
            return 141  # as after SIGPIPE
        print(f"error: standard output: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def completion(options: argparse.Namespace) -> str:
    """Return the script for tab completion in a shell."""
    from cli.completion import script
    from nas.config import search_config

    return script(parser(), options.shell, search_config.presets())


def schema(options: argparse.Namespace) -> str:
    """Print the JSON Schema, or the reference page, of a kind of configuration file."""
    from cli import schemas

    return schemas.schema(options)


COMMANDS = {
    "init": preparing.init,
    "search": searches.search,
    "one-shot": searches.one_shot,
    "plot": run_files.plot,
    "report": run_files.report,
    "scale": run_files.scale,
    "coefficients": run_files.coefficients,
    "describe": run_files.describe,
    "reliability": run_files.reliability,
    "score": run_files.score,
    "tabulate": run_files.tabulate,
    "compare": comparisons.compare,
    "compare-runs": comparisons.compare_runs,
    "reproduce": run_files.reproduce,
    "validate": searches.validate,
    "schema": schema,
    "doctor": preparing.doctor,
    "completion": completion,
}
