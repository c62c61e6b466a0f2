"""Architecture search for mobile video networks: run a search, look at the frontier, take home A0 to A6.

The command line; it wires the packages and holds no logic. `python run_search.py --help` lists the commands.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import io
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from search_space.command_line import say
from search_space.errors import InputError

if TYPE_CHECKING:
    from nas.cluster import Cluster
    from nas.config import SearchConfig
    from nas.display import Display
    from nas.search import Search

EXAMPLES = """examples:
  run_search.py                                  the default search, end to end, into results/runs/
  run_search.py search tiny --out /tmp/first     a search of seconds, to see what comes out
  run_search.py search my_search.yaml --workers 8
  run_search.py search --resume results/runs/x   carry on after an interruption
  run_search.py plot results/runs/x              the pictures again
  run_search.py scale results/runs/x --target a0=1e9 --target a1=5e9
  run_search.py describe a0 --json               a published network, or a file
"""
RUNS = Path("results/runs")
RACERS = ("frontier_search", "stratified_random")  # what `compare` trains unless told
CHANGES = ("workers", "seed", "trials")  # options that change a field of the configuration


class Interrupted(KeyboardInterrupt):
    """The message says how to carry on."""


class Parser(argparse.ArgumentParser):
    """One clear line for a bad flag, as for all bad input; no abbreviations, which would be flags of their own."""

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def parser() -> Parser:
    """All commands and flags."""
    top = Parser(
        prog="run_search.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"movinet-nas {_version()}")
    commands = top.add_subparsers(dest="command", metavar="command", parser_class=Parser)

    search = commands.add_parser("search", help="search, then front, pictures and family")
    search.add_argument("config", nargs="?", help="a preset or a YAML file (default: the preset default)")
    search.add_argument("--out", type=Path, help="folder of the run (default: a new one in results/runs)")
    search.add_argument("--resume", type=Path, metavar="RUN", help="carry on the run in this folder")
    search.add_argument("--workers", type=int, help="trials trained at a time (0: as many as there is room for)")
    _add_cluster(search)
    search.add_argument("--seed", type=int, help="of everything random in the run")
    search.add_argument("--trials", type=int, help="candidates to ask of the algorithm")
    search.add_argument("--serial", action="store_true", help="one trial at a time in this process, without Ray")
    search.add_argument("--simulate", action="store_true", default=None, help="make accuracies up; train nothing")
    search.add_argument("--quiet", action="store_true", help="print only the outcome")

    one_shot = commands.add_parser("one-shot", help="the paper's own search: a supernet, its controllers, retraining")
    one_shot.add_argument("config", nargs="?", help="a preset or a YAML file (default: the preset one_shot)")
    one_shot.add_argument("--out", type=Path, help="folder of the search (default: a new one in results/runs)")
    one_shot.add_argument("--resume", type=Path, metavar="RUN", help="carry on the search in this folder")
    one_shot.add_argument("--rank", type=Path, metavar="TABLE", help="score a table's rows instead of retraining")
    one_shot.add_argument("--workers", type=int, help="trials retrained at a time (0: as many as there is room for)")
    _add_cluster(one_shot)
    one_shot.add_argument("--seed", type=int, help="of everything random in the search")
    one_shot.add_argument("--serial", action="store_true", help="retrain one at a time in this process, without Ray")
    one_shot.add_argument("--quiet", action="store_true", help="print only the outcome")

    plot = commands.add_parser("plot", help="tables and pictures of a run")
    plot.add_argument("run", type=Path, help="folder of the run")

    scale = commands.add_parser("scale", help="the family of a run, also to other targets")
    scale.add_argument("run", type=Path, help="folder of the run")
    scale.add_argument("--target", action="append", metavar="NAME=MACS", help="in place of the configured ones")
    scale.add_argument("--refine", metavar="NAME", help="write a search around this model instead, to --out FILE.yaml")
    scale.add_argument("--out", type=Path, help="folder of the configs (default: RUN/configs)")

    coefficients = commands.add_parser("coefficients", help="search the scaling coefficients of a run's family")
    coefficients.add_argument("run", type=Path, help="folder of the run")
    coefficients.add_argument("--draws", type=int, default=12, help="coefficients tried, the present ones too (12)")
    coefficients.add_argument("--seeds", type=int, default=2, help="trainings of each finalist and parent (2)")
    coefficients.add_argument("--out", type=Path, help="folder of the record (default: RUN/coefficients)")

    describe = commands.add_parser("describe", help="layers and exact costs of a network")
    describe.add_argument("network", help="a0 to a5, t0, or a YAML file")
    describe.add_argument("--classes", type=int, help="outputs (default: the file's, or 600)")
    describe.add_argument("--stream", action="store_true", help="of the released stream form, not of the base")
    describe.add_argument("--json", action="store_true", help="print one JSON object")
    fidelity = commands.add_parser("fidelity", help="how well cheap measurements rank networks")
    fidelity.add_argument("table", type=Path, help="a benchmark table (.csv, .csv.gz) or the folder of a run")
    fidelity.add_argument("--bands", type=int, default=4, help="of log-FLOPs, in which networks are compared (4)")
    fidelity.add_argument("--out", type=Path, help="folder for fidelity.csv and fidelity.png")
    fidelity.add_argument("--json", action="store_true", help="print one JSON object")
    score = commands.add_parser("score", help="add training-free scores to a benchmark table")
    score.add_argument("config", help="the preset or YAML file that says on which clips, and from which weights")
    score.add_argument("table", type=Path, help="a benchmark table with its architectures (.csv, .csv.gz)")
    score.add_argument("--out", type=Path, required=True, help="the table with its scores; goes on with one begun")
    score.add_argument("--seeds", type=int, default=2, help="first weights over which a score is averaged (2)")
    tabulate = commands.add_parser("tabulate", help="a run as a benchmark table")
    tabulate.add_argument("run", type=Path, help="folder of the run")
    tabulate.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .csv or .csv.gz file")
    compare = commands.add_parser("compare", help="search algorithms side by side, on a table or in training")
    compare.add_argument("benchmark", help="a benchmark table (.csv, .csv.gz); or a preset or YAML file, to train")
    compare.add_argument("--out", type=Path, required=True, help="folder of the comparison; goes on with one begun")
    compare.add_argument("--algorithms", metavar="A,B", help="names, by commas (default: all; to train: two)")
    compare.add_argument("--seeds", type=int, help="runs of each algorithm (20; to train: 3)")
    compare.add_argument("--seed", type=int, default=0, help="of everything random in the comparison (0)")
    compare.add_argument("--workers", type=int, default=1, help="runs at a time, a core each (1)")
    compare.add_argument("--evaluations", type=int, help="on a table: trainings of a run (150)")
    compare.add_argument("--stopping", action="store_true", help="on a table: also with early stopping, equal steps")
    compare.add_argument("--minutes", type=float, help="to train: of each run (20)")
    compare.add_argument("--repeats", type=int, help="to train: of each run's front in the end, other seeds (2)")
    reproduce = commands.add_parser("reproduce", help="train a network of a run again and compare")
    reproduce.add_argument("run", type=Path, help="folder of the run")
    reproduce.add_argument("point", help="index of a trial, or label of a finalist")
    reproduce.add_argument("--repeats", type=int, default=1, help="trainings with other seeds, after the same one (1)")
    for command in (
        search,
        one_shot,
        plot,
        scale,
        coefficients,
        describe,
        fidelity,
        score,
        tabulate,
        compare,
        reproduce,
    ):
        command.set_defaults(usage=command.format_usage())
    return top


def _add_cluster(command: Parser) -> None:
    command.add_argument("--address", help="of a Ray cluster to join: auto, or HOST:PORT (default: none, this machine)")
    command.add_argument("--share", metavar="URI", help="object storage from which the cluster's nodes fetch the clips")
    command.add_argument("--mirror", metavar="URI", help="object storage to which the run's folder is copied")


def _version() -> str:
    try:
        return metadata.version("movinet-nas")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns 0 if it did its work, 2 for input that must be mended, 130 if it was interrupted, 141 if nobody reads what
    it prints.
    """
    try:
        options = _parsed(list(sys.argv[1:] if arguments is None else arguments))
        text = COMMANDS[options.command](options)
    except InputError as error:
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted", file=sys.stderr)
        return 130
    return _printed(text)


