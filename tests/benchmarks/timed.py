"""Times steps of a process as `speed.py` and `streaming_speed.py` request them; needs only TensorFlow."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def answer(prepare: Callable[[], Callable[[], object]]) -> None:
    """Print CPU seconds as JSON, on one thread: to the first step, then of the number of steps in each input line.

    Args:
      prepare: makes everything that the first step needs and returns a function that runs a step.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def measured(run: Callable[[], object]) -> float:
        start = time.process_time()
        run()
        return time.process_time() - start

    start = time.process_time()
    step = prepare()
    step()
    print(json.dumps([time.process_time() - start]), flush=True)
    for line in sys.stdin:
        print(json.dumps([measured(step) for _ in range(int(line))]), flush=True)


def training(request: dict[str, Any], model: Any, optimizer: Any, loss_of: Any) -> Callable[[], object]:
    """Return a compiled training step of a plain TensorFlow loop on clips of noise."""
    clip = request["network"]["clip"]
    shape = [request["batch"], clip["frames"], clip["resolution"], clip["resolution"], 3]
    clips = tf.random.stateless_uniform(shape, [0, 1])
    labels = tf.range(request["batch"]) % request["classes"]

    @tf.function
    def step(clips: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(clips, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return lambda: float(step(clips, labels))
