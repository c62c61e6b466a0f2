"""An elastic supernet: a store of weights shared by all architectures of a space (TuNAS, arXiv 2008.06120, section 4).

Each layer of the deepest network has one array per weight, as large as any architecture needs; an architecture uses its
leading corner. So all kernels share expand and project, narrower layers are the first channels of wider ones, and
layers beyond an architecture's depth are not called. Each kernel has a separate depthwise weight and norm.

A step copies corners into a network of the engine that trains stand-alone candidates, runs one step, and copies the
result back. So nothing is compiled for it. Unused weights and their moments do not change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from movinet.model.specs import (
    BottleneckSpec,
    HeadSpec,
    Spec,
    StemSpec,
    Weight,
    bottlenecks,
    first_value,
    layer_seeds,
    layer_specs,
)
from movinet.proxy.engine import Engine, Network
from movinet.proxy.recipe import Recipe
from search_space.architecture import Architecture, Kernel
from search_space.base.errors import InputError
from search_space.space.movinet import SpaceConfig

Store = dict[str, dict[str, np.ndarray]]  # layer, weight -> value and both moments, float32 [3, largest shape]


def specs_of(space: SpaceConfig) -> dict[str, list[Spec]]:
    """Return every form that a layer of the space can have, by its position in the deepest network."""
    found: dict[str, list[Spec]] = {"stem": [StemSpec(width) for width in space.stem_widths]}
    before = space.stem_widths
    for i, block in enumerate(space.blocks, 1):
        for j in range(1, max(block.depths) + 1):
            options = product(before, block.expand, block.widths, block.kernels, block.squeeze_excite)
            found[f"block{i}_layer{j}"] = [
                BottleneckSpec(width_in, expand, width, kernel, block.stride if j == 1 else 1, squeeze_excite)
                for width_in, expand, width, kernel, squeeze_excite in options
                if j == 1 or width_in == width
            ]
            before = block.widths
    found["head"] = [HeadSpec(width, project, space.dense, space.classes)
                     for width, project in product(before, space.project)]  # fmt: skip
    return found


def shared_name(name: str, kernel: Kernel | None) -> str:
    """Return the name of a weight in the store: depthwise weights and their norms are separate for each kernel."""
    return f"{name}_{'x'.join(map(str, kernel))}" if kernel and name.startswith("depthwise") else name


def _corner(shape: Sequence[int]) -> tuple[slice, ...]:
    return slice(None), *map(slice, shape)


class Supernet:
    """Trains one architecture after another on shared weights, with one count of optimiser steps for all of them.

    An AdamW weight that is first used at step t moves by up to sqrt(1 - beta2^t) * (1 - beta1) / sqrt(1 - beta2), at
    most 3.2, times its learning rate. During the warm-up of a search every weight is used while the rate is low.

    Args:
      engine: trains the architectures.
      space: the space of architectures.
      recipe: how to train; its steps are those of the supernet.
      seed: of the initial weights and of stochastic depth.
    """

    def __init__(self, engine: Engine, space: SpaceConfig, recipe: Recipe, seed: int) -> None:
        self._engine, self._classes, self._recipe, self._seed = engine, space.classes, recipe, seed
        specs = specs_of(space)
        seeds = layer_seeds(seed, len(specs))
        self.store: Store = {
            place: _first_values(forms, layer_seed, recipe.rezero)
            for (place, forms), layer_seed in zip(specs.items(), seeds, strict=True)
        }
        self.steps_done = 0

    def network(self, architecture: Architecture) -> Network:
        """Return the network of an architecture with a copy of the current shared weights.

        Raises:
          InputError: it is deeper or wider than the store.
        """
        corners = [
            np.concatenate(
                [self._values(place, spec, w)[_corner(w.shape)].reshape(3, -1) for w in spec.weights()], axis=1
            )
            for place, spec in self._layers(architecture)
        ]
        rng = np.random.default_rng([self._seed, 1, self.steps_done])
        return self._engine.network(architecture, self._classes, self._recipe, corners, rng, self.steps_done)

    def step(self, architecture: Architecture, frames: Any, labels: Any) -> tuple[float, Network]:
        """Train the shared weights for one step as an architecture; return the loss before the step and the network.

        Raises:
          InputError: see `network`.
        """
        network = self.network(architecture)
        loss = float(network.step(frames, labels))
        for (place, spec), state in zip(self._layers(architecture), network.states(), strict=True):
            weights = spec.weights()
            ends = np.cumsum([math.prod(w.shape) for w in weights])[:-1]
            for weight, part in zip(weights, np.split(state, ends, axis=1), strict=True):
                self._values(place, spec, weight)[_corner(weight.shape)] = part.reshape(3, *weight.shape)
        self.steps_done += 1
        return loss, network

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything trained, by "layer/weight"; for checkpoints."""
        return {f"{place}/{name}": value for place, weights in self.store.items() for name, value in weights.items()}

    def restore(self, arrays: Mapping[str, np.ndarray], steps_done: int) -> None:
        """Load what `arrays` returned after `steps_done` steps; `InputError` if it is of another space."""
        own = self.arrays()
        shapes, given = (
            {name: (value.shape, str(value.dtype)) for name, value in each.items()} for each in (own, arrays)
        )
        if shapes != given:
            wrong = sorted(set(shapes.items()) ^ set(given.items()))[0][0]
            raise InputError("supernet", wrong, "is not a weight of this space, or has another shape")
        for name, value in own.items():
            value[...] = arrays[name]
        self.steps_done = steps_done

    def _layers(self, architecture: Architecture) -> list[tuple[str, Spec]]:
        places = ["stem", *(name for name, _ in bottlenecks(architecture)), "head"]
        if missing := [place for place in places if place not in self.store]:
            raise InputError("supernet", missing[0], f"must be one of {', '.join(self.store)}")
        return list(zip(places, layer_specs(architecture, self._classes), strict=True))

    def _values(self, place: str, spec: Spec, weight: Weight) -> np.ndarray:
        values = self.store[place].get(shared_name(weight.name, getattr(spec, "kernel", None)))
        if values is None or any(have < need for have, need in zip(values.shape[1:], weight.shape, strict=True)):
            raise InputError("supernet", f"{place}/{weight.name} {list(weight.shape)}", "is not in the space")
        return values


def _first_values(forms: Sequence[Spec], seed: int, rezero: float) -> dict[str, np.ndarray]:
    """Return each weight in the largest size that the layer needs, moments zero."""
    largest: dict[str, Weight] = {}
    for spec in forms:
        for weight in spec.weights():
            name = shared_name(weight.name, getattr(spec, "kernel", None))
            shape = np.maximum(weight.shape, largest[name].shape if name in largest else 0)
            largest[name] = Weight(weight.name, tuple(shape.tolist()), weight.start, weight.decayed)
    rng = np.random.default_rng(seed)
    found = {}
    for name, weight in largest.items():
        found[name] = np.zeros((3, *weight.shape), np.float32)
        found[name][0] = first_value(weight, rng, rezero)
    return found
