"""Training of a model by an experiment: steps on all replicas, checkpoints, summaries; resumes where it stopped.

A run is deterministic: the clips of a step are a function of the step's number, and all other state (weights, slots of
the optimizer, states of random generators) is in a checkpoint. So a resumed run continues as if it had not stopped.
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
    """The steps since the last progress: means over them, and their speed."""

    step: int
    loss: float
    top1: float
    top5: float
    learning_rate: float
    steps_per_second: float

    def scalars(self) -> dict[str, float]:
        """Return the scalars by the Model Garden's names of summaries."""
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
      step: number of finished steps.
      model: the trained model; `swap_averages` swaps its weights with their moving averages for an evaluation.
      chief: True if this process writes checkpoints; False for all workers but the first.
      unusable: name of a video that cannot be read -> reason; filled while the clips are read.
    """

    def __init__(
        self, experiment: ExperimentConfig, folder: Path, strategy: tf.distribute.Strategy, log: Log = print
    ) -> None:
        """Build the model; `restore` or `initialize` loads weights.

        Raises:
          InputError: the replicas do not divide the batch, or a member of an ensemble is missing.
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
        # All workers take part in saving, but only the first one's files are kept.
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
        """Number of finished steps."""
        return int(self._step.numpy())

    # -- weights --------------------------------------------------------------------------------

    def restore(self, path: str | None = None) -> str | None:
        """Load everything from a checkpoint, by default the newest of the folder; return its path, or None.

        Raises:
          InputError: it cannot be read, or is of another experiment.
        """
        path = path or tf.train.latest_checkpoint(str(self.folder))
        if path is None:
            return None
        try:
            self.checkpoint.restore(path).assert_existing_objects_matched().expect_partial()
        except (tf.errors.OpError, ValueError, AssertionError, IndexError) as error:  # IndexError: a truncated file
            reason = " ".join(str(error).split())[:200]
            raise InputError("--model_dir", path, f"is not a checkpoint of this experiment: {reason}") from None
        return path

    def initialize(self) -> None:
        """Load the weights of `init_checkpoint`, if set."""
        task = self.experiment.task
        if task.init_checkpoint:
            checkpoint.load_weights(self.model, task.init_checkpoint, task.init_checkpoint_modules)
            self._log(f"weights ({task.init_checkpoint_modules}) from {task.init_checkpoint}")

    def save(self) -> str:
        """Write a checkpoint; it appears complete or not at all."""
        return str(self.manager.save(checkpoint_number=self._step))

    def swap_averages(self) -> None:
        """Swap the weights with their moving averages, if any; a second call restores them."""
        self._updates.swap_averages()

    # -- steps ----------------------------------------------------------------------------------

    def batches(self) -> Any:
        """Return an iterator over the clips from the next step on, for `train`."""
        task, seed = self.experiment.task, self.experiment.trainer.seed
        first = self.step * task.train_data.global_batch_size

        def read(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return read_clips(task, "train_data", seed, context, self.unusable, first)

        return iter(self.strategy.distribute_datasets_from_function(read))

    def train(self, iterator: Any, steps: int) -> Progress:
        """Train for `steps` steps.

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
                f"the loss is {progress.loss} by step {progress.step}: lower the learning rate, extend the warm-up or "
                "clip gradients; the last checkpoint is from an earlier step"
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
        """Update by one batch; return this replica's part of loss and accuracies."""
        share = 1.0 / self.strategy.num_replicas_in_sync
        with tf.GradientTape() as tape:
            logits = self.model(clips, training=True)
            loss = share * (self._loss.cross_entropy(logits, labels) + self._loss.l2(self._decayed))
            scaled = loss if self._updates.loss_scale is None else loss * self._updates.loss_scale
        self._updates.apply(tape.gradient(scaled, self._updates.trained))
        found = [tf.reduce_mean(tf.cast(tf.math.in_top_k(labels, logits, k), tf.float32)) for k in (1, 5)]
        return tf.stack([loss, *(share * accuracy for accuracy in found)])
