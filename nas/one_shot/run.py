"""A one-shot search in its folder: training, resume, training of its networks from scratch, ranking of a table.

OUT/supernet/checkpoint.npz     everything needed to resume
OUT/supernet/history.csv        every step
OUT/supernet/members.json       the network of each target
OUT/supernet/hints.json         optional: architectures with the statistic of the supernet
OUT/retrained/                  an ordinary run: these networks trained from scratch.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.benchmark import table
from nas.config import search_config
from nas.config.search_config import SearchConfig
from nas.config.sections import AlgorithmConfig, EarlyStopping
from nas.evaluation.proxy_trainer import Trainer, open_data
from nas.execution.ray_cluster import ALONE, Cluster
from nas.loop import run_folder, signals
from nas.loop.run_lock import RunLock
from nas.one_shot import hints
from nas.one_shot.tunas import COLUMNS, SCHEMA, Found, OneShotSearch, targets_of
from nas.record import array_file
from search_space import architecture as architectures
from search_space.base import untrusted_files
from search_space.base.atomic_files import replaced
from search_space.base.checks import check_keys, check_schema
from search_space.base.errors import InputError

SUPERNET, RETRAINED = "supernet", "retrained"
CHECKPOINT, HISTORY, MEMBERS, HINTS = "checkpoint.npz", "history.csv", "members.json", "hints.json"
MAX_MEMBERS = 2**26  # bytes
SCORE = "supernet"  # the column
RANKED = 50  # rows between reports
Report = Callable[[str], None]


def begin(config: SearchConfig, folder: Path, report: Report, threads: int | None = 1) -> OneShotSearch:
    """Train a supernet in a new or empty folder and write the networks found.

    Raises:
      InputError: the folder is not empty or cannot be written, or the configuration or the data is invalid.
    """
    if os.path.isdir(folder) and any(name != "run.lock" for name in os.listdir(folder)):
        raise InputError("--out", str(folder), "must be a new or an empty folder")
    targets_of(config)
    data = open_data(config.data, config.movinet_space, config.seed)
    search = OneShotSearch(config, Trainer(config, data, threads))
    return _train(search, folder, report)


def resume(folder: Path, report: Report, threads: int | None = 1) -> OneShotSearch:
    """Resume from the last checkpoint; a finished search is only read.

    Raises:
      InputError: no such search in the folder, another process uses it, or its clips have changed.
    """
    untrusted_files.check_no_links(folder)
    plain, arrays = read_checkpoint(folder / SUPERNET / CHECKPOINT)
    config = search_config.from_dict(plain["config"], f"{folder / SUPERNET / CHECKPOINT}: config")
    data = open_data(config.data, config.movinet_space, config.seed)
    search = OneShotSearch(config, Trainer(config, data, threads))
    search.restore(plain, arrays)
    return _train(search, folder, report)


def can_resume(folder: Path) -> bool:
    """Return whether a folder has a checkpoint."""
    return os.path.exists(folder / SUPERNET / CHECKPOINT)


def _train(search: OneShotSearch, folder: Path, report: Report) -> OneShotSearch:
    try:
        os.makedirs(folder / SUPERNET, exist_ok=True)
    except OSError as error:
        raise InputError("--out", str(folder), f"cannot be created: {error.strerror}") from None
    told = threading.Event()
    with RunLock(folder), signals.gently(told.set, "the supernet is saved"):
        while not search.finished:
            if told.is_set() or search.supernet.steps_done % search.settings.checkpoint == 0:
                _write_checkpoint(search, folder / SUPERNET / CHECKPOINT)
                report(_progress(search))
            if told.is_set():
                raise KeyboardInterrupt
            search.step()
        if not (folder / SUPERNET / MEMBERS).exists():
            _write_checkpoint(search, folder / SUPERNET / CHECKPOINT)
            _write_history(search, folder / SUPERNET / HISTORY)
            _write_members(search, folder / SUPERNET / MEMBERS)
    return search


def _progress(search: OneShotSearch) -> str:
    done, every = search.supernet.steps_done, search.settings.checkpoint
    line = f"supernet: step {done} of {search.settings.steps}, {search.seconds:.0f} s"
    return line + (f", loss {np.mean([row[3] for row in search.history[-every:]]):.3f}" if done else "")


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the plain data and the arrays of a checkpoint; `InputError` if it is missing or invalid."""
    arrays = array_file.read(path, "checkpoint")
    try:
        plain = untrusted_files.parsed_json(str(arrays.pop("plain")))
    except (ValueError, KeyError) as error:
        raise InputError("checkpoint", str(path), f"cannot be read: {error}") from None
    check_schema("checkpoint", plain, SCHEMA)
    check_keys("checkpoint", plain, *(("schema", "config", "data", "steps", "seconds", "controllers"),) * 2)
    return plain, arrays


