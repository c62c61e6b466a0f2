"""Times a training step of this project's `keras.Model`; prints JSON. Used by `streaming_speed.py`.

Reads a request from the first argument, as `release_speed.py` does, and trains as it does, in a plain TensorFlow loop:
{network, form, variant, batch, classes, slots}. Prints the seconds to the first training step done; then, for every
number read from standard input, that many more steps and their seconds.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from movinet.model.keras_model import build
from search_space import architecture as schema
from search_space.variant import Variant


def training_step(request: dict[str, Any]) -> Callable[[Any, Any], Any]:
    """Model, optimiser and their compiled step."""
    network = schema.from_dict(request["network"])
    model = build(network, request["classes"], variant=Variant(conv_type=request["form"], **request["variant"]))
    optimizer = keras.optimizers.RMSprop(1e-3, momentum=0.9)
    if request["slots"]:
        optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(clips: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(clips, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step


def main() -> None:
    """Trains what the request says and prints the seconds."""
    request = json.loads(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    clip = request["network"]["clip"]
    shape = [request["batch"], clip["frames"], clip["resolution"], clip["resolution"], 3]
    clips = tf.random.stateless_uniform(shape, [0, 1])
    labels = tf.range(request["batch"]) % request["classes"]

    def measured(run: Callable[[], object]) -> float:
        start = time.process_time()
        run()
        return time.process_time() - start

    start = time.process_time()
    step = training_step(request)
    float(step(clips, labels))
    print(json.dumps([time.process_time() - start]), flush=True)
    for line in sys.stdin:
        print(json.dumps([measured(lambda: float(step(clips, labels))) for _ in range(int(line))]), flush=True)


if __name__ == "__main__":
    main()
