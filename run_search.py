"""Architecture search for mobile video networks: run a search, look at the frontier, take home A0 to A6."""

# The command line wires the packages and holds no logic; what it can be told is in results/commands.py.

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from results import commands
from results.commands import CommandParser
from search_space.choices import hint
from search_space.command_line import exit_code, mute, say
from search_space.errors import InputError

if TYPE_CHECKING:
    from nas.cluster import Cluster
    from nas.config import SearchConfig
    from nas.display import Display
    from nas.json_lines import JsonLines
    from nas.search import Search

Watch = Callable[["Search"], "Display | JsonLines"]
RUNS = Path("results/runs")
RACERS = ("frontier_search", "stratified_random")  # what `compare` trains unless told
OWN = ("movinet", "nas", "results", "search_space")  # our packages: without one of them it is our fault
CHANGES = ("workers", "seed", "trials")  # options that change a field of the configuration


class Interrupted(KeyboardInterrupt):
    """The message says how to carry on."""


def parser() -> CommandParser:
    """All commands and options."""
    return commands.parser(__doc__ or "", _version())


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
    # Matrices here are small, and threads would wait for one another; read when numpy is first imported.
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
        rule = "is not installed here; make setup makes the environment, . .venv/bin/activate enters it"
        raise InputError("library", error.name, rule) from None


def _parsed(given: list[str]) -> argparse.Namespace:
    """The options; of the command search where none is named, so that `run_search.py` alone is the default search."""
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given = ["search", *given]
    if not given[0].startswith("-") and given[0] not in COMMANDS:
        raise InputError("command", given[0], f"must be one of {', '.join(COMMANDS)}{_meant(given[0])}")
    options, unknown = parser().parse_known_args(given)
    if unknown:
        rule = "is not one of its options" if unknown[0].startswith("-") else "is one argument too many"
        raise InputError(options.command, unknown[0], rule)
    return options


def _meant(word: str) -> str:
    """What to type in place of an unknown command."""
    from nas.config import presets

    names = presets()
    if word in names or word.endswith((".yaml", ".yml")):
        return f"; did you mean 'search {word}'?"
    return hint(word, [*COMMANDS, *(f"search {name}" for name in names)])


