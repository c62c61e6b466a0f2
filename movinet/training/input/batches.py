"""Batches of clips from any source, for training and evaluation, as a `tf.data.Dataset`.

The seed and the number n of an example, counted from the start of the run, determine its video, its frames and its
augmentation. So a run that stopped after s batches resumes with `first_example = s * batch` as if it had not stopped,
and P input pipelines together produce the same batches as one.
"""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from movinet.data.video.source import open_source
from movinet.training.config.experiment import DataConfig
from movinet.training.input import augment, autoaugment
from movinet.training.input.autoaugment_policies import policy
from movinet.training.input.examples import Examples, Share, SourceExamples, Unusable
from movinet.training.input.record_examples import RecordExamples
from movinet.training.input.record_fields import RECORDS
from search_space.base.errors import InputError

Tensor = Any

THREADS = 16  # upper limit: each thread holds the frames of a video


def batches(
    data: DataConfig,
    *,
    training: bool,
    seed: int,
    first_example: int = 0,
    context: tf.distribute.InputContext | None = None,
    unusable: Unusable | None = None,
) -> tf.data.Dataset:
    """Return batches of clips `B T H W 3` of `data.dtype` and labels int32 `B`: endless in training, else one pass.

    In evaluation with several views per example, its clips follow each other, `B*views T H W 3`: crop by crop, and
    within a
    crop in order of time. Unusable videos are replaced by the next one in training, left out in evaluation, and added
    to
    `unusable`.

    Args:
      data: the clips; `global_batch_size` is a batch of all pipelines and replicas together.
      training: shuffle, crop and augment at random; else centre crops in order.
      seed: of everything random.
      first_example: number of earlier examples; a whole number of batches if there are several pipelines.
      context: of `tf.distribute.Strategy.distribute_datasets_from_function`, which then gets batches of one replica:
        the s-th batches of all replicas, in order, are the s-th global batch.
      unusable: name -> reason, filled while the data is read.

    Raises:
      InputError: the data cannot be read, or has no usable video.
    """
    examples = open_examples(data, training=training, seed=seed, unusable=unusable)
    numbered = indexed_batches(examples, data, training, seed, first_example, context)
    return numbered.map(lambda clips, labels, _: (clips, labels))


def open_examples(data: DataConfig, *, training: bool, seed: int, unusable: Unusable | None = None) -> Examples:
    """Return the videos of `data`, with their names and classes.

    Raises:
      InputError: the data cannot be read, or there are several paths where one is allowed.
    """
    if data.file_type in RECORDS:
        return RecordExamples(data, training, seed)
    if not isinstance(data.input_path, str):
        raise InputError("input_path", data.input_path, f"must be one path for the file type {data.file_type}")
    source = open_source(
        data.file_type,
        data.input_path,
        split=data.split,
        video_root=data.video_root,
        target_fps=data.target_fps,
        cache_dir=data.cache_dir,
        split_shares=data.split_shares,
        group_pattern=data.group_pattern,
        num_examples=data.num_examples if data.file_type == "moving_digits" else -1,
    )
    return SourceExamples(source, data, training, seed, _threads(), {} if unusable is None else unusable)


def indexed_batches(
    examples: Examples,
    data: DataConfig,
    training: bool,
    seed: int,
    first_example: int = 0,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Return the same as `batches`, with the videos' indices, int64 `B`, as third element.

    Raises:
      InputError: rotation is configured, but clips are not square.
    """
    if data.aug_random_rotation and data.feature_shape[1] != data.feature_shape[2]:
        raise InputError("feature_shape", data.feature_shape, "must be square for aug_random_rotation")
    share, own_batch = Share(first_example, data.global_batch_size), data.global_batch_size
    if context is not None:
        share = Share(first_example, own_batch, context.num_input_pipelines, context.input_pipeline_id)
        own_batch = context.get_per_replica_batch_size(own_batch)

    def ready(n: Tensor, index: Tensor, frames: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _views(data, training, frames, tf.stack([seed, n])), label, index

    def joined(views: Tensor, labels: Tensor, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return tf.reshape(views, [-1, *data.feature_shape]), labels, indices

    dataset = examples.of(share).map(ready, num_parallel_calls=_threads())
    dataset = dataset.batch(own_batch, drop_remainder=training or data.drop_remainder).map(joined)
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF  # sharded here
    return _served(dataset, data).prefetch(2).with_options(options)


def _threads() -> int:
    return min(os.cpu_count() or 1, THREADS)


def _served(dataset: tf.data.Dataset, data: DataConfig) -> tf.data.Dataset:
    """Read through a tf.data service if configured. Each worker serves all data, so only one worker keeps the order."""
    if not (data.enable_tf_data_service and data.tf_data_service_address):
        return dataset
    if data.file_type not in RECORDS:
        rule = f"cannot serve the file type {data.file_type}; convert the videos to records"
        raise InputError("tf_data_service_address", data.tf_data_service_address, rule)
    distribute = tf.data.experimental.service.distribute(
        tf.data.experimental.service.ShardingPolicy.OFF, data.tf_data_service_address
    )
    return dataset.apply(distribute)


def _views(data: DataConfig, training: bool, frames: Tensor, key: Tensor) -> Tensor:
    """Return the views of one example, `views T H W 3` of `data.dtype`, from its frames, uint8 `clips*T h w 3`."""
    _, height, width, _ = data.feature_shape
    if training:
        views = _changed(data, frames, key)[None]
    else:
        views = augment.crops(
            augment.resize_short_side(frames, data.min_image_size), (height, width), data.num_test_crops
        )
    values = augment.pixels(views, data.zero_centering_image, tf.as_dtype(data.dtype))
    return tf.reshape(values, [1 if training else data.num_test_crops * data.num_test_clips, *data.feature_shape])


def _changed(data: DataConfig, clip: Tensor, key: Tensor) -> Tensor:
    """Return a training clip after random crop, flip and augmentation."""
    _, height, width, _ = data.feature_shape
    keys = tf.unstack(tf.random.split(key, 4))
    area = data.aug_min_area_ratio, data.aug_max_area_ratio
    aspect = data.aug_min_aspect_ratio, data.aug_max_aspect_ratio
    clip = augment.random_resized_crop(clip, (height, width), area, aspect, keys[0])
    if data.aug_flip:
        clip = augment.random_flip(clip, keys[1])
    if data.aug_random_rotation:
        clip = augment.random_rotation(clip, keys[2])
    if data.aug_type is None:
        return clip
    if data.aug_type.type == "autoaug":
        auto = data.aug_type.autoaug
        return autoaugment.auto_augment(clip, policy(auto.augmentation_name), keys[3], auto.translate_const)
    rand = data.aug_type.randaug
    return autoaugment.rand_augment(
        clip, keys[3], rand.num_layers, rand.magnitude, rand.translate_const, rand.prob_to_apply, rand.exclude_ops
    )
