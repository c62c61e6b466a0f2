"""Commands that read a run, a table or a network, and write what is made of it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable

from cli.session import listed, to_standard_error
from search_space.base.command_line import print_escaped


def plot(options: argparse.Namespace) -> str:
    """Tables and pictures of a run, finished or not."""
    from nas.loop import run_folder
    from results.figures.style import formats_of
    from results.outcome import write_plots

    formats = formats_of(options.format)
    return listed(write_plots(run_folder.read(options.run), options.run, formats), options.json)


def report(options: argparse.Namespace) -> str:
    """A run as an HTML page, finished or not."""
    from nas.loop import run_folder
    from results.outcome import REPORT, write_report

    return listed([write_report(run_folder.read(options.run), options.out or options.run / REPORT)], options.json)


def scale(options: argparse.Namespace) -> str:
    """The family of a run."""
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
    # In a folder of its own: the configured family stays whole.
    folder = options.run / ("configs-" + "-".join(config.targets) if options.target else "configs")
    files = emit(family, options.out or folder)
    return (
        json_output.text({"family": json_output.models(family), "files": files})
        if options.json
        else family_table(family)
    )


def coefficients(options: argparse.Namespace) -> str:
    """Scaling coefficients tried on the proxy against those that the run's configuration has."""
    from cli import json_output
    from nas.loop import run_folder
    from nas.studies import coefficients as searching
    from results.analysis import coefficients as tried
    from results.family import growth as family
    from results.tables import frame
    from search_space import architecture

    ledger = run_folder.read(options.run)
    config, made = run_folder.config_of(ledger), family.from_dict(ledger.header.config.get("family", {}))
    settings = searching.Settings(
        options.draws, options.seeds, made.coefficients, made.lift, made.strides, made.classes
    )
    front = frame.selected_front(ledger)["architecture"]
    parents = searching.parents_of([architecture.from_dict(each) for each in front], config.space, made.coefficients)
    folder = options.out or options.run / tried.FOLDER
    record = searching.search(config, parents, settings, folder, _told_apart(options.json))
    files = tried.write(record, folder)
    if options.json:
        return json_output.text(json_output.tried_coefficients(record, files))
    return "\n".join([tried.text(record), *map(str, files)])


def _told_apart(as_data: bool) -> Callable[[str], None]:
    """Prints progress: to standard error where data alone is to be on standard output."""
    return to_standard_error() if as_data else print_escaped


def describe(options: argparse.Namespace) -> str:
    """Layers and costs of a published network or a file."""
    from cli.describe import describe_json, describe_text, network_named, variant_of

    network = network_named(options.network, options.classes)
    variant = variant_of(network, options.stream)
    return json.dumps(describe_json(network, variant)) if options.json else describe_text(network, variant)


def reliability(options: argparse.Namespace) -> str:
    """Reliability of the statistics of a table or a run, what ranks its networks, and which choices matter."""
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
    """Training-free scores of the networks of a table."""
    from nas.config import search_config
    from nas.evaluation import training_free_scores

    training_free_scores.score(search_config.load(options.config), options.table, options.out, options.seeds)
    return listed([options.out], options.json)


def tabulate(options: argparse.Namespace) -> str:
    """A run as a benchmark table."""
    from nas.loop import run_folder
    from results.tables import tabulation

    found = tabulation.tabulated(run_folder.read(options.run), options.out)
    return json.dumps(found) if options.json else tabulation.text(found)


def reproduce(options: argparse.Namespace) -> str:
    """Trains a network of a run again and compares it with the record."""
    from cli import json_output
    from nas.loop import run_folder
    from nas.studies import reproduce as trainings
    from results.analysis import reproduction

    ledger = run_folder.read(options.run)
    point = trainings.point(ledger, options.point)
    trained = trainings.trained(ledger, trainings.again(ledger, point, options.repeats))
    found = reproduction.reproduction(ledger, point, trained)
    return json_output.text(json_output.reproduced(found, point)) if options.json else reproduction.text(found, point)
