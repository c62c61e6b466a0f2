"""Times this project's stream model, one frame at a time; prints JSON. Used by `streaming_speed.py`.

The first argument is a request as for `release_stream.py`: `{network, size, classes, how}`. `how` selects the exported
form to run: "function" (tf.function), "xla" (the same, compiled) or "litert" (converted, one thread). Prints the
seconds to the first finished frame; then, for every number read from standard input, runs that many more frames and
prints the CPU seconds of each.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import timed

from movinet.deploy.litert import LiteRT, convert
from movinet.deploy.saved_model import LOGITS, stream_function
from movinet.model.keras_model import build
from movinet.model.stream import IMAGE, init_states
from search_space.published import PUBLISHED
from search_space.variant import released_stream


def frames(request: dict[str, Any], frame: np.ndarray) -> Callable[[], None]:
    """Return a function that runs the next frame with each call."""
    name, size = request["network"], request["size"]
    model = build(PUBLISHED[name], request["classes"], variant=released_stream(name), input_shape=(None, size, size))
    function = stream_function(model, frame.shape)
    if request["how"] == "litert":
        file = LiteRT(convert(function))
        return lambda: np.sum(file.push(frame))
    step = tf.function(function, jit_compile=True) if request["how"] == "xla" else function
    image, held = tf.constant(frame), init_states(model, frame.shape)

    def run() -> None:
        found = dict(step({IMAGE: image, **held}))
        found.pop(LOGITS).numpy()
        held.update(found)

    return run


def main() -> None:
    """Run the frames of the request and print the seconds."""
    request = json.loads(sys.argv[1])
    frame = np.random.default_rng(0).random((1, 1, request["size"], request["size"], 3), np.float32)
    timed.answer(lambda: frames(request, frame))


if __name__ == "__main__":
    main()