def _parsed(given: list[str]) -> argparse.Namespace:
    """The options; of the command search where none is named, so that `run_search.py` alone is the default search."""
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given = ["search", *given]
    if not given[0].startswith("-") and given[0] not in COMMANDS:
        raise InputError("command", given[0], f"must be one of {', '.join(COMMANDS)}{_meant(given[0])}")
    options, unknown = parser().parse_known_args(given)
    if unknown:
        word = next((word for word in unknown if word.startswith("-")), unknown[0])
        rule = f"is not one of its options{_hint(word, re.findall(r'--[a-z]+', options.usage))}"
        raise InputError(options.command, word, rule if word.startswith("-") else "is one argument too many")
    return options


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, 1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _meant(word: str) -> str:
    """What to type in place of an unknown command."""
    from nas.config import presets

    names = presets()
    if word in names or word.endswith((".yaml", ".yml")):
        return f"; did you mean search {word}?"
    return _hint(word, [*COMMANDS, *(f"search {name}" for name in names)])


def _printed(text: str) -> int:
    try:
        say(text)
    except OSError as error:
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141  # as if SIGPIPE had ended the process
        print(f"error: standard output: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def search(options: argparse.Namespace) -> str:
    """Trains what is proposed, then makes everything that is made of a ledger."""
    from nas import config, mirror, run
    from results import family
    from results.outcome import write_outcome

    watch, cluster = _watch(options.quiet), _cluster(options)
    executor = "serial" if options.serial else "ray"
    signal.signal(signal.SIGTERM, _interrupt)
    folder = options.resume or options.out or _new_folder(options.config or "default")
    try:
        with mirror.mirrored(folder, options.mirror, _warning()):
            if options.resume:
                _check_alone(options)
                run.resume(folder, executor, watch, cluster)
            else:
                settings = _changed(config.load(options.config or "default"), options)
                family.from_dict(settings.family, f"{options.config}: search.family")  # not after hours of search
                run.start(settings, folder, executor, watch, cluster)
            return write_outcome(run.read(folder), folder)
    except KeyboardInterrupt:
        if not (folder / run.LEDGER).exists():
            raise Interrupted("interrupted before the first trial; nothing was kept") from None
        carry_on = f"run_search.py search --resume {shlex.quote(str(folder))}{_cluster_flags(options)}"
        raise Interrupted(f"interrupted; carry on with: {carry_on}") from None


def one_shot(options: argparse.Namespace) -> str:
    """Trains a supernet and its controllers, then from scratch what they found; or ranks a table by the supernet."""
    from nas import config, mirror, one_shot_run, run
    from results.outcome import write_outcome

    def report(line: str) -> None:
        if not options.quiet:
            say(line)

    cluster = _cluster(options)
    signal.signal(signal.SIGTERM, _interrupt)
    folder = options.resume or options.out or _new_folder(options.config or "one_shot")
    try:
        if options.resume:
            _check_alone(options)
            trained = one_shot_run.carry_on(folder, report)
        else:
            settings = _changed(config.load(options.config or "one_shot"), options)
            trained = one_shot_run.begin(settings, folder, report)
        if options.rank:
            return str(one_shot_run.rank(trained, options.rank, folder, report))
        report(one_shot_run.table_text(one_shot_run.read_members(folder)))
        executor = "serial" if options.serial else "ray"
        with mirror.mirrored(folder, options.mirror, _warning()):
            inner = one_shot_run.retrain(folder, trained.config, executor, _watch(options.quiet), cluster)
            return write_outcome(run.read(inner), inner)
    except KeyboardInterrupt:
        if not one_shot_run.can_carry_on(folder):
            raise Interrupted("interrupted before the first checkpoint; nothing was kept") from None
        carry_on = f"run_search.py one-shot --resume {shlex.quote(str(folder))}{_cluster_flags(options)}"
        raise Interrupted(f"interrupted; carry on with: {carry_on}") from None


def _cluster(options: argparse.Namespace) -> Cluster:
    from nas.cluster import Cluster

    if options.serial and options.address:
        raise InputError("--serial", options.address, "is the --address of a cluster, which has workers")
    return Cluster(options.address or "", options.share or "")


def _cluster_flags(options: argparse.Namespace) -> str:
    """As they were given: a run does not record where it is trained."""
    given = {name: getattr(options, name) for name in ("address", "share", "mirror")}
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in given.items() if value)


