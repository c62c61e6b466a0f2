"""Model of an experiment with its initial weights, and its loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from movinet.model.keras_layers import Head
from movinet.model.keras_model import build, build_ensemble
from movinet.model.ops import Tensor
from movinet.training.config.experiment import DataConfig, ExperimentConfig, TaskConfig
from movinet.training.config.fields import field_types
from movinet.training.config.model_config import EnsembleConfig, MemberConfig
from movinet.training.input.batches import batches
from movinet.training.input.examples import Unusable
from movinet.weights import checkpoint
from search_space.architecture import Architecture, Clip
from search_space.base.errors import InputError
from search_space.network import common_clip, load

CLASSIFIER_STD = 0.01  # of the classifier's normal initialisation in the Model Garden


def clip_of(data: DataConfig) -> Clip:
    """Return the clip as a value of `search_space`, which supports only square frames: the height is used."""
    frames, height, _, _ = data.feature_shape
    return Clip(frames, height, data.temporal_stride)


def architecture_of(task: TaskConfig) -> Architecture:
    """Return the network of an experiment without ensemble, with the clip of evaluation."""
    return task.model.backbone.movinet.architecture(clip_of(task.validation_data))


def build_model(experiment: ExperimentConfig) -> keras.Model:
    """Build the model in the experiment's precision; weights come from the seed or from the members' checkpoints.

    Raises:
      InputError: the files of an ensemble do not fit each other or the data.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_policy(experiment.runtime.mixed_precision_dtype))
    try:
        ensemble = experiment.task.model.ensemble
        return _single(experiment) if ensemble is None else _ensemble(experiment, ensemble)
    finally:
        keras.config.set_dtype_policy(before)


def _policy(dtype: str | None) -> str:
    return "float32" if dtype in (None, "float32") else f"mixed_{dtype}"


def _single(experiment: ExperimentConfig) -> keras.Model:
    task = experiment.task
    classes, shape = task.train_data.num_classes, _input_shape(task)
    model = build(architecture_of(task), classes, input_shape=shape, **_options(experiment))
    _start(model, experiment, experiment.trainer.seed)
    return model


def _options(experiment: ExperimentConfig) -> dict[str, Any]:
    """Return the arguments of `movinet.model.keras_model.build` that the experiment sets for any network."""
    model = experiment.task.model
    backbone = model.backbone.movinet
    return {
        "variant": replace(backbone.variant(), classifier_activation=model.activation),
        "dropout": model.dropout_rate,
        "stochastic_depth": backbone.stochastic_depth_drop_rate,
        "norm_momentum": model.norm_activation.norm_momentum,
        "seed": experiment.trainer.seed,
    }


def _start(model: keras.Model, experiment: ExperimentConfig, seed: int) -> None:
    _start_classifier(model.get_layer("head"), seed)
    if experiment.task.freeze_backbone:
        freeze_backbone(model)


def _input_shape(task: TaskConfig) -> tuple[int | None, int | None, int | None]:
    """Return frames, height and width; None where training and evaluation differ, as in the Model Garden."""
    shapes = zip(task.train_data.feature_shape, task.validation_data.feature_shape, strict=True)
    frames, height, width, _ = [a if a == b else None for a, b in shapes]
    return frames, height, width


def _start_classifier(head: Head, seed: int) -> None:
    kernel = next(weight for weight in head.trainable_weights if weight.name == "classifier")
    kernel.assign(np.random.default_rng(seed).normal(0.0, CLASSIFIER_STD, kernel.shape))


def freeze_backbone(model: keras.Model) -> None:
    """Freeze all but the dense layers after the pool; norms keep their moving statistics."""
    for layer in model.layers:
        if isinstance(layer, Head):
            layer.freeze_features()
        else:
            layer.trainable = False


def _ensemble(experiment: ExperimentConfig, ensemble: EnsembleConfig) -> keras.Model:
    data, seed = experiment.task.validation_data, experiment.trainer.seed
    members, offsets = _members(ensemble)
    _check_clip("validation_data", data, common_clip(members, offsets))
    model = build_ensemble(members, data.num_classes, offsets=offsets, **_options(experiment))
    for i, member in enumerate(ensemble.members):
        layer = model.get_layer(f"member{i + 1}")
        _start(layer, experiment, seed + i)
        if member.checkpoint:
            checkpoint.load_weights(layer, member.checkpoint)
    return model


