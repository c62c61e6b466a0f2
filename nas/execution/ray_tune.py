"""Execution of a search by Ray Tune: reused workers, on this machine or a cluster.

Ray schedules and isolates trials. `Search` decides what to train and what to stop, and records results in its event
log. So Ray's snapshots, loggers and output are disabled. Call `Cluster.prepared` before importing this module.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from nas.config.search_config import to_dict as config_to_dict
from nas.execution import node_data, ray_cluster, ray_scratch
from nas.execution.node_data import Clips
from nas.loop.retries import Retries
from nas.loop.search import Search
from nas.record.events import Completed, Failed, Rung, from_dict, to_dict
from search_space.base import machine
from search_space.base.catalogue import make_importable
from search_space.base.errors import InputError

EVENT = "event"
EXPERIMENT = "search"  # as Ray Tune calls it
CHUNK = 1000  # trials per Ray Tune run: Tune keeps all trials, so its memory and its time per trial would grow
NODES_EVERY = 2.0  # seconds between checks for a node


class WorkerFull(Exception):
    """A worker exceeds its memory limit, so it must not train another trial."""


class TrainProposal(tune.Trainable):
    """A worker, which trains a proposal, then the next one after a reset.

    It reports one event per step, as JSON. A worker above its memory limit trains no other trial: it raises
    `WorkerFull`, Ray ends it, and the trial goes to a new worker.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Open the data and import TensorFlow, once per process."""
        from nas.config.search_config import from_dict as config_from_dict
        from nas.evaluation.simulation import evaluator

        make_importable(config["folder"])
        self.full = False
        self.fault: InputError | None = None
        try:
            self.search_config = config_from_dict(json.loads(config["search"]))
            data = node_data.from_dict(config["data"]).opened(self.search_config) if config["data"] else None
            self.trainer = evaluator(self.search_config, data, self.search_config.resources.threads)
        except InputError as error:
            self.fault = error  # raised later: of an error here the driver gets only a text
        else:
            self._start(config)

    def _start(self, config: dict[str, Any]) -> None:
        proposal = from_dict(json.loads(config["proposal"]))
        self.events = self.trainer.train(proposal, config["attempt"])  # type: ignore[arg-type]

    def step(self) -> dict[str, Any]:
        """Train to the next rung or to the end."""
        if self.full:
            raise WorkerFull
        if self.fault:
            raise self.fault
        with _ended_after(self.search_config.faults.trial_seconds):
            event = next(self.events)
        return {EVENT: json.dumps(to_dict(event)), tune.result.DONE: not isinstance(event, Rung)}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start with the next proposal."""
        self.events.close()  # frees the last candidate's memory before it is measured
        self._start(new_config)
        # Not raised here: Tune loses a trial whose reset fails.
        self.full = machine.resident_mb() > self.search_config.worker_memory_mb
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Do nothing: a trial takes seconds, and an interrupted one starts again."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Do nothing; see `save_checkpoint`."""


@contextlib.contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """End this process if the body takes longer; 0 disables this. A thread in C does it, so it works for any body.

    The stack of the hanging code is written to the worker's log.
    """
    if not seconds:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


class _Driver:
    """Objects of this process that must not be pickled with Ray's unused snapshots."""

    attempts: Retries

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("attempts", "trials")}


