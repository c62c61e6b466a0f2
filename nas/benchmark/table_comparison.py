"""Search algorithms on a benchmark table: the same seeds, the same noise, no training.

At every evaluation an algorithm receives one statistic (for example likelihood or accuracy) of one training of the
table. The training is a function of the run's seed, the architecture and the number of its measurements in the run, so
algorithms compared under one seed see the same noise. `results.comparison.on_table` scores the rows that a run
evaluated: always on accuracy, as the mean over trainings, independent of the statistic that the algorithm saw.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.algorithms.base import Algorithm, Exhausted
from nas.algorithms.registry import ALGORITHMS, WITH_PRIOR_SCORES
from nas.algorithms.stratified_random import cost_strata
from nas.benchmark.table import Table, is_loss
from nas.benchmark.table_cells import MACS, line
from nas.config.sections import EarlyStopping
from nas.execution import processes
from nas.loop.early_stopping import BinnedStopping
from nas.loop.run_lock import RunLock
from nas.record.events import Completed, Proposal, Rung, Stopped
from nas.record.objective import ACCURACY, Objective
from search_space.base import untrusted_files
from search_space.base.checks import check_integer, check_keys
from search_space.base.errors import InputError
from search_space.base.names import check_choice

SCHEMA = "movinet-nas/arena/1"
STOPPING = EarlyStopping((0.4,), bands=4, dominators=2, dominating=0.2)
MAX_BYTES = 2**30
RUNS = "runs.jsonl"


@dataclass(frozen=True)
class Settings:
    """Settings of all runs.

    Attributes:
      evaluations: trainings to the full budget; with early stopping the budget in these units.
      seed: of all runs; run `s` of an algorithm is number `s` under it.
      stopping: stop trials early, in bins of similar cost, by the table's learning curves.
      statistic: statistic that algorithms receive and early stopping compares.
    """

    evaluations: int = 150
    seed: int = 0
    stopping: bool = False
    statistic: str = ACCURACY.name

    def __post_init__(self) -> None:
        check_integer("evaluations", self.evaluations, 3, 1_000_000)
        check_integer("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class TableRun:
    """One run of an algorithm with its evaluations, in order.

    Attributes:
      algorithm, seed, stopping: identify the run.
      rows: of the table.
      steps: training steps; without early stopping all of them (1 if the table lacks their number).
      suggestion: seconds of processor time to suggest it and to record its result.
      training: seconds of training, None if the table lacks them.
      wasted: suggestions that the algorithm discarded before it.
    """

    algorithm: str
    seed: int
    stopping: bool
    rows: tuple[int, ...]
    steps: tuple[int, ...]
    suggestion: tuple[float, ...]
    training: tuple[float | None, ...]
    wasted: tuple[int, ...]


def check_statistic(table: Table, statistic: str) -> None:
    """Check that a statistic can be searched by: measured at the full budget in every row, and higher is better.

    Raises:
      InputError: it cannot.
    """
    known = [name for name in table.statistics if "@" not in name and not is_loss(name)]
    check_choice("--statistic", statistic, known)
    for row in np.flatnonzero(~np.isfinite(table.statistics[statistic] + table.accuracy).any(axis=1))[:1]:
        place = f"{table.name}: {line(row)}: {statistic}"
        raise InputError(place, "empty", "in all seeds; a search by it needs one training of each row")


def make_algorithm(name: str, table: Table, planned: int, statistic: str = ACCURACY.name) -> Algorithm:
    """Return the algorithm with its default options over the table's space: a statistic against multiply-adds.

    `NAME:SCORE` is the algorithm with a score of the table as prior scores.

    Raises:
      InputError: an unknown algorithm or score, or an algorithm without prior scores.
    """
    kind, colon, score = name.partition(":")
    objective = Objective(statistic, "max")
    if not colon or kind not in ALGORITHMS:  # the colon may be that of an import path
        return ALGORITHMS.find("algorithm", name)(table.space, (), objective, MACS, planned)
    check_choice("score", score, table.scores)
    if kind not in WITH_PRIOR_SCORES:
        raise InputError(
            "algorithm", name, f"has a score; algorithms with prior scores: {', '.join(WITH_PRIOR_SCORES)}"
        )
    known = zip(table.genotypes.tolist(), table.scores[score].tolist(), strict=True)
    hints = [(genotype, value) for genotype, value in known if math.isfinite(value)]
    if not hints:
        raise InputError(
            f"{table.name}: score.{score}", "no number", "is the content of this column; prior scores must not be empty"
        )
    return ALGORITHMS[kind](table.space, (), objective, MACS, planned, hints=hints)  # type: ignore[call-arg]


def measured_seed(table: Table, run: Sequence[int], row: int, repeat: int, statistic: str = ACCURACY.name) -> int:
    """Return the training of a row for its `repeat`-th measurement in a run: all in random order, then again."""
    present = np.flatnonzero(np.isfinite(table.accuracy[row] + table.statistics[statistic][row]))
    order = np.random.default_rng([*run, row]).permutation(present)
    return int(order[repeat % len(order)])


def run_on_table(table: Table, name: str, number: int, settings: Settings) -> TableRun:
    """Perform run `number` of an algorithm.

    Raises:
      InputError: a statistic that the table lacks, or early stopping without learning curves of it.
    """
    check_statistic(table, settings.statistic)
    algorithm = make_algorithm(name, table, settings.evaluations, settings.statistic)
    rule = binned_stopping(table, settings.statistic) if settings.stopping else None
    full = max(table.steps, 1)
    left, times = settings.evaluations * full, Counter[int]()
    found: list[tuple[int, int, float, float | None, int]] = []
    while left >= full:  # no training starts that could not be finished
        index, start = len(found), time.process_time()
        try:
            genotype = algorithm.ask(np.random.default_rng([settings.seed, number, index]))
        except Exhausted:
            break
        suggestion = time.process_time() - start
        wasted = getattr(algorithm, "wasted", 0)  # only some algorithms discard suggestions
        row = table.row(genotype)
        column = measured_seed(table, (settings.seed, number), row, times[row], settings.statistic)
        cost = {cost: int(values[row]) for cost, values in table.costs.items()}
        proposal = Proposal(index, "search", genotype, {}, f"row {row}", times[row], column, cost)
        times[row] += 1
        start = time.process_time()
        algorithm.tell(proposal)
        steps = _train(algorithm, rule, table, proposal, row, settings.statistic)
        suggestion += time.process_time() - start
        left -= steps
        seconds = float(table.seconds[row, column]) * steps / full
        found.append((row, steps, round(suggestion, 6), None if np.isnan(seconds) else seconds, wasted))
    columns = list(zip(*found, strict=True)) or [()] * 5
    return TableRun(name, number, settings.stopping, *columns)


def _train(
    algorithm: Algorithm, rule: BinnedStopping | None, table: Table, proposal: Proposal, row: int, statistic: str
) -> int:
    """Report the statistic of the table's training `proposal.seed` of a row; return its number of steps."""
    index, column, full = proposal.index, proposal.seed, max(table.steps, 1)
    for steps in rule.rungs if rule else ():
        early = {statistic: float(table.statistics[f"{statistic}@{steps}"][row, column])}
        algorithm.tell(Rung(index, steps, early, 0.0))
        if rule and rule.decide(index, proposal.cost[MACS], steps, early[statistic]) == "stop":
            algorithm.tell(Stopped(index, steps, early, 0.0))
            return steps
    algorithm.tell(Completed(index, full, {statistic: float(table.statistics[statistic][row, column])}, 0.0))
    return full


