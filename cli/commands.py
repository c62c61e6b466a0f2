"""Commands of run_search.py and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import NoReturn

from cli import command_help
from search_space.base.command_line import EXIT_CODES, OptionParser, epilog

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "run_search.py"


class CommandParser(OptionParser):
    """Parser whose errors point to the help of the command."""

    def error(self, message: str) -> NoReturn:
        """End the program with one line."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def parser(description: str, version: str) -> CommandParser:
    """Return the parser of all commands and options."""
    examples = [(f"{PROGRAM} {command}".rstrip(), meaning) for command, meaning in command_help.TOP]
    codes = f"{EXIT_CODES}\n\nMore: {PROGRAM} COMMAND --help, and docs/reference/command_line.md."
    top = CommandParser(prog=PROGRAM, description=description, epilog=epilog(examples, codes))
    top.add_argument("--version", action="version", version=f"movinet-nas {version}")
    commands = top.add_subparsers(dest="command", metavar="command", parser_class=CommandParser)
    for name, add in _OPTIONS.items():
        words = command_help.COMMANDS[name]
        examples = [(f"{PROGRAM} {command}", meaning) for command, meaning in words.examples]
        command = commands.add_parser(
            name, help=words.line, description=fill(words.paragraph, 100), epilog=epilog(examples)
        )
        add(command)
    return top


def _init(command: CommandParser) -> None:
    command.add_argument("data", type=Path, help="a folder of videos, or a list of them (.csv)")
    command.add_argument(
        "--video-root", default="", metavar="DIR", help="folder of the files of a list (default: its own)"
    )
    command.add_argument("--hours", type=float, default=1.0, help="time that the search may take (1)")
    command.add_argument("--target", metavar="MACS", help="multiply-adds per clip, or a0 to a5 (default: a0, a1, a2)")
    command.add_argument("--out", type=Path, default=Path("my_search.yaml"), help="file to write (my_search.yaml)")
    _json(command)


def _search(command: CommandParser) -> None:
    command.add_argument("config", nargs="?", help="a preset or a YAML file (default: the preset default)")
    command.add_argument("--out", type=Path, help="folder of the run (default: a new one in results/runs)")
    command.add_argument("--resume", type=Path, metavar="RUN", help="resume the run in this folder")
    command.add_argument("--workers", type=int, help="parallel trials (0: as many as fit)")
    _cluster(command)
    command.add_argument("--seed", type=int, help="random seed of the run")
    command.add_argument("--trials", type=int, help="number of candidates")
    command.add_argument("--hints", type=Path, metavar="FILE", help="file of prior scores from a one-shot search")
    command.add_argument("--serial", action="store_true", help="one trial at a time in this process, without Ray")
    command.add_argument("--simulate", action="store_true", default=None, help="synthetic accuracies; train nothing")
    command.add_argument("--plan", action="store_true", help="print time, memory and disk of the search; train nothing")
    command.add_argument("--tensorboard", action="store_true", default=None, help="write its files into the run, too")
    _output_options(command)
    _json(command)


def _one_shot(command: CommandParser) -> None:
    command.add_argument("config", nargs="?", help="a preset or a YAML file (default: the preset one_shot)")
    command.add_argument("--out", type=Path, help="folder of the search (default: a new one in results/runs)")
    command.add_argument("--resume", type=Path, metavar="RUN", help="resume the search in this folder")
    instead = command.add_mutually_exclusive_group()
    instead.add_argument("--rank", type=Path, metavar="TABLE", help="score a table's rows instead of retraining")
    instead.add_argument("--hints", type=int, metavar="N", help="score N architectures instead, for search --hints")
    command.add_argument("--workers", type=int, help="parallel trials of the retraining (0: as many as fit)")
    _cluster(command)
    command.add_argument("--seed", type=int, help="random seed of the search")
    command.add_argument("--serial", action="store_true", help="retrain one at a time in this process, without Ray")
    _output_options(command)
    _json(command)


def _plot(command: CommandParser) -> None:
    command.add_argument("run", type=Path, help="folder of the run")
    _formats(command)
    _json(command)


def _report(command: CommandParser) -> None:
    command.add_argument("run", type=Path, help="folder of the run")
    command.add_argument("--out", type=Path, metavar="FILE", help="HTML file (default: RUN/report.html)")
    _json(command)


def _scale(command: CommandParser) -> None:
    command.add_argument("run", type=Path, help="folder of the run")
    command.add_argument("--target", action="append", metavar="NAME=MACS", help="replaces the configured targets")
    command.add_argument("--refine", metavar="NAME", help="write a search around this model, to --out FILE.yaml")
    command.add_argument(
        "--out", type=Path, help="folder of the configs (default: RUN/configs; with targets RUN/configs-NAMES)"
    )
    _json(command)


def _coefficients(command: CommandParser) -> None:
    command.add_argument("run", type=Path, help="folder of the run")
    command.add_argument("--draws", type=int, default=12, help="coefficients, including the current ones (12)")
    command.add_argument("--seeds", type=int, default=2, help="re-evaluations of each selected draw and parent (2)")
    command.add_argument("--out", type=Path, help="folder of the record (default: RUN/coefficients)")
    _json(command)


def _describe(command: CommandParser) -> None:
    command.add_argument("network", help="a0 to a5, t0, or a YAML file")
    command.add_argument("--classes", type=int, help="outputs (default: the file's, or 600)")
    command.add_argument("--stream", action="store_true", help="the published stream variant instead of the base")
    _json(command)


