"""Times the stream model of the TF Model Garden, one frame at a time; prints JSON. Used by `streaming_speed.py`.

It runs in an environment of `pip install tf-models-official`, so it imports nothing of this project but `timed`.

The first argument is a request: `{network, size, classes, positions, how}`. The model is that of Model Garden's export:
external states, no synchronised norms. `how` selects the form to run: "function" (tf.function), "xla" (the same,
compiled as its exported model is) or "litert" (converted, one thread). Prints the seconds to the first finished frame;
then, for every number read from standard input, runs that many more frames and prints the CPU seconds of each.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import tensorflow as tf
import timed
from ai_edge_litert.interpreter import Interpreter  # as for ours; a dependency of tf-models-official
from official.projects.movinet.modeling import movinet, movinet_model


def build(request: dict[str, Any]) -> movinet_model.MovinetClassifier:
    """Return Model Garden's stream model for one frame of one clip."""
    size = request["size"]
    image = tf.keras.layers.InputSpec(shape=[1, 1, size, size, 3])
    backbone = movinet.Movinet(
        model_id=request["network"],
        causal=True,
        conv_type="2plus1d",
        se_type="2plus3d",
        activation="hard_swish",
        gating_activation="hard_sigmoid",
        use_positional_encoding=request["positions"],
        input_specs=image,
        use_sync_bn=False,
        use_external_states=True,
    )
    return movinet_model.MovinetClassifier(
        backbone,
        num_classes=request["classes"],
        output_states=True,
        input_specs={"image": image},
        activation="simple_swish",
    )


def predictor(model: movinet_model.MovinetClassifier, size: int, xla: bool) -> Any:
    """Return the concrete function from frame and states to logits and states."""

    def predict(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        logits, states = model(inputs)
        return {**states, "logits": logits}

    specs = {
        name: tf.TensorSpec(spec.shape, name=name, dtype=spec.dtype)
        for name, spec in model.initial_state_specs([1, 1, size, size, 3]).items()
    }
    specs["image"] = tf.TensorSpec([1, 1, size, size, 3], tf.float32, "image")
    return tf.function(predict, jit_compile=xla or None).get_concrete_function(specs)


def frames_by_function(predict: Any, states: dict[str, tf.Tensor], frame: np.ndarray) -> Callable[[], None]:
    """Return a function that runs the next frame with each call."""
    image, held = tf.constant(frame), dict(states)

    def run() -> None:
        found = predict({**held, "image": image})
        found.pop("logits").numpy()
        held.update(found)

    return run


def frames_by_litert(predict: Any, model: tf.keras.Model, frame: np.ndarray) -> Callable[[], None]:
    """Return such a function of the model converted to LiteRT."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([predict], model)
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    runner = interpreter.get_signature_runner()
    details = runner.get_input_details()
    held = {n: np.zeros(d["shape"], d["dtype"]) for n, d in details.items() if n != "image"}

    def run() -> None:
        found = runner(image=frame, **held)
        found.pop("logits")
        held.update(found)

    return run


def main() -> None:
    """Run the frames of the request and print the seconds."""
    request = json.loads(sys.argv[1])
    size = request["size"]
    frame = np.random.default_rng(0).random((1, 1, size, size, 3), np.float32)

    def prepare() -> Callable[[], None]:
        model = build(request)
        predict = predictor(model, size, request["how"] == "xla")
        if request["how"] == "litert":
            return frames_by_litert(predict, model, frame)
        return frames_by_function(predict, model.init_states(tf.constant([1, 1, size, size, 3])), frame)

    timed.answer(prepare)


if __name__ == "__main__":
    main()