def _write_checkpoint(search: OneShotSearch, path: Path) -> None:
    with replaced(path) as new, open(new, "wb") as file:
        np.savez(file, **search.state())  # type: ignore[arg-type]


def _write_history(search: OneShotSearch, path: Path) -> None:
    with replaced(path) as new, open(new, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for step, turn, cost, *rest in search.history:
            writer.writerow((int(step), search.controllers[int(turn)].target, int(cost), *rest))


def _write_members(search: OneShotSearch, path: Path) -> None:
    members = [
        {**vars(found), "architecture": architectures.to_dict(search.space.decode(found.genotype))}
        for found in search.found()
    ]
    plain = {"schema": SCHEMA, "steps": search.settings.steps, "seconds": search.seconds, "members": members}
    with replaced(path) as new:
        new.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def read_members(folder: Path) -> list[Found]:
    """Return the networks of a finished search; `InputError` if they do not exist yet."""
    path = folder / SUPERNET / MEMBERS
    try:
        members = untrusted_files.parsed_json(untrusted_files.content(path, MAX_MEMBERS))["members"]
        names = [f.name for f in dataclasses.fields(Found)]
        return [Found(**{name: member[name] for name in names} | {"genotype": tuple(member["genotype"])})
                for member in members]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("members", str(path), f"cannot be read: {error}") from None


def retraining(config: SearchConfig, found: Sequence[Found]) -> SearchConfig:
    """Return the configuration of the run that trains the networks from scratch."""
    members = list(dict.fromkeys(each.genotype for each in found))
    algorithm = AlgorithmConfig("given", {"members": [list(genotype) for genotype in members]})
    return dataclasses.replace(
        config, trials=len(members), algorithm=algorithm, early_stopping=EarlyStopping(rungs=()), one_shot=None
    )


def retrain(
    folder: Path, config: SearchConfig, executor: str, watch: run_folder.Watch, cluster: Cluster = ALONE
) -> Path:
    """Train the networks of a finished search from scratch, or resume this; return the folder of that run."""
    inner = folder / RETRAINED
    if os.path.exists(inner / run_folder.LEDGER):
        run_folder.resume(inner, executor, watch, cluster)
    else:
        run_folder.start(retraining(config, read_members(folder)), inner, executor, watch, cluster)
    return inner


def rank(search: OneShotSearch, path: Path, folder: Path, report: Report) -> Path:
    """Write the table in `path` with a column `score.supernet`, the configured statistic with shared weights.

    Raises:
      InputError: a table without architectures, or an architecture larger than the supernet.
    """
    read = table.read(path)
    if not read.architectures:
        raise InputError(str(path), "no column architecture", "must contain the architectures to rank")
    scores, statistic = [], search.config.statistic
    for i, plain in enumerate(read.architectures, 1):
        scores.append(search.measure(architectures.from_dict(plain))[statistic])
        if i % RANKED == 0:
            report(f"ranked: {i} of {len(read.architectures)}")
    scored = dataclasses.replace(read, scores={**read.scores, SCORE: np.array(scores)})
    table.write(scored, folder / path.name)
    return folder / path.name


def hint(search: OneShotSearch, members: int, folder: Path, report: Report) -> Path:
    """Write the supernet's statistic of `members` architectures, as prior scores for another search."""
    measured, statistic = [], search.config.statistic
    drawn = hints.members(search.config, members)
    for i, genotype in enumerate(drawn, 1):
        measured.append((genotype, search.measure(search.space.decode(genotype))[statistic]))
        if i % RANKED == 0:
            report(f"ranked: {i} of {len(drawn)}")
    path = folder / SUPERNET / HINTS
    with replaced(path) as new:
        new.write_text(json.dumps(hints.plain(search.config.movinet_space, measured)) + "\n", encoding="utf-8")
    return path


def table_text(found: Sequence[Found]) -> str:
    """Return one line per target."""
    lines = [f"{'target':>10} {'macs':>10} {'off':>6} {'supernet':>8}  found as"]
    for each in found:
        off = 100 * (each.macs / each.target - 1)
        accuracy = f"{100 * each.supernet_accuracy:.1f} %"
        lines.append(f"{each.target:>10.0f} {each.macs:>10} {off:>+5.1f}% {accuracy:>8}  {each.how}")
    return "\n".join(lines)
