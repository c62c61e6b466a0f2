"""Tab completion of the command line: a script for bash, zsh or fish.

The script is static: completion does not start Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import shtab

from cli.commands import SHELLS
from search_space.base.names import check_choice
from search_space.published import PUBLISHED

PROGRAM = "movinet-nas"  # the installed name; shells cannot complete `python FILE`


def script(parser: argparse.ArgumentParser, shell: str, presets: Sequence[str]) -> str:
    """Return the script for a shell; `parser` is modified, so pass a new one.

    Args:
      parser: of all commands.
      shell: one of `SHELLS`.
      presets: names that stand for a configuration.

    Raises:
      InputError: another shell.
    """
    check_choice("shell", shell, SHELLS)
    parser.prog = PROGRAM
    names = {"config": presets, "benchmark": presets, "network": list(PUBLISHED)}
    for command in _commands(parser):
        command.description = None  # the short help of the list fits beside a word
        for action in command._actions:
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.dest == "shell":
                action.choices = SHELLS
            elif action.dest in names:
                action.complete = _completer(action.dest)  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell, preamble=_functions(names)))  # type: ignore[arg-type]


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def _function(name: str) -> str:
    return f"_movinet_nas_{name}"


def _completer(name: str) -> dict[str, str]:
    return {"bash": _function(name), "zsh": _function(name), "fish": f"({_function(name)})"}


def _functions(names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return, by shell, a function for each kind of argument that offers its names and files."""
    bash = '{0}() {{ compgen -W \'{1}\' -- "$1"; compgen -f -- "$1"; }}'
    zsh = "{0}() {{ local -a names=({1}); _describe name names; _files }}"
    fish = "function {0}; printf '%s\\n' {1}; __fish_complete_path (commandline -ct); end"
    forms = {"bash": bash, "zsh": zsh, "fish": fish}
    return {
        shell: "\n".join(form.format(_function(name), " ".join(known)) for name, known in names.items())
        for shell, form in forms.items()
    }
