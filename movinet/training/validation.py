"""Evaluation of a model during training: accuracies and loss over the validation data, on all replicas."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from movinet.model.ops import Tensor
from movinet.training.config.experiment import ExperimentConfig
from movinet.training.input.examples import Unusable
from movinet.training.task import Loss, decayed_kernels, read_clips
from search_space.base.errors import InputError


class Validation:
    """Repeated evaluation of one model; traced functions are kept."""

    def __init__(
        self,
        experiment: ExperimentConfig,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        unusable: Unusable | None = None,
    ) -> None:
        """Prepare a model created under the strategy's scope; unreadable videos are added to `unusable`."""
        self._task, self._strategy = experiment.task, strategy
        self._data = experiment.task.validation_data
        self._unusable = {} if unusable is None else unusable
        self._most = experiment.trainer.validation_steps
        self._seed = experiment.trainer.seed
        self._model, self._loss = model, Loss.of(experiment.task)
        self._decayed = decayed_kernels(model)
        self._views = self._data.num_test_clips * self._data.num_test_crops
        self._step = tf.function(self._on_all)

    def run(self) -> dict[str, float]:
        """Return accuracy, top_1_accuracy, top_5_accuracy and validation_loss as in the Model Garden; and examples.

        Probabilities of an example's views are averaged.

        Raises:
          InputError: there is nothing to evaluate.
        """
        total = tf.zeros([4])
        for number, (clips, labels) in enumerate(self._strategy.distribute_datasets_from_function(self._read)):
            if number == self._most:
                break
            # Reduced out here: a worker without clips left runs other functions than the rest.
            total += self._strategy.reduce(tf.distribute.ReduceOp.SUM, self._step(clips, labels), axis=None)
        loss, top1, top5, count = total.numpy().tolist()
        if not count:
            raise InputError(
                "task.validation_data",
                self._data.global_batch_size,
                "drops the only batch; no batch is left to evaluate",
            )
        decay = float(self._loss.l2(self._decayed))
        return {
            "accuracy": top1 / count,
            "top_1_accuracy": top1 / count,
            "top_5_accuracy": top5 / count,
            "validation_loss": loss / count + decay,
            "examples": count,
        }

    def _read(self, context: tf.distribute.InputContext) -> tf.data.Dataset:
        return read_clips(self._task, "validation_data", self._seed, context, self._unusable)

    def _on_all(self, clips: Any, labels: Any) -> Any:
        return self._strategy.run(self._on_one, args=(clips, labels))

    def _on_one(self, clips: Tensor, labels: Tensor) -> Tensor:
        """Return sums over a replica's batch: loss, top-1 hits, top-5 hits, examples."""
        if labels.shape[0] == 0:
            return tf.zeros([4])
        probabilities = tf.nn.softmax(self._model(clips, training=False))
        probabilities = tf.reduce_mean(tf.reshape(probabilities, [-1, self._views, self._loss.classes]), axis=1)
        count = tf.cast(tf.size(labels), tf.float32)
        right = [tf.reduce_sum(tf.cast(tf.math.in_top_k(labels, probabilities, k), tf.float32)) for k in (1, 5)]
        # The softmax of log probabilities returns the probabilities.
        loss = self._loss.cross_entropy(tf.math.log(tf.maximum(probabilities, 1e-30)), labels)
        return tf.stack([loss * count, *right, count])
