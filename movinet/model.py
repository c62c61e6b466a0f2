"""keras.Model of any architecture, and of an ensemble.

One Keras layer for each MoViNet layer: a model of one layer per operation takes five times as long to trace.
A model takes `B T H W C` clips in 0..1 and returns `B classes` logits. Between stem and head activations are
time-major, `T B H W C`, so that no layer has to transpose; see `ops`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import keras
import tensorflow as tf

from movinet import layers
from movinet.layers import BottleneckForm, BottleneckSpec, HeadSpec, Spec, StemSpec
from movinet.ops import Tensor
from search_space.architecture import Architecture
from search_space.errors import InputError

Shape = tuple[int | None, ...]
PACKAGE = "movinet_nas"


class _SpecLayer(keras.layers.Layer):
    """Weights and moving statistics as a spec declares them, under the spec's names."""

    spec: Spec

    def __init__(self, spec: Spec, seed: int, norm_momentum: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec, self.seed, self.norm_momentum = spec, seed, norm_momentum
        self._weights_by_name: dict[str, Any] = {}
        self._moving: dict[str, tuple[Any, Any]] = {}

    def build(self, input_shape: Shape) -> None:
        """Creates the variables; their shapes come from the spec, not from `input_shape`."""
        start = layers.initial(self.spec, self.seed)
        for weight in self.spec.weights():
            # Batch norm keeps its own in float32 under mixed precision, as the fused kernel requires.
            norm = weight.name.endswith(("_gamma", "_beta")) or weight.name == "rezero"
            self._weights_by_name[weight.name] = self.add_weight(
                name=weight.name,
                shape=weight.shape,
                initializer=lambda shape, dtype=None, value=start[weight.name]: keras.ops.convert_to_tensor(
                    value, dtype
                ),
                autocast=not norm,
            )
        for name, channels in self.spec.norms:
            self._moving[name] = (
                self._statistic(f"{name}_moving_mean", channels, "zeros"),
                self._statistic(f"{name}_moving_variance", channels, "ones"),
            )

    def add_weight(self, **kwargs: Any) -> Any:
        """As Keras does, and by its name for `tf.train.Checkpoint`, which without it finds no weight and says nothing."""
        variable = super().add_weight(**kwargs)
        self._track_trackable(variable, kwargs["name"])
        return variable

    def _statistic(self, name: str, channels: int, start: str) -> Any:
        return self.add_weight(name=name, shape=(channels,), initializer=start, trainable=False, autocast=False)

    def tensors(self) -> Mapping[str, Tensor]:
        """The weights as tensors, in the dtype of the computation where Keras casts them."""
        return {name: tf.convert_to_tensor(variable) for name, variable in self._weights_by_name.items()}

    def interpreter(self, training: bool | None) -> layers.Forward:
        """Runs the layer's primitives with the statistics of the batch in training, else with the moving ones."""
        if training and self.trainable:
            return layers.ForwardTraining()
        return layers.Forward(
            {name: (tf.convert_to_tensor(m), tf.convert_to_tensor(v)) for name, (m, v) in self._moving.items()}
        )

    def keep_statistics(self, run: layers.Forward) -> None:
        """Moves the moving statistics towards those of the batch just normalised, if it was one."""
        if isinstance(run, layers.ForwardTraining):
            for name, found in run.statistics.items():
                for moving, batch in zip(self._moving[name], found, strict=True):
                    moving.assign(moving * self.norm_momentum + batch * (1 - self.norm_momentum))

    def get_config(self) -> dict[str, Any]:
        """Everything needed to make the layer again."""
        shared = {"seed": self.seed, "norm_momentum": self.norm_momentum}
        return super().get_config() | asdict(self.spec) | shared


def _fold(x: Tensor) -> Tensor:
    """T B H W C -> T*B H W C."""
    shape = x.shape if x.shape.is_fully_defined() else tf.shape(x)
    return tf.ensure_shape(tf.reshape(x, [-1, shape[2], shape[3], x.shape[4]]), [None, *x.shape[2:]])


def _unfold(y: Tensor, frames: Any, batch: Any) -> Tensor:
    """T*B H W C -> T B H W C."""
    shape = y.shape if None not in y.shape[1:] else tf.shape(y)
    return tf.reshape(y, [frames, batch, shape[1], shape[2], y.shape[3]])


def _batch(x: Tensor) -> Any:
    return x.shape[1] if x.shape[1] is not None else tf.shape(x)[1]


def _frames(x: Tensor) -> Any:
    return x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]


