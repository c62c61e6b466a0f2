"""Times this project's proxy training; prints JSON. `speed.py` runs it in a separate process, like Model Garden.

The first argument is a request: `{networks, batch, classes}`, networks in this project's schema. Trains one step of
each network in turn, and prints the seconds from architecture to finished step of each. Then, for every number read
from standard input, trains that many more steps of the last network and prints their seconds; for "matmul" those of
products of two 2048 x 2048 matrices.
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

from movinet.proxy import tensorflow_engine
from search_space import architecture as schema
from search_space.architecture import Architecture


def measured_step(candidate: tensorflow_engine.Candidate, frames: tf.Tensor, labels: tf.Tensor) -> float:
    """Return the CPU seconds of one training step whose loss is read."""
    start = time.process_time()
    float(candidate.step(frames, labels))
    return time.process_time() - start


def measured_product(matrix: tf.Tensor) -> float:
    """Return the CPU seconds of one matrix product."""
    start = time.process_time()
    tf.matmul(matrix, matrix).numpy()
    return time.process_time() - start


def clips(network: Architecture, batch: int) -> tf.Tensor:
    """Return noise in 0..1, time-major: float32 [T*B, H, W, 3]."""
    size = network.clip.resolution
    return tf.random.stateless_uniform([network.clip.frames * batch, size, size, 3], [0, 1])


def main() -> None:
    """Run the training steps of the request and print the seconds."""
    request = json.loads(sys.argv[1])
    tensorflow_engine.use_threads(1)
    networks = [schema.from_dict(network) for network in request["networks"]]
    labels = tf.range(request["batch"]) % request["classes"]
    recipe = tensorflow_engine.Recipe(steps=1000, batch_size=request["batch"])
    firsts = []
    compiler = None
    for network in networks:
        frames = clips(network, request["batch"])
        start = time.process_time()
        compiler = compiler or tensorflow_engine.Compiler()
        candidate = tensorflow_engine.Candidate(compiler, network, request["classes"], recipe, seed=0)
        float(candidate.step(frames, labels))
        firsts.append(time.process_time() - start)
    print(json.dumps(firsts), flush=True)
    for line in sys.stdin:
        if line.strip() == "matmul":
            matrix = tf.random.stateless_uniform([2048, 2048], [0, 1])
            times = [measured_product(matrix) for _ in range(5)]
        else:
            times = [measured_step(candidate, frames, labels) for _ in range(int(line))]
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
