"""A network in training on one core: its weights in one flat vector, its layers one after another."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from movinet.model.area import area_terms
from movinet.model.specs import BottleneckSpec, Spec, first_states, layer_specs
from movinet.proxy.fused import kernels, optimizer
from movinet.proxy.fused.layers import Bottleneck, Head, Stem, Weights
from movinet.proxy.recipe import BETA1, BETA2, Recipe
from search_space import architecture as schema
from search_space.architecture import Architecture

F = np.float32
Array = np.ndarray
_DIVERGES = np.errstate(over="ignore", invalid="ignore")  # the trainer checks the loss


def use_one_thread() -> None:
    """Limit the matrix products of this process to one core."""
    import scipy.linalg.cython_blas  # noqa: F401  the BLAS of numba's products; only loaded libraries are limited

    threadpool_limits(1)


def prepare(clips: Array, resolution: int) -> Array:
    """Convert uint8 `T B H W C` clips to float32 [B*T, resolution, resolution, C] in 0..1, resized by area."""
    frames = kernels.area_resize(clips, *_area_weights(clips.shape[2], resolution, clips.shape[4]))
    return frames.reshape(-1, *frames.shape[2:])


@functools.cache
def _area_weights(side: int, resolution: int, channels: int) -> tuple[Array, Array, Array, Array]:
    """Return the arguments of `kernels.area_resize`: for rows [K, r], and for the floats of a row [K, r * C]."""
    pixels, weights = area_terms(side, resolution)
    columns = (pixels[:, :, None] * channels + np.arange(channels)).reshape(len(pixels), -1)
    return pixels, weights, columns.astype(np.uintp), np.repeat(weights, channels, axis=1)


class Network:
    """A network in training.

    Args:
      architecture: frames and resolution of its clip are those of the batches; frames are square.
      classes: number of classes.
      recipe: how to train.
      states: of each layer from stem to head, float32 [3, weights]: its flat weights and their two moments.
      rng: of stochastic depth.
      steps_done: number of finished steps of the recipe.
    """

    def __init__(
        self,
        architecture: Architecture,
        classes: int,
        recipe: Recipe,
        states: Sequence[Array],
        rng: np.random.Generator,
        steps_done: int = 0,
    ) -> None:
        self._recipe, self._rng, self.steps_done = recipe, rng, steps_done
        specs = layer_specs(architecture, classes)
        self.flat, self._first, self._second = np.concatenate(states, axis=1)
        self._gradient = np.zeros_like(self.flat)
        self._ends = np.cumsum([state.shape[1] for state in states])
        self._places = optimizer.places(weight for spec in specs for weight in spec.weights())
        self._weights = list(self._views(specs))
        self._stem = Stem(specs[0], self._weights[0], architecture.clip.resolution)  # type: ignore[arg-type]
        self._inner: list[Bottleneck] = []
        side = self._stem.side
        for spec, weights in zip(specs[1:-1], self._weights[1:-1], strict=True):
            assert isinstance(spec, BottleneckSpec)
            self._inner.append(Bottleneck(spec, weights, architecture.clip.frames, side))
            side = self._inner[-1].side
        self._head = Head(specs[-1], self._weights[-1], side)  # type: ignore[arg-type]
        self._rates = [recipe.stochastic_depth * i / len(self._inner) for i in range(1, len(self._inner) + 1)]

    def _views(self, specs: Sequence[Spec]) -> Iterable[Weights]:
        place = 0
        for spec in specs:
            values: dict[str, Array] = {}
            gradients: dict[str, Array] = {}
            for weight in spec.weights():
                size = math.prod(weight.shape)
                for vector, views in ((self.flat, values), (self._gradient, gradients)):
                    views[weight.name] = vector[place : place + size].reshape(weight.shape)
                place += size
            yield Weights(values, gradients, dict(spec.norms))

    @_DIVERGES
    def step(self, frames: Array, labels: Array) -> float:
        """Run one optimiser step.

        Args:
          frames: float32 [B*T, H, W, 3] in 0..1.
          labels: int32 [B].

        Returns:
          The loss before the step.
        """
        clips = len(labels)
        keeps = [self._keep(rate, clips) for rate in self._rates]
        logits = self._forward(frames, clips, self._recipe.norm_momentum, keeps)
        loss, g = _cross_entropy(logits, labels, self._recipe.label_smoothing)
        g = self._head.backward(g)
        for layer in reversed(self._inner):
            g = layer.backward(np.ascontiguousarray(g))
        self._stem.backward(np.ascontiguousarray(g))
        t = self.steps_done + 1
        optimizer.step(
            self.flat, self._first, self._second, self._gradient, self._places,
            self._recipe.rate(self.steps_done), BETA1**t, BETA2**t, self._recipe.weight_decay,
        )  # fmt: skip
        self.steps_done = t
        return loss

    @_DIVERGES
    def logits(self, frames: Array, clips: int) -> Array:
        """Compute logits [B, classes] of float32 [B*T, H, W, 3], with moving statistics."""
        return self._forward(frames, clips, None, [_ALL] * len(self._inner))

    def _forward(self, frames: Array, clips: int, momentum: float | None, keeps: Sequence[Array]) -> Array:
        x = self._stem.forward(frames, clips, momentum, _ALL)
        for layer, keep in zip(self._inner, keeps, strict=True):
            x = layer.forward(x, clips, momentum, keep)
        return self._head.forward(x, clips, momentum, _ALL)

    def _keep(self, rate: float, clips: int) -> Array:
        if rate == 0:
            return _ALL
        return ((self._rng.random(clips) >= rate) / (1 - rate)).astype(F)

    def recalibrate(self, batches: Iterable[tuple[Array, int]]) -> None:
        """Set the moving statistics to the mean of those of batches (frames [B*T, H, W, 3], B); weights stay."""
        for done, (frames, clips) in enumerate(batches):
            self._forward(frames, clips, done / (done + 1), [_ALL] * len(self._inner))

    def batch_logits(self, frames: Array, clips: int) -> Array:
        """[B*T, H, W, 3] -> logits [B, classes], by the statistics of the batch, which become the moving ones."""
        return self._forward(frames, clips, 0.0, [_ALL] * len(self._inner))

    def states(self) -> list[Array]:
        """A copy of each layer's state from stem to head, float32 [3, weights]: flat weights and their two moments."""
        return np.split(np.stack([self.flat, self._first, self._second]), self._ends[:-1], axis=1)

    def weights(self) -> list[Array]:
        """The weights of each layer as a flat vector, in the order of its spec."""
        return [state[0] for state in self.states()]

    def moving_statistics(self) -> list[Array]:
        """The moving mean and variance of each layer's norms, concatenated in order: vectors."""
        return [np.concatenate([v for pair in w.moving.values() for v in pair]) for w in self._weights]