def _halved(size: int | None, stride: int) -> int | None:
    return None if size is None else -(-size // stride)


@keras.saving.register_keras_serializable(PACKAGE)
class Stem(_SpecLayer):
    """B T H W 3 -> T B H/2 W/2 C."""

    spec: StemSpec

    def __init__(self, width: int, seed: int, norm_momentum: float, **kwargs: Any) -> None:
        super().__init__(StemSpec(width), seed, norm_momentum, **kwargs)

    def call(self, clips: Tensor, training: bool | None = None) -> Tensor:
        """Convolves every frame."""
        x = tf.transpose(clips, [1, 0, 2, 3, 4])
        run = self.interpreter(training)
        y = layers.stem(run, _fold(x), self.tensors())
        self.keep_statistics(run)
        return _unfold(y, _frames(x), _batch(x))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """T B H/2 W/2 C."""
        batch, frames, height, width, _ = input_shape
        return (frames, batch, _halved(height, 2), _halved(width, 2), self.spec.width)


@keras.saving.register_keras_serializable(PACKAGE)
class Bottleneck(_SpecLayer):
    """T B H W C -> T B H/stride W/stride D: expand, depthwise, squeeze-excite, project, ReZero, skip."""

    spec: BottleneckSpec

    def __init__(
        self,
        width_in: int,
        expand: int,
        width: int,
        kernel: Sequence[int],
        stride: int,
        squeeze_excite: bool,
        seed: int,
        norm_momentum: float,
        drop_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        t, h, w = kernel
        spec = BottleneckSpec(width_in, expand, width, (t, h, w), stride, squeeze_excite)
        super().__init__(spec, seed, norm_momentum, **kwargs)
        self.drop_rate = drop_rate
        self.drop_seed = keras.random.SeedGenerator(seed)
        self._track_trackable(self.drop_seed.state, "drop_seed_state")

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """One inverted bottleneck; in training with stochastic depth on whole clips."""
        frames, batch = _frames(x), _batch(x)
        size = x.shape[2] if x.shape[2] == x.shape[3] else None
        form = BottleneckForm.at(self.spec, x.shape[0], size)
        run = self.interpreter(training)
        keep = self._keep(batch) if training and self.drop_rate else None
        y = layers.bottleneck(run, _fold(x), self.tensors(), batch, form, keep)
        self.keep_statistics(run)
        return _unfold(y, frames, batch)

    def _keep(self, batch: Any) -> Tensor:
        drawn = keras.random.uniform((batch,), seed=self.drop_seed)
        return tf.cast(drawn >= self.drop_rate, self.compute_dtype) / (1 - self.drop_rate)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """T B H/stride W/stride D."""
        frames, batch, height, width, _ = input_shape
        stride = self.spec.stride
        return (frames, batch, _halved(height, stride), _halved(width, stride), self.spec.width)

    def get_config(self) -> dict[str, Any]:
        """Everything needed to make the layer again."""
        return super().get_config() | {"drop_rate": self.drop_rate}


@keras.saving.register_keras_serializable(PACKAGE)
class Head(_SpecLayer):
    """T B H W C -> B classes: project, pool over the clip, dense, dropout, classifier. Logits are float32."""

    spec: HeadSpec

    def __init__(
        self, width_in: int, project: int, dense: int, classes: int, seed: int, norm_momentum: float,
        dropout: float = 0.0, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(HeadSpec(width_in, project, dense, classes), seed, norm_momentum, **kwargs)
        self.dropout = dropout
        self.dropout_seed = keras.random.SeedGenerator(seed)
        self._track_trackable(self.dropout_seed.state, "dropout_seed_state")

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Classifies each clip."""
        run = self.interpreter(training)
        weights = self.tensors()
        features = layers.head_features(run, _fold(x), weights, _batch(x))
        self.keep_statistics(run)
        if training and self.dropout:
            features = keras.random.dropout(features, self.dropout, seed=self.dropout_seed)
        return tf.cast(layers.classifier(run, features, weights), tf.float32)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """B classes."""
        return (input_shape[1], self.spec.classes)

    def compute_output_spec(self, x: Tensor, training: bool | None = None) -> Tensor:
        """float32 under mixed precision too, as `call` returns."""
        return keras.KerasTensor(self.compute_output_shape(x.shape), "float32")

    def get_config(self) -> dict[str, Any]:
        """Everything needed to make the layer again."""
        return super().get_config() | {"dropout": self.dropout}


def build(
    architecture: Architecture,
    classes: int,
    *,
    input_shape: tuple[int | None, int | None, int | None] | None = None,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    norm_momentum: float = 0.99,
    seed: int = 0,
    name: str = "movinet",
) -> keras.Model:
    """The base (non-causal, `3d`) model of any architecture.

    Args:
      architecture: the network.
      classes: number of classes.
      input_shape: frames, height and width if not those of the architecture's clip; None for a size that varies.
      dropout: before the classifier; the release trains A0 with 0.2, A1 to A5 with 0.5.
      stochastic_depth: drop rate of the last layer, growing linearly with depth; 0.2 in the release's recipe.
      norm_momentum: of the moving statistics; 0.99 in the release.
      seed: of the initial weights, dropout and stochastic depth.
      name: of the model.

    Returns:
      A model from clips `B T H W 3` in 0..1 to logits `B classes`, float32.

    Raises:
      InputError: `classes` is not a positive integer, or a rate is not a number from 0 to less than 1.
    """
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise InputError("classes", classes, "must be an integer of at least 1")
    rates = {"dropout": dropout, "stochastic_depth": stochastic_depth, "norm_momentum": norm_momentum}
    for place, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise InputError(place, rate, "must be a number from 0 to less than 1")
    clip = architecture.clip
    named = list(layers.bottlenecks(architecture))
    seeds = layers.layer_seeds(seed, len(named) + 2)
    clips = keras.Input((*(input_shape or (clip.frames, clip.resolution, clip.resolution)), 3), name="clips")
    x = Stem(architecture.stem.width, seeds[0], norm_momentum, name="stem")(clips)
    for i, (layer_name, spec) in enumerate(named, 1):
        drop_rate = stochastic_depth * i / len(named)
        x = Bottleneck(
            **asdict(spec), seed=seeds[i], norm_momentum=norm_momentum, drop_rate=drop_rate, name=layer_name
        )(x)
    head = layers.head_spec(architecture, classes)
    logits = Head(**asdict(head), seed=seeds[-1], norm_momentum=norm_momentum, dropout=dropout, name="head")(x)
    return keras.Model(clips, logits, name=name)


def build_ensemble(architectures: Sequence[Architecture], classes: int, *, name: str = "ensemble") -> keras.Model:
    """The mean of the logits of several networks, each with an input for its own clip.

    Raises:
      InputError: no architecture is given.
    """
    if not architectures:
        raise InputError("members", list(architectures), "must be at least one architecture")
    members = [build(a, classes, seed=i, name=f"member{i}") for i, a in enumerate(architectures, 1)]
    inputs = [keras.Input(m.input_shape[1:], name=f"clips{i}") for i, m in enumerate(members, 1)]
    outputs = [member(clips) for member, clips in zip(members, inputs, strict=True)]
    # Logits are float32, whatever the precision of the members.
    mean = keras.layers.Average(dtype="float32", name="mean")(outputs) if len(outputs) > 1 else outputs[0]
    return keras.Model(inputs, mean, name=name)