def check_trainable(task: TaskConfig) -> None:
    """Check that the clips of train_data are the common clip of an ensemble's members.

    Raises:
      InputError: they are not.
    """
    if task.model.ensemble is not None:
        _check_clip("train_data", task.train_data, common_clip(*_members(task.model.ensemble)))


def _check_clip(part: str, data: DataConfig, common: Clip) -> None:
    wanted = [common.frames, common.resolution, common.resolution, 3]
    if list(data.feature_shape) != wanted or data.temporal_stride != common.frame_stride:
        given = [*data.feature_shape, data.temporal_stride]
        rule = f"must be the members' common clip, {wanted}, with the temporal_stride {common.frame_stride}"
        raise InputError(f"task.{part}.feature_shape", given, rule)


def _members(ensemble: EnsembleConfig) -> tuple[tuple[Architecture, ...], tuple[int, ...]]:
    """Return the networks, and the offset of each one's clip in frames of the source."""
    return tuple(map(_member, ensemble.members)), tuple(member.offset for member in ensemble.members)


def _member(config: MemberConfig) -> Architecture:
    """Return the only network of a file, with another clip if one is set."""
    found = load(config.network).members
    if len(found) != 1:
        raise InputError(config.network, len(found), "must contain one network, as a member of an ensemble")
    (member,) = found
    shape = config.clip or (member.clip.frames, member.clip.resolution, member.clip.resolution, 3)
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise InputError("task.model.ensemble.members", list(shape), "must be [frames, resolution, resolution, 3]")
    stride = member.clip.frame_stride if config.frame_stride is None else config.frame_stride
    return replace(member, clip=Clip(shape[0], shape[1], stride))


def read_clips(
    task: TaskConfig, part: str, seed: int, context: tf.distribute.InputContext, unusable: Unusable, first: int = 0
) -> tf.data.Dataset:
    """Return batches of the data that `part` names: of train_data from example `first` on, or of validation_data.

    Raises:
      InputError: see `movinet.training.input.batches.batches`; names the key of the experiment.
    """
    data, training = getattr(task, part), part == "train_data"
    own_seed = seed if data.seed is None else data.seed
    try:
        return batches(data, training=training, seed=own_seed, first_example=first, context=context, unusable=unusable)
    except InputError as error:
        place = f"task.{part}.{error.place}" if error.place in field_types(DataConfig) else error.place
        raise InputError(place, error.value, error.rule) from None


def trained_variables(model: keras.Model) -> list[tuple[str, Any]]:
    """Return name and variable of all trained weights."""
    trained = {id(variable) for variable in model.trainable_variables}
    named = checkpoint.named_variables(model).items()
    return [(name, variable.value) for name, variable in named if id(variable) in trained]


def decayed_kernels(model: keras.Model) -> list[Any]:
    """Return the variables of the L2 loss: trained kernels except the classifier's; no biases, norms or scalars."""
    return list(_decayed(model))


def _decayed(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):  # a member of an ensemble
            yield from _decayed(layer)
            continue
        names = {weight.name for weight in layer.spec.weights() if weight.decayed} if hasattr(layer, "spec") else set()
        for variable in layer.trainable_weights:
            if variable.name in names - {"classifier"}:
                yield variable.value


@dataclass(frozen=True)
class Loss:
    """Cross entropy with label smoothing, and L2."""

    classes: int
    label_smoothing: float
    l2_weight_decay: float

    @classmethod
    def of(cls, task: TaskConfig) -> Loss:
        """Return the loss of an experiment. Labels that are not one-hot are not smoothed, as in the Model Garden."""
        smoothing = task.losses.label_smoothing if task.losses.one_hot else 0.0
        return cls(task.validation_data.num_classes, smoothing, task.losses.l2_weight_decay)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over a batch, in nats: logits `B classes`, labels `B`."""
        truth = tf.one_hot(labels, self.classes) * (1 - self.label_smoothing) + self.label_smoothing / self.classes
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(truth, logits))

    def l2(self, kernels: Sequence[Any]) -> Tensor:
        """Return l2_weight_decay/2 times the squares, a scalar."""
        if not self.l2_weight_decay or not kernels:
            return tf.constant(0.0)
        return self.l2_weight_decay * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