def _reliability(command: CommandParser) -> None:
    command.add_argument("table", type=Path, help="a benchmark table (.csv, .csv.gz) or the folder of a run")
    command.add_argument("--bins", type=int, default=4, help="FLOPs bins in which networks are compared (4)")
    command.add_argument("--out", type=Path, help="folder for CSV files and reliability.png")
    _formats(command)
    _json(command)


def _score(command: CommandParser) -> None:
    command.add_argument("config", help="a preset or YAML file with the clips and the initialisation")
    command.add_argument("table", type=Path, help="a benchmark table with its architectures (.csv, .csv.gz)")
    command.add_argument("--out", type=Path, required=True, help="the table with scores; an unfinished one is resumed")
    command.add_argument("--seeds", type=int, default=2, help="initialisations over which a score is averaged (2)")
    _json(command)


def _tabulate(command: CommandParser) -> None:
    command.add_argument("run", type=Path, help="folder of the run")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .csv or .csv.gz file")
    _json(command)


def _compare(command: CommandParser) -> None:
    command.add_argument("benchmark", help="a benchmark table (.csv, .csv.gz); or a preset or YAML file, to train")
    command.add_argument("--out", type=Path, required=True, help="folder of the comparison; resumed if unfinished")
    command.add_argument(
        "--algorithms",
        metavar="A,B",
        help="names, comma-separated (default: all; in training: two); NAME:SCORE with prior scores of a table",
    )
    command.add_argument("--seeds", type=int, help="runs of each algorithm (20; in training: 3)")
    command.add_argument("--seed", type=int, default=0, help="random seed of the comparison (0)")
    command.add_argument("--workers", type=int, default=1, help="parallel runs, one core each (1)")
    command.add_argument("--evaluations", type=int, help="on a table: trainings per run (150)")
    command.add_argument("--stopping", action="store_true", help="on a table: also with early stopping, at equal steps")
    command.add_argument("--statistic", help="on a table: statistic for the algorithms (likelihood, else accuracy)")
    command.add_argument("--minutes", type=float, help="in training: minutes per run (20)")
    command.add_argument("--repeats", type=int, help="in training: re-evaluations of each run's front (2)")
    _formats(command)
    _json(command)


def _compare_runs(command: CommandParser) -> None:
    command.add_argument("runs", nargs="+", type=Path, help="folders of the runs")
    command.add_argument(
        "--against", nargs="+", type=Path, metavar="RUN", help="other runs (default: the runs' published networks)"
    )
    command.add_argument("--published", type=Path, metavar="RUN", help="a run with the published networks to compare")
    command.add_argument("--seed", type=int, default=0, help="random seed of the resampling (0)")
    command.add_argument("--out", type=Path, metavar="FILE", help="a .json file for the comparison")
    command.add_argument("--figure", type=Path, metavar="FILE", help="a .png, .svg or .pdf file for the fronts")
    _json(command)


def _reproduce(command: CommandParser) -> None:
    command.add_argument("run", type=Path, help="folder of the run")
    command.add_argument("point", help="index of a trial, or label of a re-evaluation")
    command.add_argument("--repeats", type=int, default=1, help="trainings with new seeds, after the recorded one (1)")
    _json(command)


def _validate(command: CommandParser) -> None:
    command.add_argument("run", type=Path, help="folder of the finished run")
    command.add_argument(
        "--steps-factor", type=float, default=8.0, help="training steps, in multiples of the run's (8)"
    )
    command.add_argument("--scale", type=float, help="FLOPs of larger networks, in multiples of the run's (4; 1: none)")
    command.add_argument("--repeats", type=int, help="trainings of each network (3)")
    command.add_argument("--train-clips", type=int, help="of generated data (default: enough for 8 epochs)")
    command.add_argument("--resume", action="store_true", help="resume the validation with this --steps-factor")
    command.add_argument("--workers", type=int, help="parallel trainings (default: as in the run)")
    _cluster(command)
    command.add_argument("--serial", action="store_true", help="one training at a time in this process, without Ray")
    _formats(command)
    _output_options(command)
    _json(command)


def _completion(command: CommandParser) -> None:
    command.add_argument("shell", help=", ".join(SHELLS))


def _schema(command: CommandParser) -> None:
    command.add_argument("kind", help="search, space, family or training")
    command.add_argument("--markdown", action="store_true", help="print a table of all keys instead of JSON")


def _cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument("--address", help="Ray cluster to join: auto, or HOST:PORT (default: none, this machine)")
    command.add_argument("--share", metavar="URI", help="object storage from which nodes fetch the clips")
    command.add_argument("--mirror", metavar="URI", help="object storage to which the run's folder is copied")


def _output_options(command: argparse.ArgumentParser) -> None:
    while_it_runs = command.add_mutually_exclusive_group()
    while_it_runs.add_argument("--quiet", action="store_true", help="print only the result")
    while_it_runs.add_argument("--json-lines", action="store_true", help="print each event as one line of JSON")


def _formats(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", default="png", metavar="A,B", help="of the figures: png, svg, pdf (png)")


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object instead of text")


_OPTIONS: dict[str, Callable[[CommandParser], None]] = {
    "init": _init,
    "search": _search,
    "one-shot": _one_shot,
    "plot": _plot,
    "report": _report,
    "scale": _scale,
    "coefficients": _coefficients,
    "describe": _describe,
    "reliability": _reliability,
    "score": _score,
    "tabulate": _tabulate,
    "compare": _compare,
    "compare-runs": _compare_runs,
    "reproduce": _reproduce,
    "validate": _validate,
    "schema": _schema,
    "doctor": _json,
    "completion": _completion,
}
