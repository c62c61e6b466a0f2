"""Commands that train networks: search, one-shot, validate."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import signal
from pathlib import Path

from cli.session import (
    Interrupted,
    changed,
    check_alone,
    cluster_flags,
    cluster_of,
    interrupt,
    listed,
    new_folder,
    to_standard_error,
    watch_of,
)
from search_space.base.command_line import print_escaped


def search(options: argparse.Namespace) -> str:
    """Run a search, then write all derived files."""
    from movinet_nas import runs
    from nas.config import search_config
    from nas.execution import object_store
    from nas.loop import run_folder
    from nas.one_shot import hints
    from results.family import growth
    from search_space.base.yaml_file import located

    if options.plan:
        return _plan(options)
    watch, cluster = watch_of(options), cluster_of(options)
    executor = "serial" if options.serial else "ray"
    signal.signal(signal.SIGTERM, interrupt)
    folder = options.resume or options.out or new_folder(options.config or "default")
    try:
        with object_store.mirrored(folder, options.mirror, to_standard_error()):
            if options.resume:
                check_alone(options, "hints")
                run_folder.resume(folder, executor, watch, cluster)
            else:
                settings = changed(search_config.load(options.config or "default"), options)
                settings = hints.given(settings, options.hints) if options.hints else settings
                with located(options.config or "default", "search"):
                    growth.checked(settings.family, settings.space, "search.family")
                    run_folder.start(settings, folder, executor, watch, cluster)
            runs.settle(folder, executor, watch, cluster)
            return _outcome(folder, options)
    except KeyboardInterrupt:
        if not (folder / run_folder.LEDGER).exists():
            raise Interrupted("interrupted before the first trial; no files were kept") from None
        resume = f"run_search.py search --resume {shlex.quote(str(folder))}{cluster_flags(options)}"
        raise Interrupted(f"interrupted; resume with: {resume}") from None


def _plan(options: argparse.Namespace) -> str:
    from cli import json_output
    from nas.config import search_config
    from nas.planning import plan
    from results.family import growth
    from search_space.base.errors import InputError
    from search_space.base.yaml_file import located

    if options.resume:
        raise InputError("--plan", str(options.resume), "is a run that has begun; plan the configuration in its folder")
    name = options.config or "default"
    settings = changed(search_config.load(name), options)
    with located(name, "search"):
        growth.checked(settings.family, settings.space, "search.family")
        made = plan.plan(dataclasses.replace(settings, workers=1) if options.serial else settings)
    return json_output.text(plan.plain(made)) if options.json or options.json_lines else plan.text(made)


def _outcome(folder: Path, options: argparse.Namespace, **more: object) -> str:
    from cli import json_output
    from nas.loop import run_folder
    from results.outcome import write_outcome

    ledger = run_folder.read(folder)
    text = write_outcome(ledger, folder)
    if not (options.json or options.json_lines):
        return text
    head = {"event": "outcome"} if options.json_lines else {}
    return json_output.text(head | json_output.outcome(ledger, folder) | more)


def one_shot(options: argparse.Namespace) -> str:
    """Train a supernet and controllers, then their networks from scratch; or rank networks by the supernet."""
    from nas.config import search_config
    from nas.execution import object_store
    from nas.monitor.json_lines import text
    from nas.one_shot import run as one_shot_run
    from nas.one_shot.hints import MAX_HINTS
    from results.family import growth
    from search_space.base.checks import check_integer
    from search_space.base.yaml_file import located

    def report(line: str) -> None:
        if not (options.quiet or options.json):
            print_escaped(text({"event": "note", "text": line}) if options.json_lines else line)

    cluster = cluster_of(options)
    if options.hints is not None:
        check_integer("--hints", options.hints, 1, MAX_HINTS)
    signal.signal(signal.SIGTERM, interrupt)
    folder = options.resume or options.out or new_folder(options.config or "one_shot")
    try:
        if options.resume:
            check_alone(options)
            trained = one_shot_run.resume(folder, report)
        else:
            settings = changed(search_config.load(options.config or "one_shot"), options)
            with located(options.config or "one_shot", "search"):
                growth.checked(settings.family, settings.movinet_space, "search.family")
            trained = one_shot_run.begin(settings, folder, report)
        if options.rank:
            ranked = one_shot_run.rank(trained, options.rank, folder, report)
            return listed([ranked], options.json or options.json_lines)
        if options.hints is not None:
            hinted = one_shot_run.hint(trained, options.hints, folder, report)
            return listed([hinted], options.json or options.json_lines)
        found = one_shot_run.read_members(folder)
        report(one_shot_run.table_text(found))
        executor = "serial" if options.serial else "ray"
        with object_store.mirrored(folder, options.mirror, to_standard_error()):
            inner = one_shot_run.retrain(folder, trained.config, executor, watch_of(options), cluster)
            return _outcome(inner, options, supernet=[vars(each) for each in found])
    except KeyboardInterrupt:
        if not one_shot_run.can_resume(folder):
            raise Interrupted("interrupted before the first checkpoint; no files were kept") from None
        resume = f"run_search.py one-shot --resume {shlex.quote(str(folder))}{cluster_flags(options)}"
        raise Interrupted(f"interrupted; resume with: {resume}") from None


def validate(options: argparse.Namespace) -> str:
    """Compare the networks of a run after longer trainings, and scaled to more FLOPs."""
    from cli import json_output
    from nas.execution import object_store
    from nas.loop import run_folder
    from nas.studies import validation as trainings
    from results.analysis import validation
    from results.figures.style import formats_of
    from results.outcome import family_config

    formats, watch, cluster = formats_of(options.format), watch_of(options), cluster_of(options)
    executor = "serial" if options.serial else "ray"
    ledger = run_folder.read(options.run)
    given = {name: getattr(options, name) for name in ("scale", "repeats", "train_clips")}
    given = {name: value for name, value in given.items() if value is not None}
    settings = trainings.Settings(options.steps_factor, coefficients=family_config(ledger).coefficients, **given)
    folder = trainings.folder_of(options.run, settings.steps_factor)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        with object_store.mirrored(folder, options.mirror, to_standard_error()):
            if options.resume:
                check_alone(options, "scale", "repeats", "train_clips")
                trainings.resume(folder, executor, watch, cluster)
            else:
                trainings.start(ledger, settings, folder, executor, watch, cluster, options.workers)
            found = validation.validation(ledger, run_folder.read(folder))
            data = json_output.text(validation.plain(found))
            files = validation.write(found, data, folder, formats)
    except KeyboardInterrupt:
        if not (folder / run_folder.LEDGER).exists():
            raise Interrupted("interrupted before the first training; no files were kept") from None
        again = (
            f"run_search.py validate {shlex.quote(str(options.run))} --steps-factor {settings.steps_factor:g} --resume"
        )
        raise Interrupted(f"interrupted; resume with: {again}{cluster_flags(options)}") from None
    if options.json or options.json_lines:
        head = {"event": "outcome"} if options.json_lines else {}
        return json_output.text({**head, "run": folder, **validation.plain(found), "files": files})
    return "\n".join([validation.text(found), "", *map(str, files)])
