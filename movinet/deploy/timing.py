"""One measurement of `movinet.latency` in a separate process: `-m movinet.deploy.timing REQUEST` prints it as JSON.

The process loads only the libraries of the measured form, so the peak memory is that of this form: a LiteRT file is
measured without TensorFlow.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

FORMS = ("keras", "folded", "saved_model", "litert")
UNITS = ("frame", "clip")
WARM_UP = 3  # calls, of which the first traces


@dataclass(frozen=True)
class Request:
    """A form to measure, and how.

    Attributes:
      form: keras (a `tf.function` of the model), folded (of `movinet.model.inference`), saved_model or litert.
      unit: one "frame" of a stream, with states, or a whole "clip".
      threads: number of compute threads.
      shape: 1 T H W 3 of a call.
      seconds: calls are repeated for this long, at least ten times.
      path: of the exported file, for saved_model and litert.
      network: the flags of the network, for keras and folded.
    """

    form: str
    unit: str
    threads: int
    shape: tuple[int, ...]
    seconds: float
    path: str = ""
    network: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timing:
    """Time and memory of one call.

    Attributes:
      calls: number of measured calls, after warm-up.
      median_ms, p90_ms: milliseconds of one.
      libraries_mb: resident memory of the process before the network was loaded.
      peak_mb: peak resident memory.
    """

    calls: int
    median_ms: float
    p90_ms: float
    libraries_mb: float
    peak_mb: float


def peak_mb() -> float:
    """Return the peak resident memory of this process, in units of 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss includes the process before it started this program
        (line,) = [line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def measure(asked: Request) -> Timing:
    """Load the form and time repeated calls."""
    load = _load_litert if asked.form == "litert" else _load_tensorflow
    libraries, call = load(asked)
    for _ in range(WARM_UP):
        call()
    times: list[float] = []
    while len(times) < 10 or sum(times) < asked.seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    p90 = statistics.quantiles(times, n=10)[-1]
    return Timing(len(times), 1e3 * statistics.median(times), 1e3 * p90, libraries, peak_mb())


def _image(asked: Request) -> np.ndarray:
    return np.random.default_rng(0).random(asked.shape, np.float32)


def _load_litert(asked: Request) -> tuple[float, Callable[[], Any]]:
    from movinet.deploy.interpreter import LiteRT

    libraries = peak_mb()
    network, image = LiteRT(Path(asked.path).read_bytes(), asked.threads), _image(asked)
    return libraries, lambda: network.push(image)


def _load_tensorflow(asked: Request) -> tuple[float, Callable[[], Any]]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    from movinet.deploy import latency_forms

    tf.config.threading.set_intra_op_parallelism_threads(asked.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.list_logical_devices()
    libraries = peak_mb()
    image = tf.constant(_image(asked))
    return libraries, latency_forms.load(asked.form, asked.unit, asked.path, asked.network, image)


def request_of(text: str) -> Request:
    """Parse a request from JSON."""
    data = json.loads(text)
    return Request(**{**data, "shape": tuple(data["shape"]), "network": tuple(data["network"])})


def main() -> None:
    """Measure the request in the only argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("request", type=request_of)
    print(json.dumps(asdict(measure(parser.parse_args().request))))


if __name__ == "__main__":
    main()
