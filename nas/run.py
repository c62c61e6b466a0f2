"""A run's folder: started, carried on, and kept from a second process.

    config.yaml  ledger.jsonl  run.lock        written here
    everything else                            made from the ledger, by `results`
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import yaml

from nas import config as configs
from nas import ledger as ledgers
from nas.config import SearchConfig
from nas.ledger import Header, Ledger, LedgerWriter
from nas.run_lock import RunLock
from nas.search import Search
from nas.trial import Trainer, open_data
from nas.trials import Resumed
from search_space.errors import InputError

LEDGER = "ledger.jsonl"
CONFIG = "config.yaml"
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
    if not folder.is_dir():
        raise InputError(str(folder), folder.name, "is not the folder of a run")
    return ledgers.read(folder / LEDGER)


def config_of(ledger: Ledger) -> SearchConfig:
    """The configuration a run was started with."""
    return configs.from_dict(ledger.header.config, f"{ledger.path}:1: config")


def start(config: SearchConfig, folder: Path, executor: str, watch: Watch) -> None:
    """Runs a search in a new or empty folder.

    Args:
      config: what to search.
      folder: of the run.
      executor: one of `EXECUTORS`.
      watch: given the search, a context in which it runs, such as a display.

    Raises:
      InputError: the folder holds a run or anything else, or cannot be written; or the data is at fault.
    """
    _check_empty(folder)
    data = open_data(config.data, config.space)
    with _made(folder), RunLock(folder):
        header = Header(configs.to_dict(config), versions(), config.seed, data.content_hash)
        with LedgerWriter.create(folder / LEDGER, header) as writer:
            _write_config(folder / CONFIG, configs.to_dict(config))
            _execute(Search(config, writer), data, executor, watch)


def resume(folder: Path, executor: str, watch: Watch) -> None:
    """Carries a run on from its ledger: nothing finished is lost or trained twice.

    Raises:
      InputError: no run in the folder, another process uses it, or its data is no longer the same.
    """
    read(folder)
    with RunLock(folder):
        ledger = read(folder)
        config = config_of(ledger)
        data = open_data(config.data, config.space)
        if data.content_hash != ledger.header.data_hash:
            raise InputError(str(folder), data.content_hash, f"must be the run's data, {ledger.header.data_hash}")
        with LedgerWriter.open_for_append(folder / LEDGER) as writer:
            search = Search(config, writer, ledger.events)
            if not search.finished:
                writer.append(Resumed(versions()))
            _execute(search, data, executor, watch)


def _execute(search: Search, data: object, executor: str, watch: Watch) -> None:
    with watch(search):
        if executor == "serial":
            from nas import serial

            serial.run(search, Trainer(search.config, data))
        else:
            from nas import ray_executor

            ray_executor.run(search, Path(data.path))  # type: ignore[attr-defined]


def _check_empty(folder: Path) -> None:
    if (folder / LEDGER).exists():
        raise InputError("--out", str(folder), "holds a run already; carry it on with --resume, or name another folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("--out", str(folder), "must be a new or an empty folder")


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder, made with its parents; `InputError` if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("--out", str(folder), f"cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError("--out", str(folder), "cannot be written")
    yield


def _write_config(path: Path, config: Mapping[str, object]) -> None:
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False, width=120), encoding="utf-8")
