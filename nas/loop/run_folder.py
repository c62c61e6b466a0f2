"""A run's folder: started, resumed, and kept from a second process.

config.yaml  ledger.jsonl  run.lock        written here
everything else                            made from the ledger, by `results`
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
from nas.evaluation.proxy_trainer import open_data, open_made
from nas.evaluation.simulation import DATA_HASH, Simulation, check_can_fail, evaluator
from nas.execution import node_data, ray_scratch
from nas.execution.ray_cluster import ALONE, Cluster
from nas.loop import signals
from nas.loop.algorithm import check
from nas.loop.data_notes import data_notes
from nas.loop.run_lock import RunLock
from nas.loop.search import Search
from nas.monitor import trackers
from nas.record import ledger as ledgers
from nas.record.events import Resumed
from nas.record.ledger import Header, Ledger
from nas.record.ledger_writer import LedgerWriter
from search_space.base import untrusted_files
from search_space.base.errors import InputError
from search_space.network import yaml_text
from search_space.space import dead_options

LEDGER = "ledger.jsonl"
CONFIG = "config.yaml"
LOCK = "run.lock"
EXECUTORS = ("ray", "serial")
Watch = Callable[[Search], contextlib.AbstractContextManager[object]]


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a result."""
    names = ("movinet-nas", "tensorflow", "keras", "ray", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def read(folder: Path) -> Ledger:
    """The ledger of the run in `folder`; `InputError` if there is none."""
    if not os.path.isdir(folder):
        raise InputError("run", str(folder), "is not a folder")
    if not os.path.exists(folder / LEDGER):
        raise InputError("run", str(folder), f"is not the folder of a run: it holds no {LEDGER}")
    untrusted_files.check_no_links(folder)
    return ledgers.read(folder / LEDGER)


def config_of(ledger: Ledger) -> SearchConfig:
    """The configuration a run was started with."""
    return search_config.from_dict(ledger.header.config, f"{ledger.path}:1: config")


def data_of(ledger: Ledger) -> Any:
    """The data set a run began with, none if it is simulated; `InputError` if its content is no longer the same.

    All of it is read for that.
    """
    data = _opened(config_of(ledger))
    if data is not None:
        data = open_made(str(data.path), verify=True)
    if _hash(data) != ledger.header.data_hash:
        rule = f"is not the content the run began with, {ledger.header.data_hash}: its clips have changed"
        raise InputError(f"data of {ledger.path.parent}", _hash(data), rule)
    return data


def _opened(config: SearchConfig) -> Any:
    """The data set, made if need be; None for a simulation, whose table is read here lest every worker fail at it."""
    if config.simulation is None:
        return open_data(config.data, config.space)
    Simulation(config)
    return None


def _hash(data: Any) -> str:
    return DATA_HASH if data is None else data.content_hash


def _chance(data: Any) -> float:
    """Accuracy on the validation clips of always naming their most frequent class; 0 for a simulation."""
    return 0.0 if data is None else max(Counter(data.validation.labels.tolist()).values()) / len(data.validation)


def start(config: SearchConfig, folder: Path, executor: str, watch: Watch, cluster: Cluster = ALONE) -> None:
    """Runs a search in a new or empty folder.

    Args:
      config: what to search.
      folder: of the run.
      executor: one of `EXECUTORS`.
      watch: given the search, a context in which it runs, such as a display.
      cluster: to join, for the executor "ray".

    Raises:
      InputError: the folder holds a run or anything else, or cannot be written; or the data is at fault.
    """
    _check_new(folder)
    check_can_fail(config.simulation, executor)
    trackers.check(config.tracking, executor)
    check(config)
    data = _opened(config)
    cluster = _prepared(cluster, executor, data)
    with _made(folder), RunLock(folder) as lock, contextlib.ExitStack() as undo:
        _check_new(folder)  # nobody else can begin a run in it from here on
        undo.callback(_remove, lock.path, folder / LEDGER, folder / CONFIG)
        header = Header(search_config.to_dict(config), versions(), config.seed, _hash(data), chance=_chance(data))
        with LedgerWriter.create(folder / LEDGER, header) as writer:
            _write_config(folder / CONFIG, search_config.to_dict(config))
            search = Search(config, writer)
            try:
                _execute(search, data, executor, watch, cluster)
            finally:
                # Else nothing was begun, as when trials ask for more than the machine has. The record is asked, because
                # a search that is interrupted may have written its first proposal and not yet counted it.
                if search.proposals or read(folder).proposals:
                    undo.pop_all()


def resume(folder: Path, executor: str, watch: Watch, cluster: Cluster = ALONE) -> None:
    """Resumes a run from its ledger: nothing finished is lost or trained twice.

    Raises:
      InputError: no run in the folder, another process uses it, or its data is no longer the same.
    """
    ledger = read(folder)
    config = config_of(ledger)
    check_can_fail(config.simulation, executor)
    trackers.check(config.tracking, executor)
    check(config)
    data = data_of(ledger)
    cluster = _prepared(cluster, executor, data)
    # Nothing is written before all of this is known to fit.
    with RunLock(folder), LedgerWriter.open_for_append(folder / LEDGER) as writer:
        search = _resumed(config, writer, read(folder))
        if not search.finished:
            writer.append(Resumed(versions()))
        _execute(search, data, executor, watch, cluster)


def _prepared(cluster: Cluster, executor: str, data: Any) -> Cluster:
    """Finds out what can be told of a cluster, and does what is done for its nodes, before anything is written."""
    if executor != "ray":
        return cluster
    if data is not None and cluster.share:
        node_data.share(Path(data.path), data.content_hash, cluster.share)
    return cluster.prepared()


def _resumed(config: SearchConfig, writer: LedgerWriter, ledger: Ledger) -> Search:
    try:
        return Search(config, writer, ledger.events)
    except InputError as error:  # what happened does not fit the configuration
        raise InputError(f"{ledger.path}: {error.place}", error.value, error.rule) from None


def _execute(search: Search, data: Any, executor: str, watch: Watch, cluster: Cluster) -> None:
    """Raises `KeyboardInterrupt` if the search was told to stop and something is left to train."""
    ray_scratch.clear(ray_scratch.folder_of(search.ledger.path.parent))  # left if it was killed, even as it ended
    with watch(search), trackers.tracked(search), signals.gently(search.drain, "what has begun is finished"):
        if not search.proposals:
            for text in _notes(search.config, data):
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


def _notes(config: SearchConfig, data: Any) -> Iterator[str]:
    """Yield what a user should know of the space and the data before the first trial."""
    if dead := dead_options.warning(config.space):
        yield dead
    if data is not None and config.data.source != "moving_digits":
        yield from data_notes(data)


def _check_new(folder: Path) -> None:
    """That a run can be begun in a folder, as far as can be told without making it."""
    if os.path.exists(folder / LEDGER):
        raise InputError("--out", str(folder), "holds a run already; carry it on with --resume, or name another folder")
    try:
        # A process killed early leaves its lock behind, which nobody holds.
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
    """The folder and its parents, made where they are missing, and taken away again if nothing is left in them."""
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError("--out", str(folder), f"cannot be made: {error.strerror}") from None
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _write_config(path: Path, config: Mapping[str, object]) -> None:
    """For people, and to start the same search again; the record of the run is its ledger."""
    try:
        path.write_text(yaml_text(config), encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), error.strerror, "is why it cannot be written") from None