def _printed(text: str) -> int:
    try:
        say(text)
    except OSError as error:
        mute()
        if isinstance(error, BrokenPipeError):
            return 141  # as if SIGPIPE had ended the process
        print(f"error: standard output: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def search(options: argparse.Namespace) -> str:
    """Trains what is proposed, then makes everything that is made of a ledger."""
    from nas import config, hints, mirror, run
    from results import family

    watch, cluster = _watch(options), _cluster(options)
    executor = "serial" if options.serial else "ray"
    signal.signal(signal.SIGTERM, _interrupt)
    folder = options.resume or options.out or _new_folder(options.config or "default")
    try:
        with mirror.mirrored(folder, options.mirror, _warning()):
            if options.resume:
                _check_alone(options, "hints")
                run.resume(folder, executor, watch, cluster)
            else:
                settings = _changed(config.load(options.config or "default"), options)
                settings = hints.given(settings, options.hints) if options.hints else settings
                family.from_dict(settings.family, f"{options.config}: search.family")  # not after hours of search
                run.start(settings, folder, executor, watch, cluster)
            _settle(folder, executor, watch, cluster)
            return _outcome(folder, options)
    except KeyboardInterrupt:
        if not (folder / run.LEDGER).exists():
            raise Interrupted("interrupted before the first trial; nothing was kept") from None
        carry_on = f"run_search.py search --resume {shlex.quote(str(folder))}{_cluster_flags(options)}"
        raise Interrupted(f"interrupted; carry on with: {carry_on}") from None


def _settle(folder: Path, executor: str, watch: Watch, cluster: Cluster) -> None:
    """Train scaled variants of the best parents of a finished run, if its family asks for them."""
    from nas import run
    from nas import settling as trainings
    from results import outcome, parents, settling

    ledger = run.read(folder)
    config, found = outcome.family_config(ledger), parents.of_run(ledger)
    if config.settle is None or found is None:
        return
    variants = [
        trainings.Variant(name, candidate.architecture, macs)
        for name, candidate, macs in settling.contested(found, config.targets, config.settle)
    ]
    if variants:
        plan = trainings.plan(ledger, variants, config.settle.repeats, config.coefficients)
        trainings.settle(plan, folder / settling.FOLDER, executor, watch, cluster)


def _outcome(folder: Path, options: argparse.Namespace, **more: object) -> str:
    from nas import run
    from results import as_json
    from results.outcome import write_outcome

    ledger = run.read(folder)
    text = write_outcome(ledger, folder)
    if not (options.json or options.json_lines):
        return text
    head = {"event": "outcome"} if options.json_lines else {}
    return as_json.text(head | as_json.outcome(ledger, folder) | more)


def one_shot(options: argparse.Namespace) -> str:
    """Trains a supernet and its controllers, then from scratch what they found; or ranks networks by the supernet."""
    from nas import config, mirror, one_shot_run
    from nas.hints import MAX_HINTS
    from nas.json_lines import text
    from search_space.architecture import check_integer

    def report(line: str) -> None:
        if not (options.quiet or options.json):
            say(text({"event": "note", "text": line}) if options.json_lines else line)

    cluster = _cluster(options)
    if options.hints is not None:
        check_integer("--hints", options.hints, 1, MAX_HINTS)
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
            ranked = one_shot_run.rank(trained, options.rank, folder, report)
            return _files([ranked], options.json or options.json_lines)
        if options.hints is not None:
            hinted = one_shot_run.hint(trained, options.hints, folder, report)
            return _files([hinted], options.json or options.json_lines)
        found = one_shot_run.read_members(folder)
        report(one_shot_run.table_text(found))
        executor = "serial" if options.serial else "ray"
        with mirror.mirrored(folder, options.mirror, _warning()):
            inner = one_shot_run.retrain(folder, trained.config, executor, _watch(options), cluster)
            return _outcome(inner, options, supernet=[vars(each) for each in found])
    except KeyboardInterrupt:
        if not one_shot_run.can_carry_on(folder):
            raise Interrupted("interrupted before the first checkpoint; nothing was kept") from None
        carry_on = f"run_search.py one-shot --resume {shlex.quote(str(folder))}{_cluster_flags(options)}"
        raise Interrupted(f"interrupted; carry on with: {carry_on}") from None


def _files(paths: Sequence[Path], as_data: bool) -> str:
    """What was written."""
    return json.dumps({"files": list(map(str, paths))}) if as_data else "\n".join(map(str, paths))


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


def _watch(options: argparse.Namespace) -> Watch:
    from nas.display import Display
    from nas.json_lines import JsonLines

    def watch(running: Search) -> Display | JsonLines:
        stream = sys.stdout or io.StringIO()  # none where it was closed
        quiet = options.quiet or options.json
        return JsonLines(running, stream) if options.json_lines else Display(running, stream, quiet)

    return watch


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _new_folder(name: str) -> Path:
    return RUNS / f"{Path(name).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def _check_alone(options: argparse.Namespace, *more: str) -> None:
    for name in ("config", "out", "simulate", "tensorboard", *more, *CHANGES):
        if getattr(options, name, None) is not None:
            place = name if name == "config" else f"--{name}"
            rule = "cannot be given with --resume, which takes everything from the run"
            raise InputError(place, str(getattr(options, name)), rule)


def _changed(settings: SearchConfig, options: argparse.Namespace) -> SearchConfig:
    from nas.config import SimulationConfig

    changes = {name: getattr(options, name) for name in CHANGES if getattr(options, name, None) is not None}
    if getattr(options, "simulate", None):
        changes["simulation"] = settings.simulation or SimulationConfig()
    if getattr(options, "tensorboard", None):
        changes["tracking"] = dataclasses.replace(settings.tracking, tensorboard=True)
    try:
        return dataclasses.replace(settings, **changes)
    except InputError as error:
        raise InputError(f"--{error.place}", error.value, error.rule) from None


def plot(options: argparse.Namespace) -> str:
    """Tables and pictures of a run, finished or not."""
    from nas import run
    from results.figure_style import formats_of
    from results.outcome import write_plots

    formats = formats_of(options.format)
    return _files(write_plots(run.read(options.run), options.run, formats), options.json)


def report(options: argparse.Namespace) -> str:
    """A run as an HTML page, finished or not."""
    from nas import run
    from results.outcome import REPORT, write_report

    return _files([write_report(run.read(options.run), options.out or options.run / REPORT)], options.json)


def scale(options: argparse.Namespace) -> str:
    """The family of a run."""
    from nas import run
    from results import as_json
    from results.emit import emit
    from results.outcome import family_of, family_table, with_targets

    ledger = run.read(options.run)
    config = with_targets(ledger, options.target)
    if options.refine is not None:
        from results import refinement

        path = options.out or options.run / f"refine_{options.refine}.yaml"
        told = refinement.write(refinement.refinement(ledger, config, options.refine), options.refine, path)
        return _files([path], True) if options.json else told
    family = family_of(ledger, config)
    # In a folder of its own: the configured family stays whole.
    folder = options.run / ("configs-" + "-".join(config.targets) if options.target else "configs")
    files = emit(family, options.out or folder)
    return as_json.text({"family": as_json.models(family), "files": files}) if options.json else family_table(family)


def coefficients(options: argparse.Namespace) -> str:
    """Scaling coefficients tried on the proxy against those that the run's configuration has."""
    from nas import coefficients as searching
    from nas import run
    from results import as_json, family, frame
    from results import coefficients as tried
    from search_space import architecture

    ledger = run.read(options.run)
    config, made = run.config_of(ledger), family.from_dict(ledger.header.config.get("family", {}))
    settings = searching.Settings(
        options.draws, options.seeds, made.coefficients, made.lift, made.strides, made.classes
    )
    front = frame.selected_front(ledger).sort_values("macs")["architecture"]
    parents = searching.parents_of([architecture.from_dict(each) for each in front], config.space, made.coefficients)
    folder = options.out or options.run / tried.FOLDER
    record = searching.search(config, parents, settings, folder, _told_apart(options.json))
    files = tried.write(record, folder)
    if options.json:
        return as_json.text(as_json.tried_coefficients(record, files))
    return "\n".join([tried.text(record), *map(str, files)])


def _told_apart(as_data: bool) -> Callable[[str], None]:
    """Prints progress: to standard error where data alone is to be on standard output."""
    return _warning() if as_data else say


def describe(options: argparse.Namespace) -> str:
    """Layers and costs of a published network or a file."""
    from results.describe import describe_json, describe_text, network_named, variant_of

    network = network_named(options.network, options.classes)
    variant = variant_of(network, options.stream)
    return json.dumps(describe_json(network, variant)) if options.json else describe_text(network, variant)


def reliability(options: argparse.Namespace) -> str:
    """Reliability of the statistics of a table or a run, what ranks its networks, and which choices matter."""
    from nas import run, table
    from results import reliability_report
    from results.figure_style import formats_of
    from results.reliability_report import Findings

    formats = formats_of(options.format)
    if os.path.isdir(options.table):
        found = Findings.of_run(run.read(options.table), options.bins)
    else:
        found = Findings.of_table(table.read(options.table), options.bins)
    written = reliability_report.write(found, options.out, formats) if options.out else []
    if options.json:
        return json.dumps(reliability_report.as_json(found))
    return "\n".join([reliability_report.text(found), *map(str, written)])


def score(options: argparse.Namespace) -> str:
    """Training-free scores of the networks of a table."""
    from nas import config, scores

    scores.score(config.load(options.config), options.table, options.out, options.seeds)
    return _files([options.out], options.json)


def tabulate(options: argparse.Namespace) -> str:
    """A run as a benchmark table."""
    from nas import run
    from results import tabulation

    found = tabulation.tabulated(run.read(options.run), options.out)
    return json.dumps(found) if options.json else tabulation.text(found)


def compare(options: argparse.Namespace) -> str:
    """Search algorithms side by side.

    Raises:
      InputError: an option of the other kind of comparison.
    """
    on_a_table = options.benchmark.endswith((".csv", ".csv.gz"))
    for name in ("minutes", "repeats") if on_a_table else ("evaluations", "stopping", "statistic"):
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
    from results import as_json
    from results.arena_outcome import write_comparison
    from results.figure_style import formats_of

    formats = formats_of(options.format)
    read = table.read(options.benchmark)
    names = options.algorithms.split(",") if options.algorithms else [name for name in ALGORITHMS if name != "given"]
    evaluations = 150 if options.evaluations is None else options.evaluations
    settings = arena.Settings(evaluations, options.seed, statistic=options.statistic or read.usual_statistic)
    variants = [settings, dataclasses.replace(settings, stopping=True)] if options.stopping else [settings]
    seeds = 20 if options.seeds is None else options.seeds
    played = arena.compare(read, names, seeds, variants, options.out, options.workers, _progress)
    told = write_comparison(read, played, names, settings, options.out, formats)
    tables = ["summary", "stopping"] if options.stopping else ["summary"]
    return as_json.text(as_json.tables(options.out, tables)) if options.json else told


def _compared_in_training(options: argparse.Namespace) -> str:
    from nas import config, race
    from results import as_json
    from results import race as results
    from results.figure_style import formats_of

    formats = formats_of(options.format)
    settings = config.load(options.benchmark)
    names = tuple(options.algorithms.split(",") if options.algorithms else RACERS)
    minutes, repeats, seeds = options.minutes, options.repeats, options.seeds
    chosen = race.Race(settings, names, 20.0 if minutes is None else minutes, repeats or 2, options.seed)
    ledgers = race.compare(chosen, 3 if seeds is None else seeds, options.out, options.workers, _progress)
    told = results.write(ledgers, names, chosen.minutes, options.out, formats)
    return as_json.text(as_json.tables(options.out, ("summary", "runs"))) if options.json else told


def compare_runs(options: argparse.Namespace) -> str:
    """Fronts of several runs, pooled, beside the published networks or the fronts of other runs.

    Raises:
      InputError: runs that cannot be compared, or two baselines.
    """
    import numpy as np

    from nas import run
    from results import as_json, comparison_plot, comparison_text, outcome
    from results.comparison import compare
    from search_space.architecture import check_integer

    check_integer("--seed", options.seed, 0, 2**63 - 1)
    runs, against = ([run.read(folder) for folder in group] for group in (options.runs, options.against or []))
    published_by = run.read(options.published) if options.published else None
    if published_by and against:
        raise InputError("--published", str(options.published), "is another baseline than --against; give one of them")
    found = compare(runs, np.random.default_rng(options.seed), against, published_by=published_by)
    if options.figure:
        comparison_plot.write(runs, against, options.figure, np.random.default_rng(options.seed), published_by)
    if options.out:
        outcome.write_json(found, options.out)
    return as_json.text(dataclasses.asdict(found)) if options.json else comparison_text.text(found)


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {of} runs", end="" if done < of else "\n", file=sys.stderr, flush=True)


def reproduce(options: argparse.Namespace) -> str:
    """Whether a network of a run, trained again, does what was recorded."""
    from nas import reproduce as trainings
    from nas import run
    from results import as_json, reproduction

    ledger = run.read(options.run)
    point = trainings.point(ledger, options.point)
    trained = trainings.trained(ledger, trainings.again(ledger, point, options.repeats))
    found = reproduction.reproduction(ledger, point, trained)
    return as_json.text(as_json.reproduced(found, point)) if options.json else reproduction.text(found, point)


def validate(options: argparse.Namespace) -> str:
    """How the networks of a run compare after long trainings, and scaled to more FLOPs."""
    from nas import mirror, run
    from nas import validation as trainings
    from results import as_json, validation
    from results.figure_style import formats_of
    from results.outcome import family_config

    formats, watch, cluster = formats_of(options.format), _watch(options), _cluster(options)
    executor = "serial" if options.serial else "ray"
    ledger = run.read(options.run)
    given = {name: getattr(options, name) for name in ("scale", "repeats", "train_clips")}
    given = {name: value for name, value in given.items() if value is not None}
    settings = trainings.Settings(options.steps_factor, coefficients=family_config(ledger).coefficients, **given)
    folder = trainings.folder_of(options.run, settings.steps_factor)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with mirror.mirrored(folder, options.mirror, _warning()):
            if options.resume:
                _check_alone(options, "scale", "repeats", "train_clips")
                trainings.resume(folder, executor, watch, cluster)
            else:
                trainings.start(ledger, settings, folder, executor, watch, cluster, options.workers)
            found = validation.validation(ledger, run.read(folder))
            data = as_json.text(validation.plain(found))
            files = validation.write(found, data, folder, formats)
    except KeyboardInterrupt:
        if not (folder / run.LEDGER).exists():
            raise Interrupted("interrupted before the first training; nothing was kept") from None
        again = (
            f"run_search.py validate {shlex.quote(str(options.run))} --steps-factor {settings.steps_factor:g} --resume"
        )
        raise Interrupted(f"interrupted; resume with: {again}{_cluster_flags(options)}") from None
    if options.json or options.json_lines:
        head = {"event": "outcome"} if options.json_lines else {}
        return as_json.text({**head, "run": folder, **validation.plain(found), "files": files})
    return "\n".join([validation.text(found), "", *map(str, files)])


def completion(options: argparse.Namespace) -> str:
    """A script by which a shell completes this command line."""
    from nas import config
    from results.completion import script

    return script(parser(), options.shell, config.presets())


COMMANDS = {
    "search": search,
    "one-shot": one_shot,
    "plot": plot,
    "report": report,
    "scale": scale,
    "coefficients": coefficients,
    "describe": describe,
    "reliability": reliability,
    "score": score,
    "tabulate": tabulate,
    "compare": compare,
    "compare-runs": compare_runs,
    "reproduce": reproduce,
    "validate": validate,
    "completion": completion,
}

if __name__ == "__main__":
    sys.exit(main())
