"""Simulation of trainings, with configurable duration and faults, to test a search without training.

Accuracies are looked up in a benchmark table or computed by a formula; costs, proposals, early stopping, event log and
all later steps are real. Faults are drawn from the run's seed, the trial's index and its attempt, so they do not depend
on interruptions of the run. Neither TensorFlow nor a data set is loaded.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.benchmark import table_cells
from nas.config.search_config import SearchConfig
from nas.config.searched_task import task_of
from nas.config.sections import SimulationConfig
from nas.evaluation.proxy_trainer import Trainer
from nas.evaluation.task_trainer import TaskTrainer
from nas.record.events import Completed, Failed, Proposal, Rung
from nas.record.objective import ACCURACY
from nas.tasks.base import Evaluator
from search_space.base.errors import InputError

DATA_HASH = "simulated"  # in the header of the event log, where a real run has the hash of its clips
FLOOR = 1e5  # multiply-adds of a network at chance accuracy
NOISE = 0.01  # standard deviation between trainings of one network
EARLY_NOISE = 0.02  # standard deviation of a measurement at a rung
FAULTS = ("die", "hang", "diverge", "error")
_EFFECTS, _DRAWS = 0x0EFF, 0x0D1E  # separate the streams of random numbers from other uses of the seeds
_PLACES = 64  # choices and options beyond this number share their effects


class SimulatedError(Exception):
    """Error raised by a simulated trial."""


class Simulation:
    """Simulates measurements of proposals, with the interface of a trainer.

    Args:
      config: configuration of the run, with its `simulation`.

    Raises:
      InputError: the table cannot be read, or has no fingerprints.
    """

    def __init__(self, config: SearchConfig) -> None:
        assert config.simulation is not None
        self.config, self.settings = config, config.simulation
        self.steps = config.training.steps
        self.rungs = config.early_stopping.steps(self.steps)
        self.effects = np.random.default_rng(_EFFECTS).normal(size=(_PLACES, _PLACES))
        self.table = Lookup.read(Path(self.settings.table)) if self.settings.table else None
        self.classes = task_of(config).classes
        self.kept: list[np.ndarray] = []

    def train(self, proposal: Proposal, attempt: int = 0) -> Generator[Rung | Completed | Failed]:
        """Yield rungs, then `Completed`; or the result of the fault drawn for this attempt, at a random rung."""
        rng = np.random.default_rng([_DRAWS, proposal.seed])
        total = self.settings.seconds * rng.uniform(0.5, 1.5)
        fault, at = self._fault(proposal.index, attempt)
        self.kept.append(np.ones(int(self.settings.memory_mb * 2**20), np.uint8))
        if self.table is not None and proposal.fingerprint not in self.table.rows:
            yield Failed(proposal.index, f"no row of {self.settings.table} is the network {proposal.fingerprint}", 1)
            return
        before = 0
        for steps in (*self.rungs, self.steps):
            time.sleep(total * (steps - before) / self.steps)
            if fault and at <= steps:
                _strike(fault)
                yield Failed(proposal.index, f"diverged within {steps} steps, as simulated", 1)
                return
            metrics = self._metrics(proposal, steps, rng)
            seconds = total * steps / self.steps
            yield (Rung if steps < self.steps else Completed)(proposal.index, steps, metrics, seconds)
            before = steps

    def _fault(self, index: int, attempt: int) -> tuple[str, int]:
        """Return one of `FAULTS`, or '' for none, and the number of steps after which it occurs."""
        rng = np.random.default_rng([_DRAWS, self.config.seed, index, attempt])
        edges = np.cumsum([getattr(self.settings, name) for name in FAULTS])
        which = int(np.searchsorted(edges, rng.random(), side="right"))
        return (*FAULTS, "")[which], int(rng.integers(1, self.steps + 1))

    def _metrics(self, proposal: Proposal, steps: int, rng: np.random.Generator) -> dict[str, float]:
        if self.table is None:
            metrics = {ACCURACY.name: self._formula(proposal, steps, rng)}
        else:
            metrics = self.table.metrics(proposal.fingerprint, proposal.repeat, steps / self.steps)
        metrics.setdefault("loss", -math.log(max(metrics[ACCURACY.name], 1e-6)))
        metrics.setdefault("likelihood", math.exp(-metrics["loss"]))
        if steps == self.steps and proposal.kind != "search":
            metrics |= {f"test_{name}": value for name, value in metrics.items()}
        return metrics

    def _formula(self, proposal: Proposal, steps: int, rng: np.random.Generator) -> float:
        """Return an accuracy that grows with the logarithm of the cost and saturates; every option adds an effect."""
        cost = proposal.cost.get("macs", proposal.cost[self.config.costs[0]])
        decades = max(math.log10(cost / FLOOR), 0.0)
        genes = np.array(proposal.genotype or (), dtype=np.int64) % _PLACES
        own = self.effects[np.arange(len(genes)) % _PLACES, genes].mean() if len(genes) else 0.0
        chance = 1 / self.classes
        full = chance + (0.9 - chance) * (1 - math.exp(-decades / 1.5)) + 0.2 * own
        share = (steps / self.steps) ** (0.1 + 0.05 * decades)  # expensive networks learn more slowly
        noise = rng.normal(0, NOISE if steps == self.steps else EARLY_NOISE)
        return float(np.clip(chance + (full - chance) * share + noise, chance, 0.999))


def evaluator(config: SearchConfig, data: Any, threads: int | None = 1) -> Evaluator:
    """Return the evaluator of a run's proposals: real training on `data`, or its simulation."""
    if config.simulation is not None:
        return Simulation(config)
    return Trainer(config, data, threads) if config.task.own is None else TaskTrainer(config, config.task.own)