def _warning() -> Callable[[str], None]:
    """Prints a line to the standard error of now, which is not what it is while Ray runs."""
    stream = sys.stderr
    return lambda line: say(line, stream)


def _watch(quiet: bool) -> Callable[[Search], Display]:
    from nas.display import Display

    return lambda running: Display(running, sys.stdout or io.StringIO(), quiet)  # none where it was closed


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _new_folder(name: str) -> Path:
    return RUNS / f"{Path(name).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def _check_alone(options: argparse.Namespace) -> None:
    for name in ("config", "out", "simulate", *CHANGES):
        if getattr(options, name, None) is not None:
            place = name if name == "config" else f"--{name}"
            rule = "cannot be given with --resume, which takes everything from the run"
            raise InputError(place, str(getattr(options, name)), rule)


def _changed(settings: SearchConfig, options: argparse.Namespace) -> SearchConfig:
    from nas.config import SimulationConfig

    changes = {name: getattr(options, name) for name in CHANGES if getattr(options, name, None) is not None}
    if getattr(options, "simulate", None):
        changes["simulation"] = settings.simulation or SimulationConfig()
    try:
        return dataclasses.replace(settings, **changes)
    except InputError as error:
        raise InputError(f"--{error.place}", error.value, error.rule) from None


def plot(options: argparse.Namespace) -> str:
    """Tables and pictures of a run, finished or not."""
    from nas import run
    from results.outcome import write_plots

    return "\n".join(map(str, write_plots(run.read(options.run), options.run)))


