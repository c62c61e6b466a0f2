"""Architecture search for mobile video networks: run a search, look at the frontier, take home A0 to A6.

The command line; it wires the packages and holds no logic. `python run_search.py --help` lists the commands.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from search_space.errors import InputError

if TYPE_CHECKING:
    from nas.ledger import Ledger

EXAMPLES = """examples:
  run_search.py                                  the default search, end to end, into results/runs/
  run_search.py search tiny --out /tmp/first     a search of seconds, to see what comes out
  run_search.py search my_space.yaml --workers 8
  run_search.py search --resume results/runs/x   carry on after an interruption
  run_search.py plot results/runs/x              the pictures again
  run_search.py scale results/runs/x --target a0=1e9 --target a1=5e9
  run_search.py describe a0 --json               a published network, or a file
"""
RUNS = Path("results/runs")


class Parser(argparse.ArgumentParser):
    """One clear line for a bad flag, as for all bad input."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def parser() -> Parser:
    """All commands and flags."""
    top = Parser(
        prog="run_search.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", metavar="command", parser_class=Parser)

    search = commands.add_parser("search", help="search, then front, pictures and family")
    search.add_argument("config", nargs="?", default="default", help="a preset or a YAML file (default: default)")
    search.add_argument("--out", type=Path, help="folder of the run (default: a new one in results/runs)")
    search.add_argument("--resume", type=Path, metavar="RUN", help="carry on the run in this folder")
    search.add_argument("--workers", type=int, help="trials trained at a time, a core each")
    search.add_argument("--seed", type=int, help="of everything random in the run")
    search.add_argument("--trials", type=int, help="candidates to ask of the algorithm")
    search.add_argument("--serial", action="store_true", help="one trial at a time in this process, without Ray")
    search.add_argument("--quiet", action="store_true", help="print only the outcome")

    plot = commands.add_parser("plot", help="tables and pictures of a run")
    plot.add_argument("run", type=Path, help="folder of the run")

    scale = commands.add_parser("scale", help="the family of a run, also to other targets")
    scale.add_argument("run", type=Path, help="folder of the run")
    scale.add_argument("--target", action="append", metavar="NAME=MACS", help="in place of the configured ones")
    scale.add_argument("--out", type=Path, help="folder of the configs (default: RUN/configs)")

    describe = commands.add_parser("describe", help="layers and exact costs of a network")
    describe.add_argument("network", help="a0 to a5, t0, or a YAML file")
    describe.add_argument("--classes", type=int, help="outputs (default: the file's, or 600)")
    describe.add_argument("--json", action="store_true", help="print one JSON object")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0 if it did its work, 2 for input that must be mended, 130 if interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # `run_search.py` alone is the default search, and so are its flags without a command.
    options = parser().parse_args(given if given and given[0] in (*COMMANDS, "-h", "--help") else ["search", *given])
    try:
        COMMANDS[options.command](options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    return 0


def search(options: argparse.Namespace) -> None:
    """Trains what is proposed, then makes everything that is made of a ledger."""
    import dataclasses

    from nas import config, run
    from nas.display import Display
    from results.outcome import write_outcome

    executor = "serial" if options.serial else "ray"
    signal.signal(signal.SIGTERM, _interrupt)

    def watch(running: object) -> Display:
        return Display(running, sys.stdout, options.quiet)  # type: ignore[arg-type]

    changes = {name: getattr(options, name) for name in ("workers", "seed", "trials")}
    changes = {name: value for name, value in changes.items() if value is not None}
    if options.resume:
        if changes or options.out or options.config != "default":
            raise InputError("--resume", str(options.resume), "takes everything from the run; leave other options out")
        folder = options.resume
        begin = lambda: run.resume(folder, executor, watch)  # noqa: E731
    else:
        settings = dataclasses.replace(config.load(options.config), **changes)
        folder = options.out or RUNS / f"{Path(options.config).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        begin = lambda: run.start(settings, folder, executor, watch)  # noqa: E731
    try:
        begin()
    except KeyboardInterrupt:
        print(f"interrupted; carry on with: run_search.py search --resume {folder}", file=sys.stderr)
        raise SystemExit(130) from None
    print(write_outcome(run.read(folder), folder))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _ledger(folder: Path) -> Ledger:
    from nas import ledger

    if not folder.is_dir():
        raise InputError("RUN", str(folder), "is not the folder of a run")
    return ledger.read(folder / "ledger.jsonl")


def plot(options: argparse.Namespace) -> None:
    """Tables and pictures of a run, finished or not."""
    from results.outcome import write_pictures, write_tables

    ledger = _ledger(options.run)
    for path in (*write_tables(ledger, options.run), *write_pictures(ledger, options.run)):
        print(path)


def scale(options: argparse.Namespace) -> None:
    """The family of a run."""
    from results.outcome import family_of, family_table, with_targets
    from results.emit import emit

    ledger = _ledger(options.run)
    family = family_of(ledger, with_targets(ledger, options.target))
    emit(family, options.out or options.run / "configs")
    print(family_table(family))


def describe(options: argparse.Namespace) -> None:
    """Layers and costs of a published network or a file."""
    from results.describe import describe_json, describe_text, network_named

    network = network_named(options.network, options.classes)
    print(json.dumps(describe_json(network)) if options.json else describe_text(network))


COMMANDS = {"search": search, "plot": plot, "scale": scale, "describe": describe}

if __name__ == "__main__":
    sys.exit(main())
