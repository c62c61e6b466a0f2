"""A causal network on a stream: frame by frame or in chunks, with states in between.

States are plain dictionaries with the Model Garden's names. The last output for a clip fed in pieces equals the output
for the whole clip, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from movinet.model.inference import Folded
from movinet.model.keras_layers import PACKAGE, Bottleneck, Head, Shape, States, StateSpecs, Stem
from movinet.model.keras_model import prefixed_layers
from movinet.model.ops import Tensor
from search_space.base.errors import InputError

IMAGE = "image"  # the Model Garden's name of the frames among the inputs of a stream model


def state_specs(model: keras.Model, shape: Sequence[int | None]) -> StateSpecs:
    """Return shape and dtype of every state by name, for frames of `shape`, B T H W 3; T has no effect.

    Raises:
      InputError: the model is not a causal MoViNet.
    """
    found: StateSpecs = {}
    at: Shape = tuple(shape)
    for prefix, layer in prefixed_layers(model):
        if not layer.spec.variant.causal:
            raise InputError("model", model.name, "is not causal, so it cannot run on a stream")
        if not isinstance(layer, Stem):
            found |= {f"{prefix}_{name}": spec for name, spec in layer.state_specs(at).items()}
        at = layer.compute_output_shape(at)
    return found


def init_states(model: keras.Model, shape: Sequence[int]) -> dict[str, Tensor]:
    """Return the states before the first frame: zeros, for frames of `shape`, B T H W 3; T has no effect."""
    return {name: tf.zeros(shape, dtype) for name, (shape, dtype) in state_specs(model, shape).items()}


@keras.saving.register_keras_serializable(PACKAGE)
class Step(keras.layers.Layer):
    """A bottleneck or head with states in and out; the layer is shared with the model for clips."""

    def __init__(self, layer: Bottleneck | Head, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, x: Tensor, states: States) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the layer's output and the new states, from T B H W C and the states before."""
        return self.layer.step(x, states)

    def compute_output_spec(self, x: Tensor, states: States) -> tuple[Tensor, dict[str, Tensor]]:
        """The layer's output, `T B H W C`, and its states."""
        specs = self.layer.state_specs(x.shape)
        return self.layer.compute_output_spec(x), {
            name: keras.KerasTensor(shape, dtype) for name, (shape, dtype) in specs.items()
        }

    def build(self, input_shape: Shape) -> None:
        """Build the layer if it was read from a file; otherwise the clip model, which shares it, has built it."""
        if not self.layer.built:
            self.layer.build(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return everything needed to create the layer again."""
        return super().get_config() | {"layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Step:
        """Create the layer from plain data."""
        return cls(keras.saving.deserialize_keras_object(config.pop("layer")), **config)


def streaming(
    model: keras.Model, input_shape: tuple[int | None, int | None, int | None] | None = None, batch: int | None = None
) -> keras.Model:
    """Build the model from frames and states to logits and states; it shares the layers of `model`.

    Args:
      model: a causal MoViNet.
      input_shape: frames per call, height and width; by default any number of frames of the model's size.
      batch: clips per batch, if fixed.

    Returns:
      A model of {"image": B T H W 3, state: ...} that returns (logits B classes, {state: ...}): the logits are for all
      frames so far, and the states go into the next call.

    Raises:
      InputError: the model is not a causal MoViNet.
    """
    sizes = input_shape or (None, *model.input_shape[2:4])
    image = keras.Input((*sizes, 3), batch_size=batch, name=IMAGE)
    specs = state_specs(model, image.shape)
    states = {name: keras.Input(batch_shape=shape, dtype=dtype, name=name) for name, (shape, dtype) in specs.items()}
    x: Any = image
    after: dict[str, Any] = {}
    for prefix, layer in prefixed_layers(model):
        if isinstance(layer, Stem):
            x = layer(x)
            continue
        start = f"{prefix}_"
        own = {name.removeprefix(start): state for name, state in states.items() if name.startswith(start)}
        x, kept = Step(layer, name=layer.name)(x, own)
        after |= {f"{start}{name}": state for name, state in kept.items()}
    return keras.Model({IMAGE: image, **states}, (x, after), name=f"{model.name}_stream")


class StreamSession:
    """Running predictions of one stream; holds its states.

    It runs the folded form of the model (see `inference`), with a copy of the weights at creation. Its
    memory does not grow with the number of frames.

    Raises:
      InputError: the model is not a causal MoViNet.
    """

    def __init__(self, model: keras.Model) -> None:
        state_specs(model, (1, None, *model.input_shape[2:]))
        self._model = model
        self._step = tf.function(Folded(model).step, autograph=False)
        self._states: Mapping[str, Tensor] = {}
        self.frames = 0  # received so far

    def push(self, frames: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the logits of all frames so far, including these.

        Args:
          frames: T H W 3 of one stream, or B T H W 3 of B side by side; uint8, or floats in 0..1. All calls between two
            resets have the same B, H and W.

        Returns:
          Logits, `classes` or `B classes`.

        Raises:
          InputError: frames of another type or shape, or of another size than before.
        """
        clip = self._checked(np.asarray(frames))
        if not self._states:
            self._states = init_states(self._model, clip.shape)
            self._shape = (clip.shape[0], *clip.shape[2:])
        if (clip.shape[0], *clip.shape[2:]) != self._shape:
            raise InputError("frames", clip.shape, f"must be of the stream's B H W C, {self._shape}")
        logits, self._states = self._step(tf.constant(clip), self._states)
        self.frames += clip.shape[1]
        found: npt.NDArray[np.float32] = logits.numpy()
        return found if np.ndim(frames) == 5 else found[0]

    def reset(self) -> None:
        """Forget all frames: the next one starts a new stream."""
        self._states, self.frames = {}, 0

    def _checked(self, frames: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the frames as B T H W 3 in 0..1, float32."""
        clip = frames if frames.ndim == 5 else frames[None]
        if clip.ndim != 5 or clip.shape[-1] != 3 or 0 in clip.shape:
            raise InputError("frames", frames.shape, "must be T H W 3 or B T H W 3, and not empty")
        for place, (given, own) in enumerate(zip(clip.shape[2:4], self._model.input_shape[2:4], strict=True)):
            if own is not None and given != own:
                raise InputError("frames", frames.shape, f"must have {('height', 'width')[place]} {own}")
        if clip.dtype == np.uint8:
            return clip.astype(np.float32) / np.float32(255)
        if not np.issubdtype(clip.dtype, np.floating):
            raise InputError("frames", str(clip.dtype), "must be uint8, or floats in 0..1")
        return clip.astype(np.float32, copy=False)
