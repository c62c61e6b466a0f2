"""Trains a model by an experiment: steps on all replicas, checkpoints, summaries; resumes where it stopped.

A run is decided by its experiment: the clips of a step are a function of the step's number, and everything else that
moves (weights, slots of the optimizer, states of random generators) is in a checkpoint. So a run that was stopped and
started again does what it would have done.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from movinet.model.ops import Tensor
from movinet.training.config.experiment import ExperimentConfig
from movinet.training.optimizer import Updates
from movinet.training.task import Loss, build_model, decayed_kernels, read_clips, trained_variables
from movinet.weights import checkpoint
from search_space.base.errors import InputError

Log = Callable[[str], None]


class Diverged(RuntimeError):
    """The loss is not finite, or above its bound."""


@dataclass(frozen=True)
class Progress:
    """The steps since the last progress: means over them, and how fast they were."""

    step: int
    loss: float
    top1: float
    top5: float
    learning_rate: float
    steps_per_second: float

    def scalars(self) -> dict[str, float]:
        """By the names of the release's summaries."""
        return {
            "training_loss": self.loss,
            "accuracy": self.top1,
            "top_1_accuracy": self.top1,
            "top_5_accuracy": self.top5,
            "learning_rate": self.learning_rate,
            "steps_per_second": self.steps_per_second,
        }


