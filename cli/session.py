"""Common parts of commands: folders, progress, interruptions and options."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search_space.base.command_line import print_escaped
from search_space.base.errors import InputError

if TYPE_CHECKING:
    from nas.config.search_config import SearchConfig
    from nas.execution.ray_cluster import Cluster
    from nas.loop.search import Search
    from nas.monitor.display import Display
    from nas.monitor.json_lines import JsonLines

Watch = Callable[["Search"], "Display | JsonLines"]
RUNS = Path("results/runs")
CHANGES = ("workers", "seed", "trials")  # options that change a field of the configuration


class Interrupted(KeyboardInterrupt):
    """A command was interrupted; the message has the command to resume."""


def listed(paths: Sequence[Path], as_data: bool) -> str:
    """Return the paths of written files, as lines or as JSON."""
    return json.dumps({"files": list(map(str, paths))}) if as_data else "\n".join(map(str, paths))


def cluster_of(options: argparse.Namespace) -> Cluster:
    """Return the cluster that `--address` and `--share` name, or this machine."""
    from nas.execution.ray_cluster import Cluster

    if options.serial and options.address:
        raise InputError("--serial", options.address, "is the --address of a cluster, which requires workers")
    return Cluster(options.address or "", options.share or "")


def cluster_flags(options: argparse.Namespace) -> str:
    """Return the options for a cluster as text, because a run does not record where it is trained."""
    given = {name: getattr(options, name) for name in ("address", "share", "mirror")}
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in given.items() if value)


def to_standard_error() -> Callable[[str], None]:
    """Return a function that prints a line to the current standard error, which Ray replaces while it runs."""
    stream = sys.stderr
    return lambda line: print_escaped(line, stream)


def watch_of(options: argparse.Namespace) -> Watch:
    """Return the display of a search that the options select."""
    from nas.monitor.display import Display
    from nas.monitor.json_lines import JsonLines

    def watch(running: Search) -> Display | JsonLines:
        stream = sys.stdout or io.StringIO()  # None if it was closed
        quiet = options.quiet or options.json
        return JsonLines(running, stream) if options.json_lines else Display(running, stream, quiet)

    return watch


def interrupt(number: int, frame: object) -> None:
    """End a command on SIGTERM as on ctrl-C."""
    raise KeyboardInterrupt


def new_folder(name: str) -> Path:
    """Return a folder for a run without `--out`."""
    return RUNS / f"{Path(name).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def check_alone(options: argparse.Namespace, *more: str) -> None:
    """Raise `InputError` for an option that a resumed run reads from its folder."""
    for name in ("config", "out", "simulate", "tensorboard", *more, *CHANGES):
        if getattr(options, name, None) is not None:
            place = name if name == "config" else f"--{name}"
            rule = "cannot be combined with --resume, which uses the settings of the run"
            raise InputError(place, str(getattr(options, name)), rule)


def changed(settings: SearchConfig, options: argparse.Namespace) -> SearchConfig:
    """Return the configuration with the changes by options."""
    from nas.config.sections import SimulationConfig

    changes = {name: getattr(options, name) for name in CHANGES if getattr(options, name, None) is not None}
    if getattr(options, "simulate", None):
        changes["simulation"] = settings.simulation or SimulationConfig()
    if getattr(options, "tensorboard", None):
        changes["tracking"] = dataclasses.replace(settings.tracking, tensorboard=True)
    try:
        return dataclasses.replace(settings, **changes)
    except InputError as error:
        raise InputError(f"--{error.place}", error.value, error.rule) from None


def progress(done: int, of: int) -> None:
    """Show the number of finished runs, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{done} of {of} runs", end="" if done < of else "\n", file=sys.stderr, flush=True)
