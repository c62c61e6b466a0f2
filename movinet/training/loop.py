"""Training and evaluation by an experiment, from the first step or the last checkpoint to the end.

The folder of a run holds `params.yaml`, `classes.txt`, checkpoints `ckpt-<step>`, TensorBoard summaries in `train/` and
`validation/`, and in `validation/` a `metrics-<step>.json` per evaluation.
"""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import tensorflow as tf

from movinet.training.config.experiment import ExperimentConfig
from movinet.training.config.experiment_file import dump
from movinet.training.input.class_names import FILE, beside, check_same, class_names
from movinet.training.task import check_trainable
from movinet.training.trainer import Log, Progress, Trainer
from movinet.training.validation import Validation
from search_space.base.atomic_files import write_text
from search_space.base.errors import InputError

POLL_SECONDS = 1.0
BEST = "best_ckpt"  # name of the best checkpoint and of its record, as in the Model Garden
BEST_RECORD = "info.json"


class Stopped(KeyboardInterrupt):
    """The run was asked to stop; the message names what was saved."""


class Run:
    """One experiment in one folder."""

    def __init__(
        self, experiment: ExperimentConfig, folder: Path, strategy: tf.distribute.Strategy, log: Log = print
    ) -> None:
        """Build the model and load the newest checkpoint, or the initial weights.

        Raises:
          InputError: the checkpoint or the weights do not fit the model.
        """
        self._experiment, self._folder, self._log = experiment, folder, log
        self.trainer = Trainer(experiment, folder, strategy, log)
        self._validation = Validation(experiment, self.trainer.model, strategy, self.trainer.unusable)
        self._writers: dict[str, Any] = {}
        self._asked_to_stop = False
        self._reported: set[str] = set()
        found = self.trainer.restore()
        if found is None:
            self.trainer.initialize()
        else:
            log(f"resumes from {found}")

    # -- modes ------------------------------------------------------------------------------------

    def train(self, evaluate: bool = False) -> dict[str, float]:
        """Train to train_steps, with `evaluate` at every validation_interval; return the last evaluation.

        Raises:
          Diverged: the loss is not finite or above its bound.
          Stopped: by a signal; a checkpoint is written, unless preemption_on_demand_checkpoint is false.
        """
        check_trainable(self._experiment.task)
        self._check_classes(evaluate)
        self._write(self._folder / "params.yaml", dump(self._experiment))
        trainer, last = self.trainer, self._experiment.trainer.train_steps
        metrics = self._evaluate_if_due(evaluate)  # if the run was killed between checkpoint and evaluation
        if trainer.step >= last:
            self._log(f"step {trainer.step} is the last: nothing left to train")
            return metrics
        iterator = trainer.batches()
        with self._stoppable():
            while trainer.step < last:
                self._report(trainer.train(iterator, self._next_event(trainer.step) - trainer.step))
                if self._due("checkpoint_interval") or self._asked_to_stop:
                    self._log(f"checkpoint {trainer.save()}")
                if self._asked_to_stop:
                    raise Stopped(f"stopped at step {trainer.step} with a checkpoint; the same command resumes it")
                metrics = self._evaluate_if_due(evaluate) or metrics
        return metrics

    def evaluate(self) -> dict[str, float]:
        """Evaluate the newest checkpoint, or the weights that the experiment names.

        Raises:
          InputError: neither exists.
        """
        if not self.trainer.step and not self._has_weights():
            raise InputError("--model_dir", str(self._folder), "holds no checkpoint, and init_checkpoint names none")
        return self._evaluate()

    def evaluate_continuously(self) -> dict[str, float]:
        """Evaluate every new checkpoint of the folder once, until that of the last step.

        It also ends after continuous_eval_timeout seconds without a new checkpoint.
        """
        metrics: dict[str, float] = {}
        for path in self._appearing():
            try:
                self.trainer.restore(path)
            except InputError:
                if tf.train.checkpoint_exists(path):
                    raise
                self._log(f"{path} was removed before it could be evaluated: raise trainer.max_to_keep")
                continue
            metrics = self._evaluate()
        return metrics

    def _check_classes(self, evaluate: bool) -> None:
        """Store the class names after checking them against those of the run so far and of the validation data."""
        task = self._experiment.task
        names = class_names(task.train_data)
        check_same("task.train_data", names, str(self._folder), beside(str(self._folder)))
        if evaluate:
            check_same("task.validation_data", class_names(task.validation_data), "task.train_data", names)
        if names:
            self._write(self._folder / FILE, "".join(f"{name}\n" for name in names))

    # -- parts ------------------------------------------------------------------------------------

    def _has_weights(self) -> bool:
        task = self._experiment.task
        members = task.model.ensemble.members if task.model.ensemble else ()
        return bool(task.init_checkpoint) or bool(members) and all(member.checkpoint for member in members)

    def _next_event(self, step: int) -> int:
        config = self._experiment.trainer
        intervals = (
            config.steps_per_loop,
            config.summary_interval,
            config.checkpoint_interval,
            config.validation_interval,
        )
        return min(config.train_steps, *((step // interval + 1) * interval for interval in intervals))

    def _due(self, interval: str) -> bool:
        config, step = self._experiment.trainer, self.trainer.step
        return step == config.train_steps or step % getattr(config, interval) == 0

    def _report(self, progress: Progress) -> None:
        last = self._experiment.trainer.train_steps
        left = (last - progress.step) / progress.steps_per_second
        self._log(
            f"train | step {progress.step}/{last} | loss {progress.loss:.4f} | top-1 {progress.top1:.4f} | "
            f"rate {progress.learning_rate:.4g} | {progress.steps_per_second:.3g} steps/s | "
            f"{timedelta(seconds=round(left))} left"
        )
        self._report_unusable()
        if self._due("summary_interval"):
            self._summarise("train", progress.scalars())

    def _report_unusable(self) -> None:
        for name, why in list(self.trainer.unusable.items()):
            if name not in self._reported:
                self._reported.add(name)
                self._log(f"cannot be used: {name}: {why}")

    def _evaluate_if_due(self, wanted: bool) -> dict[str, float]:
        step = self.trainer.step
        if not wanted or not step or not self._due("validation_interval"):
            return {}
        record = self._record(step)
        return json.loads(record.read_text()) if record.exists() else self._evaluate()  # type: ignore[no-any-return]

    def _record(self, step: int) -> Path:
        return self._folder / self._experiment.trainer.validation_summary_subdir / f"metrics-{step}.json"

    def _evaluate(self) -> dict[str, float]:
        trainer, start = self.trainer, time.monotonic()
        trainer.swap_averages()
        try:
            metrics = self._validation.run()
            self._keep_best(metrics)
        finally:
            trainer.swap_averages()
        self._log(
            f"eval  | step {trainer.step} | loss {metrics['validation_loss']:.4f} | "
            f"top-1 {metrics['top_1_accuracy']:.4f} | top-5 {metrics['top_5_accuracy']:.4f} | "
            f"{metrics['examples']:.0f} clips | {time.monotonic() - start:.1f} s"
        )
        self._report_unusable()
        self._summarise(self._experiment.trainer.validation_summary_subdir, metrics)
        self._write(self._record(trainer.step), json.dumps(metrics, indent=1) + "\n")
        return metrics

    def _keep_best(self, metrics: dict[str, float]) -> None:
        config = self._experiment.trainer
        if not (config.best_checkpoint_export_subdir and config.best_checkpoint_eval_metric):
            return
        folder = self._folder / config.best_checkpoint_export_subdir
        name, record = config.best_checkpoint_eval_metric, folder / BEST_RECORD
        if record.exists():
            best, new = json.loads(record.read_text())[name], metrics[name]
            if not (new > best if config.best_checkpoint_metric_comp == "higher" else new < best):
                return
        kept = str(folder) if self.trainer.chief else tempfile.mkdtemp()
        manager = tf.train.CheckpointManager(self.trainer.checkpoint, kept, 1, checkpoint_name=BEST)
        manager.save(checkpoint_number=self.trainer.step)
        self._write(record, json.dumps(metrics | {"best_ckpt_global_step": self.trainer.step}, indent=4) + "\n")

    def _appearing(self) -> Iterator[str]:
        """Yield checkpoints of the folder that are not evaluated yet, as they appear."""
        config = self._experiment.trainer
        seen: set[str] = set()
        waited_from = time.monotonic()
        while time.monotonic() - waited_from <= config.continuous_eval_timeout:
            state = tf.train.get_checkpoint_state(str(self._folder))
            new = [path for path in (state.all_model_checkpoint_paths if state else ()) if path not in seen]
            for path in new:
                seen.add(path)
                if not self._record(_step_of(path)).exists():
                    yield path
                if _step_of(path) >= config.train_steps:
                    return
            if new:
                waited_from = time.monotonic()
            time.sleep(POLL_SECONDS)
        self._log(f"no new checkpoint for {config.continuous_eval_timeout} s")

    def _write(self, path: Path, text: str) -> None:
        if self.trainer.chief:
            write_text(path, text)

    def _summarise(self, folder: str, scalars: dict[str, float]) -> None:
        if not self.trainer.chief:
            return
        if folder not in self._writers:
            self._writers[folder] = tf.summary.create_file_writer(str(self._folder / folder))
        with self._writers[folder].as_default(step=self.trainer.step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)
        self._writers[folder].flush()

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Delay SIGTERM and SIGINT until the current loop of steps ends, if a checkpoint is to be saved then."""

        def stop(number: int, frame: object) -> None:
            self._asked_to_stop = True

        if not self._experiment.trainer.preemption_on_demand_checkpoint:
            yield
            return
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _step_of(path: str) -> int:
    """Return the step in a checkpoint's name."""
    return int(path.rpartition("-")[2])
