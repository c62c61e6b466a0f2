"""Commands that read a run, a table or a network, and write derived files."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable

from cli.session import listed, to_standard_error
from search_space.base.command_line import print_escaped


def plot(options: argparse.Namespace) -> str:
    """Write tables and figures of a run, finished or not."""
    from nas.loop import run_folder
    from results.figures.style import formats_of
    from results.outcome import write_plots

    formats = formats_of(options.format)
    return listed(write_plots(run_folder.read(options.run), options.run, formats), options.json)


def report(options: argparse.Namespace) -> str:
    """Write a run, finished or not, as an HTML page."""
    from nas.loop import run_folder
    from results.outcome import REPORT, write_report

    return listed([write_report(run_folder.read(options.run), options.out or options.run / REPORT)], options.json)


def scale(options: argparse.Namespace) -> str:
    """Write the family of a run."""
    from cli import json_output
    from nas.loop import run_folder
    from results.family.emit import emit
    from results.outcome import family_of, family_table, with_targets

    ledger = run_folder.read(options.run)
    config = with_targets(ledger, options.target)
    if options.refine is not None:
        from results.family import refinement

        path = options.out or options.run / f"refine_{options.refine}.yaml"
        told = refinement.write(refinement.refinement(ledger, config, options.refine), options.refine, path)
        return listed([path], True) if options.json else told
    family = family_of(ledger, config)
    # In a separate folder, to keep the configured family.
    folder = options.run / ("configs-" + "-".join(config.targets) if options.target else "configs")
    files = emit(family, options.out or folder)
    return (
        json_output.text({"family": json_output.models(family), "files": files})
        if options.json
        else family_table(family)
    )


def coefficients(options: argparse.Namespace) -> str:
    """Compare scaling coefficients on the proxy with those of the run's configuration."""
    from cli import json_output
    from nas.loop import run_folder
    from nas.studies import coefficients as searching
    from results.analysis import coefficients as tried
    from results.family import growth as family
    from results.tables import frame
    from search_space import architecture

    ledger = run_folder.read(options.run)
    config, made = run_folder.config_of(ledger), family.from_dict(ledger.header.config.get("family", {}))
    space = config.movinet_space
    settings = searching.Settings(
        options.draws, options.seeds, made.coefficients, made.lift, made.strides, made.classes
    )
    front = frame.selected_front(ledger)["architecture"]
    parents = searching.parents_of([architecture.from_dict(each) for each in front], space, made.coefficients)
    folder = options.out or options.run / tried.FOLDER
    record = searching.search(config, parents, settings, folder, _progress_printer(options.json))
    files = tried.write(record, folder)
    if options.json:
        return json_output.text(json_output.tried_coefficients(record, files))
    return "\n".join([tried.text(record), *map(str, files)])


def _progress_printer(as_data: bool) -> Callable[[str], None]:
    """Return a function that prints progress, to standard error if standard output is for data only."""
    return to_standard_error() if as_data else print_escaped


def describe(options: argparse.Namespace) -> str:
    """Describe layers and costs of a published network or a file."""
    from cli.describe import describe_json, describe_text, network_named, variant_of

    network = network_named(options.network, options.classes)
    variant = variant_of(network, options.stream)
    return json.dumps(describe_json(network, variant)) if options.json else describe_text(network, variant)


def reliability(options: argparse.Namespace) -> str:
    """Report reliability of statistics, proxy rank correlation and importance of choices for a table or a run."""
    from nas.benchmark import table
    from nas.loop import run_folder
    from results.analysis import reliability_report
    from results.analysis.reliability_report import Findings
    from results.figures.style import formats_of

    formats = formats_of(options.format)
    if os.path.isdir(options.table):
        found = Findings.of_run(run_folder.read(options.table), options.bins)
    else:
        found = Findings.of_table(table.read(options.table), options.bins)
    written = reliability_report.write(found, options.out, formats) if options.out else []
    if options.json:
        return json.dumps(reliability_report.as_json(found))
    return "\n".join([reliability_report.text(found), *map(str, written)])


def score(options: argparse.Namespace) -> str:
    """Add training-free scores to a table."""
    from nas.config import search_config
    from nas.evaluation import training_free_scores

    training_free_scores.score(search_config.load(options.config), options.table, options.out, options.seeds)
    return listed([options.out], options.json)


def tabulate(options: argparse.Namespace) -> str:
    """Write a run as a benchmark table."""
    from nas.loop import run_folder
    from results.tables import tabulation

    found = tabulation.tabulated(run_folder.read(options.run), options.out)
    return json.dumps(found) if options.json else tabulation.text(found)


def reproduce(options: argparse.Namespace) -> str:
    """Retrain a network of a run and compare it with the record."""
    from cli import json_output
    from nas.loop import run_folder
    from nas.studies import reproduce as trainings
    from results.analysis import reproduction

    ledger = run_folder.read(options.run)
    point = trainings.point(ledger, options.point)
    trained = trainings.trained(ledger, trainings.again(ledger, point, options.repeats))
    found = reproduction.reproduction(ledger, point, trained)
    return json_output.text(json_output.reproduced(found, point)) if options.json else reproduction.text(found, point)