def scale(options: argparse.Namespace) -> str:
    """The family of a run."""
    from nas import run
    from results.emit import emit
    from results.outcome import family_of, family_table, with_targets

    ledger = run.read(options.run)
    config = with_targets(ledger, options.target)
    if options.refine is not None:
        from results import refinement

        path = options.out or options.run / f"refine_{options.refine}.yaml"
        return refinement.write(refinement.refinement(ledger, config, options.refine), options.refine, path)
    family = family_of(ledger, config)
    emit(family, options.out or options.run / "configs")
    return family_table(family)


def coefficients(options: argparse.Namespace) -> str:
    """Scaling coefficients tried on the proxy against those that the run's configuration has."""
    from nas import coefficients as searching
    from nas import run
    from results import coefficients as tried
    from results import family, frame
    from search_space import architecture

    ledger = run.read(options.run)
    config, made = run.config_of(ledger), family.from_dict(ledger.header.config.get("family", {}))
    settings = searching.Settings(options.draws, options.seeds, made.coefficients, made.lift, made.classes)
    front = frame.selected_front(ledger).sort_values("macs")["architecture"]
    parents = searching.parents_of([architecture.from_dict(each) for each in front], config.space)
    folder = options.out or options.run / tried.FOLDER
    record = searching.search(config, parents, settings, folder, say)
    return "\n".join([tried.text(record), *map(str, tried.write(record, folder))])