def binned_stopping(table: Table, statistic: str = ACCURACY.name) -> BinnedStopping:
    """`STOPPING` with each rung moved to the nearest step of the table's learning curves.

    Raises:
      InputError: no learning curve of the statistic, one with gaps, or an unknown full budget.
    """
    curve = table.early(statistic)
    if not curve or not table.steps:
        rule = f"are its steps with early measurements of {statistic}; early stopping needs these and 'steps'"
        raise InputError(table.name, [*curve], rule)
    for steps, early in curve.items():
        if np.isnan(early[np.isfinite(table.statistics[statistic])]).any():
            raise InputError(
                f"{table.name}: {statistic}.S@{steps}", "empty", "is a cell; early stopping needs complete curves"
            )
    at = np.array([*curve])
    rungs = sorted({int(at[np.abs(np.log(at / wanted)).argmin()]) for wanted in STOPPING.steps(table.steps)})
    bands = cost_strata(table.space, (), MACS, STOPPING.bands)
    return STOPPING.banded(tuple(rungs), bands, Objective(statistic, "max"))


def content_hash(table: Table) -> str:
    """Return a hash of everything that a run depends on: 16 hexadecimal digits."""
    digest = hashlib.sha256(repr([(c.name, c.options) for c in table.space.choices]).encode())
    digest.update(repr([*table.statistics]).encode())
    arrays = (table.genotypes, table.costs[MACS], *table.statistics.values(), *table.scores.values())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def compare(
    table: Table,
    algorithms: Sequence[str],
    seeds: int,
    variants: Sequence[Settings],
    folder: Path,
    workers: int = 1,
    watch: Callable[[int, int], None] = lambda done, of: None,
) -> list[TableRun]:
    """Run algorithms x seeds x variants, each in a process with one thread, and record them in `runs.jsonl`.

    Runs in the folder are not repeated, so a comparison can be interrupted, and extended by seeds and by algorithms.
    Results except times do not depend on the number of `workers`.

    Args:
      table: the benchmark.
      algorithms: names for `make_algorithm`.
      seeds: runs of each.
      variants: settings that may differ in `stopping` only.
      folder: created if missing.
      workers: processes.
      watch: called with the numbers of finished and of all runs after each run.

    Raises:
      InputError: an unknown algorithm, or a folder with other files or other settings.
    """
    check_statistic(table, variants[0].statistic)
    for name in algorithms:
        make_algorithm(name, table, variants[0].evaluations)
    check_integer("seeds", seeds, 1, 1_000_000)
    check_integer("workers", workers, 1, 10_000)
    header = {"schema": SCHEMA, "table": content_hash(table), "evaluations": variants[0].evaluations}
    header |= {"statistic": variants[0].statistic, "seed": variants[0].seed}
    header |= {"early_stopping": asdict(STOPPING)}
    wanted = [(name, number, each) for number in range(seeds) for each in variants for name in algorithms]
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder):
        done = _opened(folder / RUNS, json.loads(json.dumps(header)))
        missing = [each for each in wanted if _key(*each) not in done]
        # Neither texts nor architectures are needed for a run.
        small = replace(table, architectures=(), fingerprints=())
        jobs = [(small, *each) for each in missing]
        already = len(wanted) - len(missing)
        for number, played in enumerate(processes.run(run_on_table, jobs, workers), start=already + 1):
            _append(folder / RUNS, asdict(played))
            done[played.algorithm, played.seed, played.stopping] = played
            watch(number, len(wanted))
    return [done[_key(*each)] for each in wanted]


