"""Executes a search with Ray Tune: workers that stay warm, on this machine or a cluster.

Ray schedules and isolates; what to train next, what to stop and what was found is the `Search`'s, whose ledger
is the record. So Ray's own snapshots, loggers and output are off. `Cluster.prepared` comes before the import of this.
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

import psutil
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
from nas.loop.retries import Attempts
from nas.loop.search import Search
from nas.record.events import Completed, Failed, Rung, from_dict, to_dict
from search_space.base.catalogue import make_importable
from search_space.base.errors import InputError

EVENT = "event"
EXPERIMENT = "search"  # as Ray Tune calls it
CHUNK = 1000  # trials that Ray Tune sees in one go: it keeps each, so that its memory and its time for one would grow
NODES_EVERY = 2.0  # seconds from one look at whether there is any node to the next


class WorkerFull(Exception):
    """A worker holds more memory than it may, so it must not train another trial."""


def resident_mb() -> float:
    """This process's resident memory, MB."""
    return float(psutil.Process().memory_info().rss / 2**20)


class TrainProposal(tune.Trainable):
    """A worker: trains the proposal it is given, then the next one it is reset to.

    Reports one event a step, as JSON. A worker above its memory limit trains no other trial: it raises `WorkerFull`
    where it should, Ray ends it, and the trial is given to a new one.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Opens the data and imports TensorFlow, once a process."""
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
            self.fault = error  # raised where its kind reaches the driver: of an error in here it sees a text
        else:
            self._start(config)

    def _start(self, config: dict[str, Any]) -> None:
        proposal = from_dict(json.loads(config["proposal"]))
        self.events = self.trainer.train(proposal, config["attempt"])  # type: ignore[arg-type]

    def step(self) -> dict[str, Any]:
        """Trains to the next rung or to the end."""
        if self.full:
            raise WorkerFull
        if self.fault:
            raise self.fault
        with _ended_after(self.search_config.faults.trial_seconds):
            event = next(self.events)
        return {EVENT: json.dumps(to_dict(event)), tune.result.DONE: not isinstance(event, Rung)}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next proposal."""
        self.events.close()  # so that the last candidate's memory is free again before it is measured
        self._start(new_config)
        # Not raised here: Tune loses a trial whose reset fails.
        self.full = resident_mb() > self.search_config.worker_memory_mb
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial takes seconds, and one that is cut short starts again."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing; see `save_checkpoint`."""


@contextlib.contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Ends this process if the body takes longer; 0 lets it. By a thread in C, so a body that never yields is no help.

    Where it hung is written to the worker's log.
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
    """Holds what stays in this process: Ray pickles searcher, scheduler and stopper for snapshots that nobody reads."""

    attempts: Attempts

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("attempts", "trials")}


class _Proposals(_Driver, Searcher):
    """Hands the search's proposals to Ray and its finished trials back."""

    def __init__(self, attempts: Attempts, shared: dict[str, Any]) -> None:
        super().__init__()
        self.attempts, self.shared = attempts, shared
        self.room = ray_cluster.Room(attempts.search.config)
        self.waits = False

    def suggest(self, trial_id: str) -> Any:
        self.attempts.search.room = room = self.room()
        if not (room or self.waits):
            self.waits = True
            self.attempts.note("no node of the cluster has room for a trial; the search waits for one")
        proposal = self.attempts.propose(trial_id) if self.attempts.running < room else None
        if proposal is None:
            return Searcher.FINISHED if self.attempts.over else None
        return self.shared | {"proposal": json.dumps(to_dict(proposal)), "attempt": self.attempts.errors(proposal)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error or result is None:
            return  # the scheduler was told, with the error
        event = _event(result)
        if not isinstance(event, Rung):  # a rung was observed when it came, and ended the trial
            self.attempts.observe(trial_id, event)
        self.attempts.end(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""


class _Rungs(_Driver, FIFOScheduler):
    """Stops what the search stops, ends what hangs, and hears of errors."""

    def __init__(self, attempts: Attempts) -> None:
        super().__init__()
        self.attempts = attempts
        self.trials: dict[str, Any] = {}  # that have not ended, by id
        self.files: Path | None = None  # where Ray Tune keeps its own on this node

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self.trials[trial.trial_id] = trial
        self.files = Path(trial.storage.experiment_driver_staging_path).parents[1]

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The last that waits. Called in every turn of Tune's loop, ten times a second or more.

        A free worker goes to it; of those that wait for a new worker Tune would end the start of that one, so that
        where trials end faster than a worker starts, a node that was added would never be used.
        """
        for name, trial in self.trials.items():
            if trial.status == Trial.RUNNING:
                self.attempts.begin(name)
        for name in self.attempts.overdue():
            ray.kill(self.trials[name].temporary_state.ray_actor)
        if self.attempts.search.draining:
            for name in self.attempts.not_begun():
                self.attempts.hand_back(name)
                self.trials[name].init_local_path()  # which Tune asks for in the end, also of what never began
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
    """Ends a run whose events can no longer be recorded, or whose last node is lost: Tune would wait for another."""

    def __init__(self, attempts: Attempts) -> None:
        self.attempts = attempts
        self.looked = time.monotonic()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if time.monotonic() - self.looked > NODES_EVERY:
            self.looked = time.monotonic()
            if not any(node["Alive"] for node in ray.nodes()):
                self.attempts.fault = InputError("Ray", 0, "is the number of nodes left; the run goes on with --resume")
        return self.attempts.fault is not None


def _cause(trial: Any) -> BaseException | None:
    """What was raised in a trial; None if nothing was, as its process ended."""
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
    """Neither Ray's tables nor its log lines; what matters of them is in the ledger."""
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
    """Trains everything the search proposes, `config.workers` trials at a time.

    Args:
      search: what proposes and records.
      data: how a worker comes to the clips; none for a simulation.
      address: of the Ray cluster to join; '' starts one on this machine.

    Raises:
      InputError: an event could not be recorded, there is no room for Ray's files, or `cluster.session` has a reason.
    """
    if search.finished:
        return
    attempts = Attempts(search)
    config = search.config
    # As texts, of which Ray Tune's copies, one a trial, take no memory.
    shared = {
        "search": json.dumps(config_to_dict(config)),
        "data": node_data.to_dict(data) if data else None,
        "folder": os.getcwd(),  # where extensions are looked for, as in this process
    }
    scratch = ray_scratch.folder_of(search.ledger.path.parent)
    with ray_scratch.made(scratch), _quiet(), ray_cluster.session(config, address, scratch):
        while not attempts.over:
            _tune(attempts, shared, scratch)
            gc.collect()  # Tune's trials refer to one another, and would stay for thousands more
    if attempts.fault:
        raise attempts.fault


def _trackers(search: Search) -> list[Any]:
    """What shows trials elsewhere; imported only if it is asked for."""
    if search.config.tracking.mlflow is None and search.config.tracking.wandb is None:
        return []
    from nas.monitor import ray_trackers

    return ray_trackers.trackers(search)


def _tune(attempts: Attempts, shared: dict[str, Any], scratch: Path) -> None:
    """Has Ray Tune train the next `CHUNK` trials, or what is left."""
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
            failure_config=tune.FailureConfig(max_failures=0),  # `Attempts` counts them
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
