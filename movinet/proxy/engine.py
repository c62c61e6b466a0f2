"""The two engines that train candidates, with one interface; the device decides which is used.

The fused engine trains on one CPU core, two to three times as fast as TensorFlow's kernels on networks of a proxy's
size. TensorFlow's engine supports GPUs and several cores.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from movinet.proxy.recipe import Recipe
from search_space.architecture import Architecture
from search_space.base.errors import InputError
from search_space.base.quiet_tensorflow import quiet_start


class Network(Protocol):
    """A network in training; frames and labels come from the engine's methods of that name."""

    def step(self, frames: Any, labels: Any) -> Any:
        """One optimiser step; returns the loss before it."""

    def logits(self, frames: Any, clips: int) -> Any:
        """Logits [B, classes] with moving statistics."""

    def batch_logits(self, frames: Any, clips: int) -> Any:
        """Logits [B, classes] with the statistics of this batch, which become the moving ones."""

    def recalibrate(self, batches: Iterable[tuple[Any, int]]) -> None:
        """Set the moving statistics to the mean of those of batches (frames, B); weights stay."""

    def states(self) -> list[np.ndarray]:
        """A copy of each layer's state from stem to head, float32 [3, weights]: flat weights and their two moments."""


class Engine(Protocol):
    """Interface of an engine, which trains candidates one after another."""

    def candidate(self, architecture: Architecture, classes: int, recipe: Recipe, seed: int) -> Network:
        """A network with initial weights drawn from a seed."""

    def network(
        self,
        architecture: Architecture,
        classes: int,
        recipe: Recipe,
        states: Sequence[np.ndarray],
        rng: np.random.Generator,
        steps_done: int,
    ) -> Network:
        """A network with states float32 [3, weights] of each layer, after `steps_done` steps; `rng` drops layers."""

    def frames(self, clips: np.ndarray, resolution: int) -> Any:
        """Convert uint8 `T B H W C` clips to a candidate's input: pixels in 0..1, resized by area to `resolution`."""

    def labels(self, labels: np.ndarray) -> Any:
        """Convert labels [B] to the input of a candidate."""


class FusedEngine:
    """Trains on one CPU core; see `movinet.proxy.fused`."""

    def __init__(self) -> None:
        from movinet.proxy.fused import network

        network.use_one_thread()
        self.candidate, self.network, self.frames = network.Candidate, network.Network, network.prepare

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """int32 [B]."""
        return np.asarray(labels, np.int32)


class TensorFlowEngine:
    """Trains by compiled TensorFlow functions, on a GPU where one is visible; see `movinet.proxy.tensorflow_engine`.

    Args:
      threads: cores that TensorFlow may use; None keeps its default.
      gpus: if above 0, a GPU is required.

    Raises:
      InputError: TensorFlow finds no GPU.
    """

    def __init__(self, threads: int | None, gpus: float = 0) -> None:
        with quiet_start():
            from movinet.proxy import tensorflow_engine

            if threads is not None:
                tensorflow_engine.use_threads(threads)
            found = tensorflow_engine.find_devices()
        if gpus and not found:
            rule = "requests a GPU, but TensorFlow finds none; set it to 0, or install TensorFlow with CUDA"
            raise InputError("resources.gpus", gpus, rule)
        self.compiler = tensorflow_engine.Compiler()
        self.candidate = functools.partial(tensorflow_engine.Candidate, self.compiler)
        self.network = functools.partial(tensorflow_engine.Network, self.compiler)
        self.frames, self.labels = tensorflow_engine.prepare, tensorflow_engine.as_labels


def make_engine(name: str, gpus: float, threads: int | None) -> Engine:
    """Return the engine called "fused" or "tensorflow"; "auto" selects the fused engine for one core without a GPU."""
    if name == "fused" or (name == "auto" and gpus == 0 and threads in (None, 1)):
        return FusedEngine()
    return TensorFlowEngine(threads, gpus)
