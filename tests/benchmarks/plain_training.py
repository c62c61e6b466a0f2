"""Training of one candidate as a user would write it: its Keras model, `compile` and `fit`.

Shared by `keras_tuner_search.py` and `ray_tune_search.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from movinet.data.store import Dataset, Split
from movinet.model import keras_model
from movinet.proxy.recipe import ADAM_SHARE
from nas.config.search_config import SearchConfig
from nas.evaluation.training_loop import EVALUATION_BATCH
from search_space.architecture import Architecture, Clip


def compiled(architecture: Architecture, search: SearchConfig) -> keras.Model:
    """Return the candidate's model with AdamW and a falling learning rate."""
    training = search.training
    network = keras_model.build(architecture, search.space.classes, norm_momentum=training.norm_momentum)
    schedule = keras.optimizers.schedules.PolynomialDecay(training.learning_rate * ADAM_SHARE, training.steps, 0.0)
    network.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=training.weight_decay),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return network


def fit(
    network: keras.Model,
    clip: Clip,
    search: SearchConfig,
    data: Dataset,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train for the search's steps, then validate on all clips for it."""
    count = len(data.validation)
    whole = np.array_split(np.arange(count), -(-count // EVALUATION_BATCH))
    return network.fit(
        batches(data.train, clip, lambda: shuffled(len(data.train), search)),
        validation_data=batches(data.validation, clip, lambda: iter(whole)),
        callbacks=list(callbacks),
        verbose=0,
    )


def shuffled(clips: int, search: SearchConfig) -> Iterator[np.ndarray]:
    """Return the indices of the clips of each step; each epoch has every clip once."""
    rng, size = np.random.default_rng(search.seed), search.training.batch_size
    epochs = -(-size * search.training.steps // clips)
    order = np.concatenate([rng.permutation(clips) for _ in range(epochs)])
    return (order[step * size : (step + 1) * size] for step in range(search.training.steps))


def batches(split: Split, clip: Clip, indices: Callable[[], Iterator[np.ndarray]]) -> tf.data.Dataset:
    """Return clips float32 `B T H W 3` in 0..1 as the network sees them, and labels, from the memory-mapped arrays."""
    height, width = split.clips.shape[2:4]

    def read() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for chosen in indices():
            yield split.clips[chosen, :: clip.frame_stride], split.labels[chosen]

    def resized(clips: tf.Tensor, labels: tf.Tensor) -> tuple[Any, tf.Tensor]:
        frames = tf.cast(tf.reshape(clips, [-1, height, width, 3]), tf.float32) / 255
        frames = tf.image.resize(frames, [clip.resolution, clip.resolution], method="area")
        return tf.reshape(frames, [-1, clip.frames, clip.resolution, clip.resolution, 3]), labels

    signature = (
        tf.TensorSpec([None, clip.frames, height, width, 3], tf.uint8),
        tf.TensorSpec([None], tf.int32),
    )
    return tf.data.Dataset.from_generator(read, output_signature=signature).map(resized).prefetch(tf.data.AUTOTUNE)
