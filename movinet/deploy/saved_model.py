"""Computation of an exported model as TensorFlow functions, and the SavedModel that holds them.

A network for clips takes `image`, B T H W 3 in 0..1, and returns `logits`, B classes. A causal network also takes and
returns the states. Names, layouts and signatures are those of the TF Model Garden's export.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from movinet.deploy.interpreter import LOGITS
from movinet.model import stream
from movinet.model.inference import Folded, fold
from movinet.model.keras_layers import Shape
from movinet.model.ops import Tensor
from movinet.model.stream import IMAGE


def clip_function(model: keras.Model, shape: Shape) -> Any:
    """Return the concrete function image -> {logits} for clips of `shape`, B T H W 3; None where a size varies."""
    run = fold(model)

    def classify(image: Tensor) -> dict[str, Tensor]:
        return {LOGITS: run(image)}

    return tf.function(classify, autograph=False).get_concrete_function(_image(shape))


def stream_function(model: keras.Model, shape: Shape) -> Any:
    """Return the concrete function {image, states} -> {logits, states} for frames of `shape`, B T H W 3; None varies.

    Raises:
      InputError: the model is not a causal MoViNet.
    """
    specs = stream.state_specs(model, shape)
    run = Folded(model)

    def step(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits, states = run.step(inputs[IMAGE], {name: inputs[name] for name in specs})
        return {LOGITS: logits, **states}

    inputs = {name: tf.TensorSpec(size, dtype, name=name) for name, (size, dtype) in specs.items()}
    return tf.function(step, autograph=False).get_concrete_function({IMAGE: _image(shape), **inputs})


def _image(shape: Shape) -> tf.TensorSpec:
    return tf.TensorSpec(shape, tf.float32, name=IMAGE)


class _Clips(tf.Module):
    """Module that is called with clips or, as in the Model Garden, with {image: clips}."""

    def __init__(self, model: keras.Model, shape: Shape) -> None:
        super().__init__()
        self.serve = clip_function(model, shape)
        image = _image(shape)
        for given in (image, {IMAGE: image}):
            self.__call__.get_concrete_function(given)

    @tf.function(autograph=False)
    def __call__(self, inputs: Any) -> Tensor:
        return self.serve(inputs[IMAGE] if isinstance(inputs, Mapping) else inputs)[LOGITS]


class _Stream(tf.Module):
    """Module that is called with {image: frames, **states} and returns logits and states."""

    def __init__(self, model: keras.Model, shape: Shape) -> None:
        super().__init__()
        self.serve = stream_function(model, shape)
        self._first_states = functools.partial(stream.init_states, model)  # so that no weights are saved twice
        self.__call__.get_concrete_function(self.serve.structured_input_signature[0][0])

    @tf.function(autograph=False)
    def __call__(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        after = dict(self.serve(inputs))
        return after.pop(LOGITS), after

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([5], tf.int32, name="input_shape")])
    def init_states(self, input_shape: Tensor) -> dict[str, Tensor]:
        """Return the states before the first frame of clips of that shape."""
        return self._first_states(tf.unstack(input_shape))


def save(model: keras.Model, path: str | os.PathLike[str], shape: Shape, init_states: bool = True) -> None:
    """Write the SavedModel of a Keras model in its folded form, for clips or frames of `shape`, B T H W 3.

    The loaded model is callable: a network for clips with clips or {image}; a causal one with {image, **states}, which
    returns (logits, states). Signatures are `serving_default` and, for a causal network, the same as `call`.
    `init_states` adds a signature of that name, from a shape (int32, B T H W 3) to the initial states.
    """
    causal = is_causal(model)
    module = _Stream(model, shape) if causal else _Clips(model, shape)
    signatures = {"serving_default": module.serve}
    if causal:
        signatures["call"] = module.serve
    if causal and init_states:
        signatures["init_states"] = module.init_states
    tf.saved_model.save(module, os.fspath(path), signatures)


def is_causal(model: keras.Model) -> bool:
    """Returns True if a model of `movinet.model.keras_model` can run on a stream."""
    specs = [layer.spec for layer in model.layers if hasattr(layer, "spec")]
    return bool(specs) and all(spec.variant.causal for spec in specs)
