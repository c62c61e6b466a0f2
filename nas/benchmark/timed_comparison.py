"""Comparison of search algorithms in real training at equal time on one core, with re-evaluation of their fronts.

Every run is an ordinary run, with a folder, an event log and re-evaluations, so all tools for runs can read it. Its
time is measured in its event log: running time of suggestions and training, without pauses before a resume. A training
cut off by an interruption is not counted, as it is repeated. The training that is running at the time limit is
finished, and counts.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from nas.algorithms.base import Algorithm, Exhausted
from nas.config import search_config
from nas.config.search_config import MAX_TRIALS, SearchConfig
from nas.config.sections import AlgorithmConfig, Finals
from nas.evaluation.proxy_trainer import Trainer, open_data
from nas.execution import processes, serial
from nas.loop import run_folder
from nas.loop.algorithm import check, make_algorithm
from nas.loop.run_lock import RunLock
from nas.loop.search import Search
from nas.record.events import Event, Resumed
from nas.record.ledger import Header, Ledger
from nas.record.ledger_writer import LedgerWriter
from search_space.base import untrusted_files
from search_space.base.checks import check_integer
from search_space.base.errors import InputError
from search_space.space.choices import Genotype

RECORD = "race.json"
RUNS = "runs"
_MOST_FINALISTS = 1000  # the whole front


@dataclass(frozen=True)
class TimedComparison:
    """Settings of all runs.

    Attributes:
      config: space, clips, training and early stopping; algorithms get its number of trials as the planned number.
      algorithms: names in the catalogue; the configured one has its configured options.
      minutes: of search, per run.
      repeats: re-evaluations of each network on a run's front, with new seeds.
      seed: run `s` of an algorithm has seed + s.
    """

    config: SearchConfig
    algorithms: tuple[str, ...]
    minutes: float = 20.0
    repeats: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.minutes < math.inf:
            raise InputError("minutes", self.minutes, "must be a number above 0")
        check_integer("repeats", self.repeats, 1, 1000)
        for name in self.algorithms:
            self.of(name, 0)

    def of(self, name: str, number: int) -> SearchConfig:
        """Return the configuration of run `number` of an algorithm."""
        own = self.config.algorithm
        algorithm = own if name == own.name else AlgorithmConfig(name)
        finals = Finals(repeats=self.repeats, most=_MOST_FINALISTS, references=())
        return dataclasses.replace(self.config, algorithm=algorithm, finals=finals, seed=self.seed + number, workers=1)


@final
class TimeLimited(Algorithm):
    """Another algorithm, exhausted as soon as `over` returns True."""

    def __init__(self, inner: Algorithm, over: Callable[[], bool]) -> None:
        super().__init__(inner.space, inner.limits, inner.objective, inner.cost_name, inner.planned)
        self.inner, self.over = inner, over

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return the other algorithm's proposal until the time limit."""
        if self.over():
            raise Exhausted("the time limit is reached")
        return self.inner.ask(rng)

    def tell(self, event: Event) -> None:
        """Pass the event to both algorithms."""
        super().tell(event)
        self.inner.tell(event)


def running_seconds(ledger: Ledger) -> float:
    """Return the running time of a run: between its entries, without the pauses before it was resumed."""
    pairs = itertools.pairwise(ledger.entries)
    return sum(max(0.0, later.time - earlier.time) for earlier, later in pairs if not isinstance(later.record, Resumed))


def go(comparison: TimedComparison, name: str, number: int, folder: Path) -> None:
    """Perform one run in its folder, from the start or from its interruption.

    Raises:
      InputError: the folder contains another run, or its data has changed.
    """
    config = comparison.of(name, number)
    data = open_data(config.data, config.movinet_space)
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder), _writer(folder / run_folder.LEDGER, config, data.content_hash) as writer:
        ledger = run_folder.read(folder)
        before, begun = running_seconds(ledger), math.inf

        def over() -> bool:
            return before + time.monotonic() - begun >= 60 * comparison.minutes

        # Time ends the search, not the number of trials; the algorithm gets the planned number.
        endless = dataclasses.replace(config, trials=MAX_TRIALS)
        search = Search(endless, writer, ledger.events, TimeLimited(make_algorithm(config), over))
        if search.finished:
            return
        trainer = Trainer(config, data)
        if ledger.entries:
            writer.append(Resumed(run_folder.versions()))
        begun = time.monotonic()
        serial.run(search, trainer)


def _writer(path: Path, config: SearchConfig, data_hash: str) -> LedgerWriter:
    if not path.exists():
        header = Header(search_config.to_dict(config), run_folder.versions(), config.seed, data_hash)
        return LedgerWriter.create(path, header)
    header = run_folder.read(path.parent).header
    if (header.config, header.data_hash) != (json.loads(json.dumps(search_config.to_dict(config))), data_hash):
        raise InputError("--out", str(path.parent), "contains a run of another configuration; choose another folder")
    return LedgerWriter.open_for_append(path)


def compare(
    comparison: TimedComparison,
    seeds: int,
    folder: Path,
    workers: int,
    watch: Callable[[int, int], None] = lambda done, of: None,
) -> dict[tuple[str, int], Ledger]:
    """Run all algorithms, those of one seed in parallel, in `folder`/runs/ALGORITHM-SEED; return their event logs.

    An interrupted comparison can be resumed and extended by seeds and algorithms. `workers` processes run in parallel,
    each on one core; `watch` is called with the numbers of finished and of all runs.

    Raises:
      InputError: a folder with other files, or with another comparison.
    """
    check_integer("seeds", seeds, 1, 1000)
    check_integer("workers", workers, 1, 1000)
    wanted = [(name, number) for number in range(seeds) for name in comparison.algorithms]
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder):
        _check_same(comparison, folder)
        for name in comparison.algorithms:
            check(comparison.of(name, 0))
        open_data(comparison.config.data, comparison.config.movinet_space)  # created once, before all processes need it
        # A process for each run: functions compiled by TensorFlow would speed up the next run.
        jobs = [(comparison, *each, folder_of(folder, *each)) for each in wanted]
        for done, _ in enumerate(processes.run(go, jobs, workers, jobs_each=1), start=1):
            watch(done, len(wanted))
    return {each: run_folder.read(folder_of(folder, *each)) for each in wanted}


def folder_of(folder: Path, name: str, number: int) -> Path:
    """Return the folder of a run."""
    return folder / RUNS / f"{name}-{number}"


def _check_same(comparison: TimedComparison, folder: Path) -> None:
    settings = {"minutes": comparison.minutes, "repeats": comparison.repeats, "seed": comparison.seed}
    path = folder / RECORD
    if not path.exists():
        if any(each.name != "run.lock" for each in folder.iterdir()):
            raise InputError("--out", str(folder), "must be a new or empty folder, or the folder of a comparison")
        path.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    try:
        found = untrusted_files.parsed_json(untrusted_files.content(path, 2**16))
    except (OSError, ValueError):
        found = None
    if found != settings:
        raise InputError(
            "--out", str(folder), f"contains a comparison with {found}, not {settings}; choose another folder"
        )