class _Proposals(_Driver, Searcher):
    """Passes proposals of the search to Ray and finished trials back."""

    def __init__(self, attempts: Retries, shared: dict[str, Any]) -> None:
        super().__init__()
        self.attempts, self.shared = attempts, shared
        self.room = ray_cluster.Room(attempts.search.config)
        self.waits = False

    def suggest(self, trial_id: str) -> Any:
        self.attempts.search.room = room = self.room()
        if not (room or self.waits):
            self.waits = True
            self.attempts.note("no node of the cluster has resources for a trial; the search waits for one")
        proposal = self.attempts.propose(trial_id) if self.attempts.running < room else None
        if proposal is None:
            return Searcher.FINISHED if self.attempts.over else None
        return self.shared | {"proposal": json.dumps(to_dict(proposal)), "attempt": self.attempts.errors(proposal)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error or result is None:
            return  # the scheduler received the error
        event = _event(result)
        if not isinstance(event, Rung):  # a rung was observed on arrival, and ended the trial
            self.attempts.observe(trial_id, event)
        self.attempts.end(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the event log is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the event log is the state."""


class _Rungs(_Driver, FIFOScheduler):
    """Scheduler that stops trials for the search, ends hanging ones, and receives errors."""

    def __init__(self, attempts: Retries) -> None:
        super().__init__()
        self.attempts = attempts
        self.trials: dict[str, Any] = {}  # running trials, by id
        self.files: Path | None = None  # Ray Tune's folder on this node

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self.trials[trial.trial_id] = trial
        self.files = Path(trial.storage.experiment_driver_staging_path).parents[1]

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the last waiting trial. Tune's loop calls it ten times per second or more.

        It gets a free worker. For a trial that waits for a new worker, Tune would cancel the start of that worker. Then
        an added node would never be used if trials end faster than a worker starts.
        """
        for name, trial in self.trials.items():
            if trial.status == Trial.RUNNING:
                self.attempts.begin(name)
        for name in self.attempts.overdue():
            ray.kill(self.trials[name].temporary_state.ray_actor)
        if self.attempts.search.draining:
            for name in self.attempts.not_begun():
                self.attempts.hand_back(name)
                self.trials[name].init_local_path()  # Tune requires it at the end, also for trials that never started
                tune_controller.stop_trial(self.trials[name])
        return next((trial for trial in reversed(self.trials.values()) if trial.status == Trial.PENDING), None)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        goes_on = self.attempts.observe(trial.trial_id, _event(result))
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.trials.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self.trials.pop(trial.trial_id, None)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        name, cause = trial.trial_id, _cause(trial)
        self.trials.pop(name, None)
        if isinstance(cause, WorkerFull):
            self.attempts.hand_back(name)
        elif cause is None:
            self.attempts.die(name)
        else:
            self.attempts.fail(name, cause if isinstance(cause, InputError) else f"{type(cause).__name__}: {cause}")


class _Faults(_Driver, Stopper):
    """Ends a run whose events cannot be recorded, or whose last node is lost (Tune would wait for another)."""

    def __init__(self, attempts: Retries) -> None:
        self.attempts = attempts
        self.looked = time.monotonic()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if time.monotonic() - self.looked > NODES_EVERY:
            self.looked = time.monotonic()
            if not any(node["Alive"] for node in ray.nodes()):
                self.attempts.fault = InputError("Ray", 0, "is the number of nodes left; resume the run with --resume")
        return self.attempts.fault is not None


def _cause(trial: Any) -> BaseException | None:
    """Return the exception of a trial; None if its process ended without one."""
    if not trial.pickled_error_file:
        return None
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return RuntimeError(str(error).strip().splitlines()[-1])
    return error.cause if isinstance(error, RayTaskError) else None


def _event(result: dict[str, Any]) -> Rung | Completed | Failed:
    event = from_dict(json.loads(result[EVENT]))
    assert isinstance(event, Rung | Completed | Failed)
    return event


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Ray's tables and log lines; the event log has the relevant information."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def run(search: Search, data: Clips | None, address: str = "") -> None:
    """Train all proposals of the search, `config.workers` trials in parallel.

    Args:
      search: proposes and records trials.
      data: access of workers to the clips; None for a simulation.
      address: of the Ray cluster to join; '' starts one on this machine.

    Raises:
      InputError: an event could not be recorded, there is no space for Ray's files, or see `ray_cluster.session`.
    """
    if search.finished:
        return
    attempts = Retries(search)
    config = search.config
    # As text: Ray Tune's copies of it, one per trial, take no memory.
    shared = {
        "search": json.dumps(config_to_dict(config)),
        "data": node_data.to_dict(data) if data else None,
        "folder": os.getcwd(),  # folder of extension modules, as in this process
    }
    scratch = ray_scratch.folder_of(search.ledger.path.parent)
    with ray_scratch.made(scratch), _quiet(), ray_cluster.session(config, address, scratch):
        while not attempts.over:
            _tune(attempts, shared, scratch)
            gc.collect()  # Tune's trials have reference cycles, and would stay in memory for thousands more
    if attempts.fault:
        raise attempts.fault


def _trackers(search: Search) -> list[Any]:
    """Return the experiment trackers; imported only if configured."""
    if search.config.tracking.mlflow is None and search.config.tracking.wandb is None:
        return []
    from nas.monitor import ray_trackers

    return ray_trackers.trackers(search)


def _tune(attempts: Retries, shared: dict[str, Any], scratch: Path) -> None:
    """Train the next `CHUNK` trials, or the rest, by Ray Tune."""
    resources = attempts.search.config.reserved
    scheduler = _Rungs(attempts)
    tuner = tune.Tuner(
        tune.with_resources(TrainProposal, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=_Proposals(attempts, shared),
            scheduler=scheduler,
            num_samples=CHUNK,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=EXPERIMENT,
            storage_path=str(scratch),
            stop=_Faults(attempts),
            failure_config=tune.FailureConfig(max_failures=0),  # `Retries` counts them
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            callbacks=_trackers(attempts.search),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        for files in (scratch / EXPERIMENT, scheduler.files):
            if files:
                shutil.rmtree(files, ignore_errors=True)
