"""A run's folder: start, resume, and protection against a second process.

config.yaml  ledger.jsonl  run.lock        written here
everything else                            derived from the event log, by `results`
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from nas.config import search_config
from nas.config.search_config import SearchConfig
from nas.config.searched_task import task_of
from nas.evaluation.proxy_trainer import open_made
from nas.evaluation.simulation import DATA_HASH, Simulation, check_can_fail, evaluator
from nas.execution import node_data, ray_scratch
from nas.execution.ray_cluster import ALONE, Cluster
from nas.loop import signals
from nas.loop.algorithm import check
from nas.loop.run_lock import RunLock
from nas.loop.search import Search
from nas.monitor import trackers
from nas.planning import gpus
from nas.record import ledger as ledgers
from nas.record.events import Resumed
from nas.record.ledger import Header, Ledger
from nas.record.ledger_writer import LedgerWriter
from search_space.base import untrusted_files
from search_space.base.errors import InputError
from search_space.network import yaml_text

LEDGER = "ledger.jsonl"
CONFIG = "config.yaml"
LOCK = "run.lock"
EXECUTORS = ("ray", "serial")
Watch = Callable[[Search], contextlib.AbstractContextManager[object]]


def versions() -> dict[str, str]:
    """Return versions of Python and of the libraries that can change a result."""
    names = ("movinet-nas", "tensorflow", "keras", "ray", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def read(folder: Path) -> Ledger:
    """Return the event log of the run in `folder`; `InputError` if there is none."""
    if not os.path.isdir(folder):
        raise InputError("run", str(folder), "is not a folder")
    if not os.path.exists(folder / LEDGER):
        raise InputError("run", str(folder), f"is not the folder of a run: it has no {LEDGER}")
    untrusted_files.check_no_links(folder)
    return ledgers.read(folder / LEDGER)


def config_of(ledger: Ledger) -> SearchConfig:
    """Return the configuration with which a run was started."""
    return search_config.from_dict(ledger.header.config, f"{ledger.path}:1: config")


def data_of(ledger: Ledger) -> Any:
    """Return the data set of a run, None if it is simulated; `InputError` if its content has changed.

    The whole data set is read for this check.
    """
    config = config_of(ledger)
    data = _opened(config)
    if data is not None:
        data = open_made(str(data.path), verify=True)
    found = _hash(config, data)
    if found != ledger.header.data_hash:
        rule = f"differs from the run's {ledger.header.data_hash}: its clips have changed"
        raise InputError(f"data of {ledger.path.parent}", found, rule)
    return data


def _opened(config: SearchConfig) -> Any:
    """Return the data set, created if missing; None for a simulation, whose table is checked here."""
    if config.simulation is None:
        return task_of(config).opened()
    Simulation(config)
    return None


def _hash(config: SearchConfig, data: Any) -> str:
    return DATA_HASH if config.simulation is not None else task_of(config).content_hash(data)


def _chance(config: SearchConfig, data: Any) -> float:
    """Return the validation accuracy of always predicting the most frequent class; 0 for a simulation."""
    if config.simulation is not None:
        return 0.0
    labels = task_of(config).validation_labels(data).tolist()
    return max(Counter(labels).values()) / len(labels)


def start(config: SearchConfig, folder: Path, executor: str, watch: Watch, cluster: Cluster = ALONE) -> None:
    """Run a search in a new or empty folder.

    Args:
      config: configuration of the search.
      folder: of the run.
      executor: one of `EXECUTORS`.
      watch: returns a context for the search, such as a display.
      cluster: to join, for the executor "ray".

    Raises:
      InputError: the folder is not empty or cannot be written, or the data is invalid.
    """
    _check_new(folder)
    check_can_fail(config.simulation, executor)
    trackers.check(config.tracking, executor)
    check(config)
    data = _opened(config)
    cluster = _prepared(cluster, executor, data)
    with _made(folder), RunLock(folder) as lock, contextlib.ExitStack() as undo:
        _check_new(folder)  # from here on no other process can start a run in it
        undo.callback(_remove, lock.path, folder / LEDGER, folder / CONFIG)
        header = Header(
            search_config.to_dict(config), versions(), config.seed, _hash(config, data), chance=_chance(config, data)
        )
        with LedgerWriter.create(folder / LEDGER, header) as writer:
            _write_config(folder / CONFIG, search_config.to_dict(config))
            search = Search(config, writer)
            try:
                _execute(search, data, executor, watch, cluster)
            finally:
                # Otherwise no trial was started, as when trials request more than the machine has. The event log
                # decides,
                # because an interrupted search may have written its first proposal without counting it.
                if search.proposals or read(folder).proposals:
                    undo.pop_all()


def resume(folder: Path, executor: str, watch: Watch, cluster: Cluster = ALONE) -> None:
    """Resume a run from its event log: finished trials are neither lost nor trained twice.

    Raises:
      InputError: no run in the folder, another process uses it, or its data has changed.
    """
    ledger = read(folder)
    config = config_of(ledger)
    check_can_fail(config.simulation, executor)
    trackers.check(config.tracking, executor)
    check(config)
    data = data_of(ledger)
    cluster = _prepared(cluster, executor, data)
    # Nothing is written before all of these checks.
    with RunLock(folder), LedgerWriter.open_for_append(folder / LEDGER) as writer:
        search = _resumed(config, writer, read(folder))
        if not search.finished:
            writer.append(Resumed(versions()))
        _execute(search, data, executor, watch, cluster)


def _prepared(cluster: Cluster, executor: str, data: Any) -> Cluster:
    """Check the cluster and prepare its nodes, before anything is written."""
    if executor != "ray":
        return cluster
    if data is not None and cluster.share:
        node_data.share(Path(data.path), data.content_hash, cluster.share)
    return cluster.prepared()


def _resumed(config: SearchConfig, writer: LedgerWriter, ledger: Ledger) -> Search:
    try:
        return Search(config, writer, ledger.events)
    except InputError as error:  # the events do not fit the configuration
        raise InputError(f"{ledger.path}: {error.place}", error.value, error.rule) from None


def _execute(search: Search, data: Any, executor: str, watch: Watch, cluster: Cluster) -> None:
    """Execute the search; raise `KeyboardInterrupt` if it was stopped before its end."""
    ray_scratch.clear(ray_scratch.folder_of(search.ledger.path.parent))  # left by a killed run
    with watch(search), trackers.tracked(search), signals.gently(search.drain, "running trials are finished"):
        if not search.proposals:
            idle = gpus.idle(search.config.resources.gpus) if search.config.simulation is None else None
            for text in [*filter(None, [idle]), *search.task.notes(data)]:
                search.note(text)
        if executor == "serial":
            from nas.execution import serial

            serial.run(search, evaluator(search.config, data, search.config.resources.threads))
        else:
            from nas.execution import ray_tune

            clips = None if data is None else node_data.Clips(str(data.path), data.content_hash, cluster.share)
            ray_tune.run(search, clips, cluster.address)
    if search.draining and not search.finished:
        raise KeyboardInterrupt


def _check_new(folder: Path) -> None:
    """Check that a run can start in a folder, without creating it."""
    if os.path.exists(folder / LEDGER):
        raise InputError("--out", str(folder), "already contains a run; use --resume, or choose another folder")
    try:
        # A process killed early leaves its lock file, which is not locked.
        held = os.path.exists(folder) and any(name != LOCK for name in os.listdir(folder))
    except OSError as error:
        raise InputError("--out", str(folder), f"cannot be used: {error.strerror}") from None
    if held:
        raise InputError("--out", str(folder), "must be a new or an empty folder")
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError("--out", str(folder), f"cannot be written: {parent} is read-only")


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Create the folder and its parents if missing, and remove them afterwards if they are empty."""
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError("--out", str(folder), f"cannot be created: {error.strerror}") from None
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _write_config(path: Path, config: Mapping[str, object]) -> None:
    """Write the configuration for readers, and to repeat the search; the run itself uses its event log."""
    try:
        path.write_text(yaml_text(config), encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), error.strerror, "prevented writing it") from None
