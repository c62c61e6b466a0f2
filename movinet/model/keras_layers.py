"""Keras layers of a MoViNet: stem, bottleneck and head, and the clip of one member of an ensemble.

There is one Keras layer per MoViNet layer: a model with one layer per operation takes five times as long to trace.
Between stem and head activations are time-major, `T B H W C`, so that no layer has to transpose; see `ops`. Bottlenecks
and head of a causal network also have a `step` with states as inputs and outputs, from which `stream` builds the
frame-by-frame model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import keras
import tensorflow as tf

from movinet.model import layers, ops
from movinet.model.area import area_terms
from movinet.model.layers import BottleneckForm
from movinet.model.ops import Tensor
from movinet.model.specs import BottleneckSpec, HeadSpec, Spec, StemSpec, initial
from movinet.model.stream_ops import BUFFER, COUNT, POSITION, SUM, Memory
from search_space.variant import BASE, Variant

Shape = tuple[int | None, ...]
States = Mapping[str, Tensor]
StateSpecs = dict[str, tuple[Shape, str]]  # shape and dtype by name
PACKAGE = "movinet_nas"


class _SpecLayer(keras.layers.Layer):
    """Layer with the weights and moving statistics that a spec declares, under the spec's names."""

    spec: Spec

    def __init__(self, spec: Spec, seed: int, norm_momentum: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec, self.seed, self.norm_momentum = spec, seed, norm_momentum
        self._weights_by_name: dict[str, Any] = {}
        self._moving: dict[str, tuple[Any, Any]] = {}

    def build(self, input_shape: Shape) -> None:
        """Create the variables; their shapes come from the spec, not from `input_shape`."""
        start = initial(self.spec, self.seed)
        for weight in self.spec.weights():
            # Weights of batch norm stay float32 under mixed precision, as the fused kernel requires.
            norm = weight.name.endswith(("_gamma", "_beta")) or weight.name in ("rezero", "positional")
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
        """Add the weight to Keras, and by name for `tf.train.Checkpoint`, which otherwise silently finds no weight."""
        variable = super().add_weight(**kwargs)
        self._track_trackable(variable, kwargs["name"])
        return variable

    def save_own_variables(self, store: Any) -> None:
        """Save variables by name, so that a Keras file describes its content; see `checkpoint`."""
        for variable in self.weights:
            store[variable.name] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Load what `save_own_variables` wrote."""
        for variable in self.weights:
            variable.assign(store[variable.name])

    def _statistic(self, name: str, channels: int, start: str) -> Any:
        return self.add_weight(
            name=name, shape=(channels,), initializer=start, trainable=False, autocast=False, aggregation="mean"
        )

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the weights as tensors, in the compute dtype where Keras casts them."""
        return {name: tf.convert_to_tensor(variable) for name, variable in self._weights_by_name.items()}

    def folded(self) -> tuple[layers.Folded, Mapping[str, Tensor]]:
        """Return interpreter and weights for inference: a float32 copy, with norms folded into kernels."""
        weights = {name: tf.identity(variable.value) for name, variable in self._weights_by_name.items()}
        moving = {name: (mean.value, variance.value) for name, (mean, variance) in self._moving.items()}
        return layers.Folded(layers.fold(self.spec, weights, moving)), weights

    def interpreter(self, training: bool | None) -> layers.Forward:
        """Return an interpreter that uses the batch's statistics in training, else the moving ones."""
        if training and self.trainable:
            return layers.ForwardTraining()
        return layers.Forward(
            {name: (tf.convert_to_tensor(m), tf.convert_to_tensor(v)) for name, (m, v) in self._moving.items()}
        )

    def keep_statistics(self, run: layers.Forward) -> None:
        """Update the moving statistics with those of the batch, if `run` computed any."""
        if isinstance(run, layers.ForwardTraining):
            for name, found in run.statistics.items():
                for moving, batch in zip(self._moving[name], found, strict=True):
                    moving.assign(moving * self.norm_momentum + batch * (1 - self.norm_momentum))

    def get_config(self) -> dict[str, Any]:
        """Return everything needed to create the layer again."""
        shared = {"seed": self.seed, "norm_momentum": self.norm_momentum}
        return super().get_config() | asdict(self.spec) | shared


def _checkpointed(seed: keras.random.SeedGenerator) -> tf.train.Checkpoint:
    """Make `tf.train.Checkpoint` save the state of a generator, without Keras counting it among the weights."""
    return tf.train.Checkpoint(state=seed.state)


def _variant(given: Variant | Mapping[str, Any]) -> Variant:
    """Return the variant; build it if it is plain data from a file."""
    return given if isinstance(given, Variant) else Variant(**given)


def _fold(x: Tensor) -> Tensor:
    """Reshape T B H W C -> T*B H W C."""
    shape = x.shape if x.shape.is_fully_defined() else tf.shape(x)
    return tf.ensure_shape(tf.reshape(x, [-1, shape[2], shape[3], x.shape[4]]), [None, *x.shape[2:]])


def _unfold(y: Tensor, frames: Any, batch: Any) -> Tensor:
    """Reshape T*B H W C -> T B H W C."""
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
    """Stem layer: B T H W 3 -> T B H/2 W/2 C."""

    spec: StemSpec

    def __init__(
        self, width: int, seed: int, norm_momentum: float, variant: Variant | Mapping[str, Any] = BASE, **kwargs: Any
    ) -> None:
        super().__init__(StemSpec(width, _variant(variant)), seed, norm_momentum, **kwargs)

    def call(self, clips: Tensor, training: bool | None = None) -> Tensor:
        """Convolve every frame."""
        run = self.interpreter(training)
        y = self.apply(run, self.tensors(), clips)
        self.keep_statistics(run)
        return y

    def apply(self, run: layers.Forward, w: Mapping[str, Tensor], clips: Tensor) -> Tensor:
        """Run the stem with an interpreter and weights of the caller."""
        batch, frames, *sizes = ops.sizes(clips)
        if isinstance(batch, int) and batch == 1:
            x = tf.reshape(clips, ops.shape(frames, 1, *sizes))
        else:
            x = tf.transpose(clips, [1, 0, 2, 3, 4])
        return _unfold(layers.stem(run, _fold(x), w, self.spec.variant), _frames(x), _batch(x))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return T B H/2 W/2 C."""
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
        variant: Variant | Mapping[str, Any] = BASE,
        **kwargs: Any,
    ) -> None:
        t, h, w = kernel
        spec = BottleneckSpec(width_in, expand, width, (t, h, w), stride, squeeze_excite, _variant(variant))
        super().__init__(spec, seed, norm_momentum, **kwargs)
        self.drop_rate = drop_rate
        self.drop_seed = keras.random.SeedGenerator(seed)
        self.random_state = _checkpointed(self.drop_seed)

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Run one inverted bottleneck; in training with stochastic depth on whole clips."""
        run = self.interpreter(training)
        keep = self._keep(_batch(x)) if training and self.drop_rate else None
        y = self.apply(run, self.tensors(), x, Memory(), keep, bool(training))
        self.keep_statistics(run)
        return y

    def step(self, x: Tensor, states: States) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the bottleneck after the frames that `states` (see `state_specs`) hold; return output and new states."""
        memory = Memory(states)
        return self.apply(self.interpreter(False), self.tensors(), x, memory), memory.kept

    def apply(
        self,
        run: layers.Forward,
        w: Mapping[str, Tensor],
        x: Tensor,
        memory: Memory,
        keep: Tensor | None = None,
        training: bool = False,
    ) -> Tensor:
        """Run the bottleneck with an interpreter, weights and a memory of the caller."""
        frames, batch = _frames(x), _batch(x)
        size = x.shape[2] if x.shape[2] == x.shape[3] else None
        form = BottleneckForm.at(self.spec, x.shape[0], size)
        form = form if training else form.for_inference()
        return _unfold(layers.bottleneck(run, _fold(x), w, batch, form, keep, memory), frames, batch)

    def state_specs(self, input_shape: Shape) -> StateSpecs:
        """Return shape and dtype of the states of a causal layer, for input of a shape T B H W C."""
        _, batch, height, width, _ = input_shape
        spec, found = self.spec, StateSpecs()
        if spec.kernel[0] > 1:
            # A layer with a separate temporal kernel buffers frames that are already downsampled.
            stride = spec.stride if spec.variant.factorised else 1
            shape = (batch, spec.kernel[0] - 1, _halved(height, stride), _halved(width, stride), spec.expand)
            found[BUFFER] = shape, self.compute_dtype
        if spec.gated and spec.variant.remembers_mean:
            found |= {SUM: ((batch, 1, 1, 1, spec.expand), "float32"), COUNT: ((1,), "int32")}
        if spec.gated and spec.variant.encodes_position:
            found[POSITION] = (1,), "int32"
        return found

    def _keep(self, batch: Any) -> Tensor:
        drawn = keras.random.uniform((batch,), seed=self.drop_seed)
        return tf.cast(drawn >= self.drop_rate, self.compute_dtype) / (1 - self.drop_rate)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return T B H/stride W/stride D."""
        frames, batch, height, width, _ = input_shape
        stride = self.spec.stride
        return (frames, batch, _halved(height, stride), _halved(width, stride), self.spec.width)

    def get_config(self) -> dict[str, Any]:
        """Return everything needed to create the layer again."""
        return super().get_config() | {"drop_rate": self.drop_rate}


@keras.saving.register_keras_serializable(PACKAGE)
class Head(_SpecLayer):
    """T B H W C -> B classes: project, pool over the clip, dense, dropout, classifier. Logits are float32."""

    spec: HeadSpec

    def __init__(
        self, width_in: int, project: int, dense: int, classes: int, seed: int, norm_momentum: float,
        dropout: float = 0.0, variant: Variant | Mapping[str, Any] = BASE, **kwargs: Any,
    ) -> None:  # fmt: skip
        spec = HeadSpec(width_in, project, dense, classes, _variant(variant))
        super().__init__(spec, seed, norm_momentum, **kwargs)
        self.dropout = dropout
        self.dropout_seed = keras.random.SeedGenerator(seed)
        self.random_state = _checkpointed(self.dropout_seed)
        self.features_frozen = False

    def freeze_features(self) -> None:
        """Freeze the projection and the statistics of its norm; the dense layers still learn."""
        self.features_frozen = True
        for variable in self.weights:
            variable.trainable = variable.name.startswith(("dense", "classifier"))

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Classify each clip."""
        run = self.interpreter(training and not self.features_frozen)
        weights = self.tensors()
        features = self.features(run, weights, x, None)
        self.keep_statistics(run)
        if training and self.dropout:
            features = keras.random.dropout(features, self.dropout, seed=self.dropout_seed)
        return tf.cast(layers.classifier(run, features, weights), tf.float32)

    def step(self, x: Tensor, states: States) -> tuple[Tensor, dict[str, Tensor]]:
        """Classify by these frames and those that `states` (see `state_specs`) hold; return logits and new states."""
        memory = Memory(states)
        return tf.cast(self.apply(self.interpreter(False), self.tensors(), x, memory), tf.float32), memory.kept

    def features(self, run: layers.Forward, w: Mapping[str, Tensor], x: Tensor, memory: Memory | None) -> Tensor:
        """Return the input of dropout and classifier: T B H W C -> B dense."""
        return layers.head_features(run, _fold(x), w, _batch(x), self.spec.variant, memory)

    def apply(self, run: layers.Forward, w: Mapping[str, Tensor], x: Tensor, memory: Memory | None) -> Tensor:
        """Return logits with an interpreter, weights and a memory of the caller."""
        return layers.classifier(run, self.features(run, w, x, memory), w)

    def state_specs(self, input_shape: Shape) -> StateSpecs:
        """Return shape and dtype of the running sum and the number of frames, for input of a shape T B H W C."""
        return {SUM: ((input_shape[1], 1, 1, 1, self.spec.project), "float32"), COUNT: ((1,), "int32")}

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return B classes."""
        return (input_shape[1], self.spec.classes)

    def compute_output_spec(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Return a float32 spec, also under mixed precision, as `call` does."""
        return keras.KerasTensor(self.compute_output_shape(x.shape), "float32")

    def get_config(self) -> dict[str, Any]:
        """Return everything needed to create the layer again."""
        return super().get_config() | {"dropout": self.dropout}


@keras.saving.register_keras_serializable(PACKAGE)
class MemberClip(keras.layers.Layer):
    """Input of one member of an ensemble, cut from the common clip: B T H W 3 -> B frames resolution resolution 3."""

    def __init__(self, offset: int, stride: int, frames: int, resolution: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.offset, self.stride, self.frames, self.resolution = offset, stride, frames, resolution

    def call(self, clips: Tensor) -> Tensor:
        """Return every `stride`-th frame from `offset` on, resized by area to the member's resolution."""
        x = clips[:, self.offset :: self.stride][:, : self.frames]
        if x.shape[2] == x.shape[3] == self.resolution:
            return x
        frames = tf.reshape(x, [-1, *x.shape[2:]])
        frames = tf.cast(_resized(tf.cast(frames, tf.float32), self.resolution), x.dtype)
        return tf.reshape(frames, [-1, self.frames, self.resolution, self.resolution, x.shape[-1]])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return B frames resolution resolution 3."""
        return (input_shape[0], self.frames, self.resolution, self.resolution, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Return everything needed to create the layer again."""
        own = {name: getattr(self, name) for name in ("offset", "stride", "frames", "resolution")}
        return super().get_config() | own


def _resized(frames: Tensor, resolution: int) -> Tensor:
    """Resize frames float32 [N, H, W, C] by area: sums of gathered rows and columns, for all export targets."""
    for axis, shape in ((1, [-1, 1, 1]), (2, [-1, 1])):
        places, weights = area_terms(frames.shape[axis], resolution)
        terms = zip(places, weights, strict=True)
        frames = tf.add_n([tf.gather(frames, at, axis=axis) * tf.reshape(weight, shape) for at, weight in terms])
    return frames