def describe(options: argparse.Namespace) -> str:
    """Layers and costs of a published network or a file."""
    from results.describe import describe_json, describe_text, network_named, variant_of

    network = network_named(options.network, options.classes)
    variant = variant_of(network, options.stream)
    return json.dumps(describe_json(network, variant)) if options.json else describe_text(network, variant)


def fidelity(options: argparse.Namespace) -> str:
    """How well early accuracies, costs and scores rank the networks of a table or a run."""
    from nas import run, table
    from results import fidelity_report
    from results.fidelity import fidelity as judged

    of_run = os.path.isdir(options.table)
    found = judged(table.from_ledger(run.read(options.table)) if of_run else table.read(options.table), options.bands)
    written = fidelity_report.write(found, options.out) if options.out else []
    if options.json:
        return json.dumps(fidelity_report.as_json(found))
    return "\n".join([fidelity_report.text(found), *map(str, written)])


def score(options: argparse.Namespace) -> str:
    """Training-free scores of the networks of a table."""
    from nas import config, scores

    scores.score(config.load(options.config), options.table, options.out, options.seeds)
    return str(options.out)


def tabulate(options: argparse.Namespace) -> str:
    """A run as a benchmark table."""
    from nas import run
    from results import tabulation

    return tabulation.tabulate(run.read(options.run), options.out)


def compare(options: argparse.Namespace) -> str:
    """Search algorithms side by side."""
    on_a_table = options.benchmark.endswith((".csv", ".csv.gz"))
    for name in ("minutes", "repeats") if on_a_table else ("evaluations", "stopping"):
        if getattr(options, name) not in (None, False):
            rule = f"is of a comparison {'in training' if on_a_table else 'on a table'}, which this is not"
            raise InputError(f"--{name}", getattr(options, name), rule)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _compared_on_table(options) if on_a_table else _compared_in_training(options)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the same command carries on") from None


def _compared_on_table(options: argparse.Namespace) -> str:
    from nas import arena, table
    from nas.algorithms.catalogue import ALGORITHMS
    from results.arena_outcome import write_comparison

    read = table.read(options.benchmark)
    names = options.algorithms.split(",") if options.algorithms else [name for name in ALGORITHMS if name != "given"]
    settings = arena.Settings(150 if options.evaluations is None else options.evaluations, options.seed)
    variants = [settings, dataclasses.replace(settings, stopping=True)] if options.stopping else [settings]
    seeds = 20 if options.seeds is None else options.seeds
    played = arena.compare(read, names, seeds, variants, options.out, options.workers, _progress)
    return write_comparison(read, played, names, settings, options.out)


def _compared_in_training(options: argparse.Namespace) -> str:
    from nas import config, race
    from results import race as results

    settings = config.load(options.benchmark)
    names = tuple(options.algorithms.split(",") if options.algorithms else RACERS)
    minutes, repeats, seeds = options.minutes, options.repeats, options.seeds
    chosen = race.Race(settings, names, 20.0 if minutes is None else minutes, repeats or 2, options.seed)
    ledgers = race.compare(chosen, 3 if seeds is None else seeds, options.out, options.workers, _progress)
    return results.write(ledgers, names, chosen.minutes, options.out)


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {of} runs", end="" if done < of else "\n", file=sys.stderr, flush=True)


def reproduce(options: argparse.Namespace) -> str:
    """Whether a network of a run, trained again, does what was recorded."""
    from nas import reproduce as trainings
    from nas import run
    from results import reproduction

    ledger = run.read(options.run)
    point = trainings.point(ledger, options.point)
    trained = trainings.trained(ledger, trainings.again(ledger, point, options.repeats))
    return reproduction.text(reproduction.reproduction(ledger, point, trained), point)


COMMANDS = {
    "search": search,
    "one-shot": one_shot,
    "plot": plot,
    "scale": scale,
    "coefficients": coefficients,
    "describe": describe,
    "fidelity": fidelity,
    "score": score,
    "tabulate": tabulate,
    "compare": compare,
    "reproduce": reproduce,
}

if __name__ == "__main__":
    sys.exit(main())
