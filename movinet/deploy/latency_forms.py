"""The forms of a network that `movinet.deploy.timing` measures with TensorFlow, each as a call without arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from movinet.deploy import network_flags
from movinet.model import stream
from movinet.model.inference import Folded, fold
from movinet.model.ops import Tensor
from movinet.model.stream import IMAGE

Step = Callable[[Mapping[str, Tensor]], tuple[Tensor, Mapping[str, Tensor]]]


def load(form: str, unit: str, path: str, network: Sequence[str], image: Tensor) -> Callable[[], Any]:
    """Return the call to measure: one clip `1 T H W 3`; or one frame, with the states of the previous call."""
    if form == "saved_model":
        loaded = tf.saved_model.load(path)
        if "init_states" not in loaded.signatures:
            return lambda: loaded(image)
        first = loaded.signatures["init_states"](tf.shape(image))
        return _stepping(loaded, image, first) if unit == "frame" else lambda: loaded({IMAGE: image, **first})
    parser = argparse.ArgumentParser()
    network_flags.add_flags(parser)
    model = network_flags.read_subject(parser.parse_args(list(network))).model
    if unit == "frame":
        return _stepping(_step(form, model), image, stream.init_states(model, image.shape))
    run = model if form == "keras" else fold(model)
    classify = tf.function(lambda clips: run(clips), autograph=False)
    return lambda: classify(image)


def _step(form: str, model: keras.Model) -> Step:
    if form == "keras":
        streaming = stream.streaming(model, batch=1)
        return tf.function(lambda inputs: streaming(inputs), autograph=False)
    folded = Folded(model)
    return tf.function(lambda inputs: folded.step(inputs[IMAGE], _states(inputs)), autograph=False)


def _states(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if name != IMAGE}


def _stepping(step: Step, image: Tensor, first: Mapping[str, Tensor]) -> Callable[[], Any]:
    kept = dict(first)

    def call() -> None:
        logits, after = step({IMAGE: image, **kept})
        kept.update(after)
        logits.numpy()

    return call
