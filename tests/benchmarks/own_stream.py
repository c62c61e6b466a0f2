"""Times this project's stream model, a frame at a time; prints JSON. Used by `streaming_speed.py`.

Reads a request from the first argument, as `release_stream.py` does: {network, size, classes, how}; `how` it is run:
"function" (tf.function of the folded model, as in a `StreamSession`), "xla" (the same, compiled) or "litert"
(converted, one thread). Prints the seconds to the first frame done; then, for every number read from standard input,
that many more frames and the CPU seconds of each.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from movinet.inference import Folded
from movinet.model import build
from movinet.stream import init_states
from search_space.published import PUBLISHED
from search_space.variant import released_stream


class Stream(tf.Module):
    """Frame and states -> logits and states, as an exported model has them."""

    def __init__(self, request: dict[str, Any], frame: np.ndarray) -> None:
        super().__init__()
        name, size = request["network"], request["size"]
        model = build(
            PUBLISHED[name], request["classes"], variant=released_stream(name), input_shape=(None, size, size)
        )
        self.states = init_states(model, frame.shape)
        self.folded = Folded(model)
        specs = {n: tf.TensorSpec(state.shape, state.dtype, name=n) for n, state in self.states.items()}
        specs["image"] = tf.TensorSpec(frame.shape, tf.float32, name="image")
        compiled = request["how"] == "xla" or None
        self.predict = tf.function(self._predict, autograph=False, jit_compile=compiled)
        self.concrete = self.predict.get_concrete_function(specs)

    def _predict(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        states = {name: value for name, value in inputs.items() if name != "image"}
        logits, after = self.folded.step(inputs["image"], states)
        return {**after, "logits": logits}


def frames_by_function(stream: Stream, frame: np.ndarray) -> Callable[[], None]:
    """Runs the next frame with each call."""
    image, held = tf.constant(frame), dict(stream.states)

    def run() -> None:
        found = stream.concrete({**held, "image": image})
        found.pop("logits").numpy()
        held.update(found)

    return run


def frames_by_litert(stream: Stream, frame: np.ndarray) -> Callable[[], None]:
    """The same, converted to LiteRT."""
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(stream, folder, signatures=stream.concrete)
        content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    runner = tf.lite.Interpreter(model_content=content, num_threads=1).get_signature_runner()
    held = {name: state.numpy() for name, state in stream.states.items()}

    def run() -> None:
        found = runner(image=frame, **held)
        found.pop("logits")
        held.update(found)

    return run


def main() -> None:
    """Runs what the request says and prints the seconds."""
    request = json.loads(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    frame = np.random.default_rng(0).random((1, 1, request["size"], request["size"], 3), np.float32)

    def measured(run: Callable[[], object]) -> float:
        start = time.process_time()
        run()
        return time.process_time() - start

    start = time.process_time()
    stream = Stream(request, frame)
    run = (frames_by_litert if request["how"] == "litert" else frames_by_function)(stream, frame)
    run()
    print(json.dumps([time.process_time() - start]), flush=True)
    for line in sys.stdin:
        print(json.dumps([measured(run) for _ in range(int(line))]), flush=True)


if __name__ == "__main__":
    main()