def check_can_fail(settings: SimulationConfig | None, executor: str) -> None:
    """Check that faults which end or block a process cannot occur in the main process.

    Raises:
      InputError: they could.
    """
    for name in ("die", "hang"):
        if settings is not None and executor == "serial" and getattr(settings, name):
            rule = "must be 0 without workers, because it would end or block the run itself"
            raise InputError(f"simulation.{name}", getattr(settings, name), rule)


def _strike(fault: str) -> None:
    """Perform the fault; return only if it is a loss that is not finite."""
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "error":
        raise SimulatedError("as simulated")
    while fault == "hang":
        time.sleep(3600)


@dataclass(frozen=True, eq=False)
class Lookup:
    """Measurements of a benchmark table by fingerprint, without its search space.

    Attributes:
      rows: row of each fingerprint with an accuracy at the full budget.
      statistics: name -> fraction of the full budget, rising -> float [R, S].
    """

    rows: Mapping[str, int]
    statistics: Mapping[str, Mapping[float, np.ndarray]]

    @classmethod
    def read(cls, path: Path) -> Lookup:
        """Read a table; raise `InputError` if it is invalid or has no fingerprints."""
        columns = table_cells.read(path)
        if "fingerprint" not in columns:
            raise InputError(str(path), "fingerprint", "is a required column of a table for simulations")
        full = table_cells.constant(path, "steps", columns)
        found: dict[str, dict[float, np.ndarray]] = {}
        for name, values in table_cells.statistics(path, columns).items():
            statistic, _, steps = name.partition("@")
            if full or not steps:
                found.setdefault(statistic, {})[int(steps) / full if steps else 1.0] = values
        measured = np.isfinite(found[ACCURACY.name][1.0]).any(axis=1)
        rows = {each: row for row, each in enumerate(columns["fingerprint"]) if measured[row]}
        return cls(rows, {name: dict(sorted(curve.items())) for name, curve in found.items()})

    def metrics(self, fingerprint: str, repeat: int, share: float) -> dict[str, float]:
        """Return statistics of one training, each at its last measurement up to a fraction of the full budget.

        Without such an early measurement, that of the full budget is used. Repeats cycle through the trainings of a
        row.
        """
        row = self.rows[fingerprint]
        trained = np.flatnonzero(np.isfinite(self.statistics[ACCURACY.name][1.0][row]))
        seed = trained[repeat % len(trained)]
        found: dict[str, float] = {}
        for name, curve in self.statistics.items():
            known = {at: float(values[row, seed]) for at, values in curve.items() if np.isfinite(values[row, seed])}
            if known:
                found[name] = known[max((at for at in known if at <= share), default=max(known))]
        return found