class Candidate(Network):
    """One network in training by itself.

    Args:
      architecture, classes, recipe: see `Network`.
      seed: of the initial weights and of stochastic depth.
    """

    def __init__(self, architecture: Architecture, classes: int, recipe: Recipe, seed: int) -> None:
        states = first_states(architecture, classes, seed, recipe.rezero)
        super().__init__(architecture, classes, recipe, states, np.random.default_rng([seed, 1]))


_ALL = np.empty(0, F)  # no stochastic depth


def _cross_entropy(logits: Array, labels: Array, smoothing: float) -> tuple[float, Array]:
    """Return the mean over the batch with label smoothing, and its gradient."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponential = np.exp(shifted)
    total = exponential.sum(axis=1, keepdims=True)
    targets = np.full(logits.shape, smoothing / logits.shape[1], F)
    targets[np.arange(len(labels)), labels] += F(1 - smoothing)
    loss = (targets * (np.log(total) - shifted)).sum(axis=1).mean()
    return float(loss), ((exponential / total - targets) / F(len(labels))).astype(F)


def compile_kernels() -> None:
    """Compile all kernels into the cache beside the package, by one step of a tiny network; `make setup` calls this."""
    layers = (schema.Layer(8, (3, 3, 3)), schema.Layer(8, (1, 3, 3), squeeze_excite=False))
    block, clip = schema.Block(8, 2, layers), schema.Clip(2, 8, 1)
    architecture = Architecture(clip, schema.Stem(8), (block,), schema.Head(8, 8))
    candidate = Candidate(architecture, 2, Recipe(steps=1, batch_size=2, stochastic_depth=0.1), 0)
    frames = prepare(np.zeros((2, 2, 9, 9, 3), np.uint8), 8)
    candidate.step(frames, np.zeros(2, np.int32))
    candidate.logits(frames, 2)
