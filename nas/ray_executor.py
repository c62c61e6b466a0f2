"""Executes a search with Ray Tune: workers that stay warm, on this machine or a cluster.

Ray schedules and isolates; what to train next, what to stop and what was found is the `Search`'s, whose ledger
is the record. So Ray's own snapshots, loggers and output are off.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nas.config import to_dict as config_to_dict
from nas.search import Search
from nas.trials import Completed, Failed, Rung, from_dict, to_dict

# Read by Ray when it is imported. Niceness: Ray starts workers at 15, which starves them on a busy machine and
# distorts every time measured in them.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

OBJECT_STORE_BYTES = 100 * 2**20  # clips are memory-mapped files; next to nothing passes through Ray
ATTEMPTS = 3  # of a trial whose worker dies
EVENT = "event"


def resident_mb() -> float:
    """This process's resident memory, MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class TrainProposal(tune.Trainable):
    """A worker: trains the proposal it is given, then the next one it is reset to.

    Reports one event a step, as JSON. A worker above its memory limit ends itself when it is to be reused; Ray
    then starts the trial in a new process.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Opens the data and imports TensorFlow, once a process."""
        from nas.config import from_dict as config_from_dict
        from nas.trial import Trainer, open_made

        self.search_config = config_from_dict(config["search"])
        self.trainer = Trainer(self.search_config, open_made(config["data"]))
        self._start(config)

    def _start(self, config: dict[str, Any]) -> None:
        proposal = from_dict(config["proposal"])
        self.events = self.trainer.train(proposal)  # type: ignore[arg-type]

    def step(self) -> dict[str, Any]:
        """Trains to the next rung or to the end."""
        event = next(self.events)
        return {EVENT: json.dumps(to_dict(event)), tune.result.DONE: not isinstance(event, Rung)}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next proposal."""
        if resident_mb() > self.search_config.worker_memory_mb:
            os._exit(0)
        self._start(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial takes seconds, and one that is cut short starts again."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing; see `save_checkpoint`."""


class _Driver:
    """Holds the search of this process. Ray pickles searcher and scheduler for its snapshots, which are not used."""

    search: Search

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "search"}


class _Proposals(_Driver, Searcher):
    """Hands the search's proposals to Ray and its finished trials back."""

    def __init__(self, search: Search, shared: dict[str, Any]) -> None:
        super().__init__()
        self.search, self.shared = search, shared
        self.running: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        proposal = self.search.propose()
        if proposal is None:
            return Searcher.FINISHED if self.search.finished else None
        self.running[trial_id] = proposal.index
        return self.shared | {"proposal": to_dict(proposal)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        index = self.running.pop(trial_id)
        if error or result is None:
            self.search.observe(Failed(index, f"its worker died {ATTEMPTS} times", ATTEMPTS))
            return
        event = _event(result)
        if not isinstance(event, Rung):  # a rung was observed when it came, and ended the trial
            self.search.observe(event)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""


class _Rungs(_Driver, FIFOScheduler):
    """Stops what the search stops."""

    def __init__(self, search: Search) -> None:
        super().__init__()
        self.search = search

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return TrialScheduler.CONTINUE if self.search.observe(_event(result)) else TrialScheduler.STOP


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
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def run(search: Search, data: Path) -> None:
    """Trains everything the search proposes, `config.workers` trials at a time, one core each.

    Args:
      search: what proposes and records.
      data: folder of the dataset, from `trial.open_data`.
    """
    workers = search.config.workers
    shared = {"search": config_to_dict(search.config), "data": str(data)}
    with tempfile.TemporaryDirectory(prefix="movinet-nas-") as scratch, _quiet():
        ray.init(
            address="local",
            num_cpus=workers,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            configure_logging=False,
        )
        try:
            _tune(search, shared, workers, scratch)
        finally:
            ray.shutdown()


def _tune(search: Search, shared: dict[str, Any], workers: int, scratch: str) -> None:
    tuner = tune.Tuner(
        tune.with_resources(TrainProposal, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=_Proposals(search, shared),
            scheduler=_Rungs(search),
            num_samples=-1,
            max_concurrent_trials=workers,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=scratch,
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            verbose=0,
        ),
    )
    tuner.fit()