def _key(name: str, number: int, settings: Settings) -> tuple[str, int, bool]:
    return name, number, settings.stopping


def _opened(path: Path, header: Mapping[str, Any]) -> dict[tuple[str, int, bool], TableRun]:
    """Return the runs in a file, after removing an incomplete last line; create the file if missing."""
    if not path.exists():
        if any(each.name != "run.lock" for each in path.parent.iterdir()):
            raise InputError("--out", str(path.parent), "must be a new or empty folder, or the folder of a comparison")
        _append(path, header)
    try:
        data = untrusted_files.content(path, MAX_BYTES)
    except OSError as error:
        raise InputError(str(path), error.strerror, "prevented reading the comparison") from None
    first, *lines = data.splitlines(keepends=True) or [b""]
    found = _parsed(f"{path}:1", first)
    if found != header:
        names = [name for name in {**found, **header} if found.get(name) != header.get(name)]
        old, new = (", ".join(f"{name} {given.get(name)}" for name in names) for given in (found, header))
        raise InputError("--out", str(path.parent), f"holds a comparison with {old}, not {new}; choose another folder")
    if lines and not lines[-1].endswith(b"\n"):
        os.truncate(path, len(data) - len(lines.pop()))
    runs = [_from_line(f"{path}:{number}", line) for number, line in enumerate(lines, start=2)]
    return {(each.algorithm, each.seed, each.stopping): each for each in runs}


def _parsed(place: str, line: bytes) -> dict[str, Any]:
    try:
        data = untrusted_files.parsed_json(line)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise InputError(place, line[:60].decode(errors="replace"), "is not a line of a comparison")
    return data


def _from_line(place: str, line: bytes) -> TableRun:
    names = [each.name for each in fields(TableRun)]
    data = check_keys(place, _parsed(place, line), names, names)
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    return TableRun(**values)


def _append(path: Path, data: Mapping[str, Any]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(data, separators=(",", ":")) + "\n")
    except OSError as error:
        raise InputError(str(path), error.strerror, "prevented writing it") from None
