"""Executes a search with Ray Tune: workers that stay warm, on this machine or a cluster.

Ray schedules and isolates; what to train next, what to stop and what was found is the `Search`'s, whose ledger
is the record. So Ray's own snapshots, loggers and output are off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nas.attempts import Attempts
from nas.config import to_dict as config_to_dict
from nas.search import Search
from nas.trials import Completed, Failed, Rung, from_dict, to_dict
from search_space.errors import InputError

# Read by Ray when it is imported. Niceness: Ray starts workers at 15, which starves them on a busy machine and
# distorts every time measured in them. Prestarted workers: Tune cannot use them. Memory monitor: it would end
# workers for what other programs use. Token: else Ray makes one in the user's home.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_worker_niceness": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import cloudpickle, tune  # noqa: E402
from ray.exceptions import RayTaskError  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402
from ray.tune.stopper import Stopper  # noqa: E402

OBJECT_STORE_BYTES = 100 * 2**20  # clips are memory-mapped files; next to nothing passes through Ray
EVENT = "event"
LONGEST_SOCKET_FOLDER = 60  # a socket's path has 107 bytes at the most, and Ray adds 46


class WorkerFull(Exception):
    """A worker holds more memory than it may, so it must not train another trial."""


def resident_mb() -> float:
    """This process's resident memory, MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class TrainProposal(tune.Trainable):
    """A worker: trains the proposal it is given, then the next one it is reset to.

    Reports one event a step, as JSON. A worker above its memory limit trains no other trial: it raises `WorkerFull`
    where it should, Ray ends it, and the trial is given to a new one.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Opens the data and imports TensorFlow, once a process."""
        from nas.config import from_dict as config_from_dict
        from nas.simulation import evaluator
        from nas.trial import open_made

        self.search_config = config_from_dict(config["search"])
        self.trainer = evaluator(self.search_config, open_made(config["data"]) if config["data"] else None)
        self.full = False
        self._start(config)

    def _start(self, config: dict[str, Any]) -> None:
        proposal = from_dict(config["proposal"])
        self.events = self.trainer.train(proposal, config["attempt"])  # type: ignore[arg-type]

    def step(self) -> dict[str, Any]:
        """Trains to the next rung or to the end."""
        if self.full:
            raise WorkerFull
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


class _Driver:
    """Holds what stays in this process: Ray pickles searcher, scheduler and stopper for snapshots that nobody reads."""

    attempts: Attempts

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "attempts"}


class _Proposals(_Driver, Searcher):
    """Hands the search's proposals to Ray and its finished trials back."""

    def __init__(self, attempts: Attempts, shared: dict[str, Any]) -> None:
        super().__init__()
        self.attempts, self.shared = attempts, shared

    def suggest(self, trial_id: str) -> Any:
        proposal = self.attempts.propose(trial_id)
        if proposal is None:
            return Searcher.FINISHED if self.attempts.over else None
        return self.shared | {"proposal": to_dict(proposal), "attempt": self.attempts.errors(proposal)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error or result is None:
            return  # the scheduler was told, with the error
        event = _event(result)
        if not isinstance(event, Rung):  # a rung was observed when it came, and ended the trial
            self.attempts.observe(event)
        self.attempts.end(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""


class _Rungs(_Driver, FIFOScheduler):
    """Stops what the search stops, and hears of errors."""

    def __init__(self, attempts: Attempts) -> None:
        super().__init__()
        self.attempts = attempts

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return TrialScheduler.CONTINUE if self.attempts.observe(_event(result)) else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        cause = _cause(trial)
        if isinstance(cause, WorkerFull):
            self.attempts.hand_back(trial.trial_id)
        else:
            self.attempts.fail(trial.trial_id, f"{type(cause).__name__}: {cause}" if cause else "its worker died")


class _Faults(_Driver, Stopper):
    """Ends a run whose events can no longer be recorded."""

    def __init__(self, attempts: Attempts) -> None:
        self.attempts = attempts

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.attempts.fault is not None


def _cause(trial: Any) -> BaseException | None:
    """What was raised in a trial; None if nothing was, as its process ended."""
    if not trial.pickled_error_file:
        return None
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
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


@contextlib.contextmanager
def _scratch(run: Path) -> Iterator[Path]:
    """A folder for Ray's logs and sockets, empty at first and gone afterwards.

    Always the same one for a run, whose lock keeps others out of it, so that what a killed process left behind
    goes when the run is carried on.
    """
    name = f"movinet-nas-{os.getuid()}-{hashlib.sha256(bytes(run.resolve())).hexdigest()[:8]}"
    base = Path(tempfile.gettempdir())
    folder = (base if len(bytes(base)) + 1 + len(name) <= LONGEST_SOCKET_FOLDER else Path("/tmp")) / name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise InputError(str(folder), error.strerror, "is why Ray's scratch folder cannot be made") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(search: Search, data: Path | None) -> None:
    """Trains everything the search proposes, `config.workers` trials at a time, one core each.

    Args:
      search: what proposes and records.
      data: folder of the dataset, from `trial.open_data`; none for a simulation.

    Raises:
      InputError: an event could not be recorded, or there is no room for Ray's files.
    """
    if search.finished:
        return
    attempts = Attempts(search)
    with _scratch(search.ledger.path.parent) as scratch, _quiet():
        ray.init(
            address="local",
            num_cpus=search.config.workers,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            configure_logging=False,
            _temp_dir=str(scratch),
        )
        try:
            _tune(attempts, data, scratch)
        finally:
            ray.shutdown()
    if attempts.fault:
        raise attempts.fault


def _tune(attempts: Attempts, data: Path | None, scratch: Path) -> None:
    config = attempts.search.config
    shared = {"search": config_to_dict(config), "data": str(data) if data else ""}
    tuner = tune.Tuner(
        tune.with_resources(TrainProposal, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=_Proposals(attempts, shared),
            scheduler=_Rungs(attempts),
            num_samples=-1,
            max_concurrent_trials=config.workers,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(scratch),
            stop=_Faults(attempts),
            failure_config=tune.FailureConfig(max_failures=0),  # `Attempts` counts them
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            verbose=0,
        ),
    )
    tuner.fit()
