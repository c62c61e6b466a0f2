"""Commands that compare search algorithms or runs."""

from __future__ import annotations

import argparse
import dataclasses
import signal

from cli.session import Interrupted, interrupt, progress
from search_space.base.errors import InputError

TRAINED = ("frontier_search", "stratified_random")  # algorithms that `compare` trains by default


def compare(options: argparse.Namespace) -> str:
    """Compare search algorithms.

    Raises:
      InputError: an option of the other kind of comparison.
    """
    on_a_table = options.benchmark.endswith((".csv", ".csv.gz"))
    for name in ("minutes", "repeats") if on_a_table else ("evaluations", "stopping", "statistic"):
        if getattr(options, name) not in (None, False):
            rule = f"is an option only of a comparison {'in training' if on_a_table else 'on a table'}"
            raise InputError(f"--{name}", getattr(options, name), rule)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return _compared_on_table(options) if on_a_table else _compared_in_training(options)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the same command resumes it") from None


def _compared_on_table(options: argparse.Namespace) -> str:
    from cli import json_output
    from nas.algorithms.registry import ALGORITHMS
    from nas.benchmark import table, table_comparison
    from results.comparison.on_table_files import write_comparison
    from results.figures.style import formats_of

    formats = formats_of(options.format)
    read = table.read(options.benchmark)
    names = options.algorithms.split(",") if options.algorithms else [name for name in ALGORITHMS if name != "given"]
    evaluations = 150 if options.evaluations is None else options.evaluations
    settings = table_comparison.Settings(evaluations, options.seed, statistic=options.statistic or read.usual_statistic)
    variants = [settings, dataclasses.replace(settings, stopping=True)] if options.stopping else [settings]
    seeds = 20 if options.seeds is None else options.seeds
    played = table_comparison.compare(read, names, seeds, variants, options.out, options.workers, progress)
    told = write_comparison(read, played, names, settings, options.out, formats)
    tables = ["summary", "stopping"] if options.stopping else ["summary"]
    return json_output.text(json_output.tables(options.out, tables)) if options.json else told


def _compared_in_training(options: argparse.Namespace) -> str:
    from cli import json_output
    from nas.benchmark import timed_comparison
    from nas.config import search_config
    from results.comparison import timed as results
    from results.figures.style import formats_of

    formats = formats_of(options.format)
    settings = search_config.load(options.benchmark)
    names = tuple(options.algorithms.split(",") if options.algorithms else TRAINED)
    minutes, seeds = options.minutes, options.seeds
    repeats = 2 if options.repeats is None else options.repeats
    chosen = timed_comparison.TimedComparison(
        settings, names, 20.0 if minutes is None else minutes, repeats, options.seed
    )
    ledgers = timed_comparison.compare(chosen, 3 if seeds is None else seeds, options.out, options.workers, progress)
    told = results.write(ledgers, names, chosen.minutes, options.out, formats)
    return json_output.text(json_output.tables(options.out, ("summary", "runs"))) if options.json else told


def compare_runs(options: argparse.Namespace) -> str:
    """Compare the pooled fronts of several runs with the published networks or the fronts of other runs.

    Raises:
      InputError: runs that cannot be compared, or two baselines.
    """
    import numpy as np

    from cli import json_output
    from nas.loop import run_folder
    from results import outcome
    from results.comparison import runs_text
    from results.comparison.runs import compare
    from results.figures import runs_comparison
    from search_space.base.checks import check_integer

    check_integer("--seed", options.seed, 0, 2**63 - 1)
    runs, against = ([run_folder.read(folder) for folder in group] for group in (options.runs, options.against or []))
    published_by = run_folder.read(options.published) if options.published else None
    if published_by and against:
        raise InputError("--published", str(options.published), "cannot be combined with --against; use one of them")
    found = compare(runs, np.random.default_rng(options.seed), against, published_by=published_by)
    if options.figure:
        runs_comparison.write(runs, against, options.figure, np.random.default_rng(options.seed), published_by)
    if options.out:
        outcome.write_json(found, options.out)
    return json_output.text(dataclasses.asdict(found)) if options.json else runs_text.text(found)