class Trainer:
    """Model, optimizer and checkpoints of an experiment in a folder.

    Attributes:
      step: steps done.
      model: that is trained; `swap_averages` exchanges its weights for their moving averages while it is evaluated.
      chief: whether this process writes what is kept; false for all workers but the first.
      unusable: name of a video that cannot be read -> why; grows while the clips are read.
    """

    def __init__(
        self, experiment: ExperimentConfig, folder: Path, strategy: tf.distribute.Strategy, log: Log = print
    ) -> None:
        """Builds the model; `restore` or `initialize` gives it its weights.

        Raises:
          InputError: the batch cannot be divided, or a member of an ensemble is missing.
        """
        self.experiment, self.folder, self.strategy, self._log = experiment, folder, strategy, log
        self.unusable: dict[str, str] = {}
        self._loss = Loss.of(experiment.task)
        self._check_replicas()
        with strategy.scope():
            self.model = build_model(experiment)
            self._updates = self._make_updates()
            self._step = tf.Variable(0, trainable=False, dtype=tf.int64, name="global_step")
        self._decayed = decayed_kernels(self.model)
        self.checkpoint = tf.train.Checkpoint(model=self.model, optimizer=self._updates, global_step=self._step)
        # All workers of several take part in saving, but only the first one's files are kept.
        self.chief = bool(strategy.extended.should_checkpoint)
        kept = str(folder) if self.chief else tempfile.mkdtemp()
        most = experiment.trainer.max_to_keep if self.chief else 1
        self.manager = tf.train.CheckpointManager(self.checkpoint, kept, max_to_keep=most, checkpoint_name="ckpt")
        self._run = tf.function(self._steps)

    def _check_replicas(self) -> None:
        task, replicas = self.experiment.task, self.strategy.num_replicas_in_sync
        for name in ("train_data", "validation_data"):
            batch = getattr(task, name).global_batch_size
            if batch % replicas:
                rule = f"must be a multiple of the {replicas} replicas"
                raise InputError(f"task.{name}.global_batch_size", batch, rule)
        if replicas > 1 and not task.model.norm_activation.use_sync_bn:
            rule = f"is not supported: the {replicas} replicas have one norm"
            raise InputError("task.model.norm_activation.use_sync_bn", False, rule)

    def _make_updates(self) -> Updates:
        runtime, config = self.experiment.runtime, self.experiment.trainer.optimizer_config
        trained = trained_variables(self.model)
        only_trained = config.ema is None or config.ema.trainable_weights_only
        averaged = [variable for _, variable in trained] if only_trained else [v.value for v in self.model.weights]
        scale = runtime.loss_scale or "dynamic" if runtime.mixed_precision_dtype == "float16" else None
        return Updates(config, trained, averaged, scale)

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self._step.numpy())

    # -- weights --------------------------------------------------------------------------------

    def restore(self, path: str | None = None) -> str | None:
        """Takes everything from a checkpoint, the newest of the folder if none is given; which, if there is one.

        Raises:
          InputError: it cannot be read, or is of another experiment.
        """
        path = path or tf.train.latest_checkpoint(str(self.folder))
        if path is None:
            return None
        try:
            self.checkpoint.restore(path).assert_existing_objects_matched().expect_partial()
        except (tf.errors.OpError, ValueError, AssertionError, IndexError) as error:  # IndexError: a file cut short
            reason = " ".join(str(error).split())[:200]
            raise InputError("--model_dir", path, f"is not a checkpoint of this experiment: {reason}") from None
        return path

    def initialize(self) -> None:
        """Takes the weights of `init_checkpoint`, if there is one."""
        task = self.experiment.task
        if task.init_checkpoint:
            checkpoint.load_weights(self.model, task.init_checkpoint, task.init_checkpoint_modules)
            self._log(f"weights ({task.init_checkpoint_modules}) from {task.init_checkpoint}")

    def save(self) -> str:
        """Writes a checkpoint; it appears complete or not at all."""
        return str(self.manager.save(checkpoint_number=self._step))

    def swap_averages(self) -> None:
        """Exchanges the weights for their moving averages, if there are any; twice is as before."""
        self._updates.swap_averages()

    # -- steps ----------------------------------------------------------------------------------

    def batches(self) -> Any:
        """An iterator over the clips from the next step on, for `train`."""
        task, seed = self.experiment.task, self.experiment.trainer.seed
        first = self.step * task.train_data.global_batch_size

        def read(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return read_clips(task, "train_data", seed, context, self.unusable, first)

        return iter(self.strategy.distribute_datasets_from_function(read))

    def train(self, iterator: Any, steps: int) -> Progress:
        """Does this many steps.

        Raises:
          Diverged: the loss is not finite, or above loss_upper_bound.
        """
        start = time.monotonic()
        loss, top1, top5 = (self._run(iterator, tf.constant(steps)).numpy() / steps).tolist()
        rate = float(self._updates.rate(tf.cast(self._updates.iterations, tf.float32)))
        seconds = max(time.monotonic() - start, 1e-9)
        progress = Progress(self.step, loss, top1, top5, rate, steps / seconds)
        self._check(progress)
        return progress

    def _check(self, progress: Progress) -> None:
        trainer = self.experiment.trainer
        if not math.isfinite(progress.loss):
            raise Diverged(
                f"the loss is {progress.loss} by step {progress.step}: lower the learning rate, warm up for longer or "
                "clip gradients; the last checkpoint is from before"
            )
        if progress.step >= trainer.recovery_begin_steps and progress.loss > trainer.loss_upper_bound:
            raise Diverged(
                f"the loss is {progress.loss:.4g} by step {progress.step}, above trainer.loss_upper_bound, "
                f"{trainer.loss_upper_bound:g}"
            )

    def _steps(self, iterator: Any, steps: Tensor) -> Tensor:
        total = tf.zeros([3])
        for _ in tf.range(steps):
            sums = self.strategy.run(self._replica_step, args=next(iterator))
            total += self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
            self._step.assign_add(1)
        return total

    def _replica_step(self, clips: Tensor, labels: Tensor) -> Tensor:
        """Updates by one batch; this replica's share of loss and accuracies."""
        share = 1.0 / self.strategy.num_replicas_in_sync
        with tf.GradientTape() as tape:
            logits = self.model(clips, training=True)
            loss = share * (self._loss.cross_entropy(logits, labels) + self._loss.l2(self._decayed))
            scaled = loss if self._updates.loss_scale is None else loss * self._updates.loss_scale
        self._updates.apply(tape.gradient(scaled, self._updates.trained))
        found = [tf.reduce_mean(tf.cast(tf.math.in_top_k(labels, logits, k), tf.float32)) for k in (1, 5)]
        return tf.stack([loss, *(share * accuracy for accuracy in found)])
