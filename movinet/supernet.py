"""An elastic supernet as a store of weights that all members of a space share (TuNAS, arXiv 2008.06120, section 4).

Each layer of the deepest network has one array for every weight, as large as any member needs; a member's weight is its
leading corner. So expand and project are shared by all kernels, narrower layers are the first channels of wider ones,
and a layer beyond a member's depth is simply not called. Of each kernel there are a depthwise weight and its norm.

Nothing is compiled for it: a step copies corners into the variables of the layers, runs the functions of `proxy`,
which know no widths, and copies the result back. What a member does not use stays as it is, moments included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import tensorflow as tf

from movinet import proxy
from movinet.ops import Tensor
from movinet.proxy import Arrays, Compiler, Network, State
from movinet.recipe import Recipe
from movinet.specs import BottleneckSpec, HeadSpec, Spec, StemSpec, Weight, bottlenecks, first_value, layer_seeds
from search_space.architecture import Architecture, Kernel
from search_space.errors import InputError
from search_space.movinet_space import SpaceConfig

raw = tf.raw_ops

Store = dict[str, dict[str, np.ndarray]]  # layer, weight -> value and both moments, float32 [3, largest shape]


def specs_of(space: SpaceConfig) -> dict[str, list[Spec]]:
    """Every form that a layer of the space can take, by its place in the deepest network."""
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
    """What a weight is called in the store: a kernel's depthwise weight and the norm behind it are its own."""
    return f"{name}_{'x'.join(map(str, kernel))}" if kernel and name.startswith("depthwise") else name


def _corner(shape: Sequence[int]) -> tuple[slice, ...]:
    return slice(None), *map(slice, shape)


class Supernet:
    """Trains one member after another on shared weights, with one count of optimiser steps for all of them.

    A weight of AdamW's that is first used at step t moves by up to sqrt(1 - beta2^t) * (1 - beta1) / sqrt(1 - beta2),
    at most 3.2, times its learning rate; with the warm-ups of a search every weight is used while the rate is low.

    Args:
      compiler: the process's functions.
      space: what its members can be.
      recipe: how to train; its steps are those of the supernet.
      seed: of the initial weights and of stochastic depth.
    """

    def __init__(self, compiler: Compiler, space: SpaceConfig, recipe: Recipe, seed: int) -> None:
        self._compiler, self._classes, self._recipe, self._seed = compiler, space.classes, recipe, seed
        specs = specs_of(space)
        seeds = layer_seeds(seed, len(specs))
        self.store: Store = {
            place: _first_values(forms, layer_seed, recipe.rezero)
            for (place, forms), layer_seed in zip(specs.items(), seeds, strict=True)
        }
        nothing = np.zeros(0, np.float32)
        self._states = {place: State(nothing, nothing) for place in specs}
        self.steps_done = 0

    def member(self, architecture: Architecture) -> Member:
        """The network of an architecture with the shared weights as they are now; usable until the next is made.

        Raises:
          InputError: it is deeper or wider than the store.
        """
        planned = list(proxy.plan(architecture, self._classes, self._recipe))
        places = ["stem", *(name for name, _ in bottlenecks(architecture)), "head"]
        parts = []
        for place, (spec, form, rate) in zip(places, planned, strict=True):
            state = self._states[self._known(place)]
            self._lend(place, spec, state)
            parts.append(Arrays(self._compiler, spec, form, rate > 0, state))
        rng = np.random.default_rng([self._seed, 1, self.steps_done])
        specs = {place: spec for place, (spec, _, _) in zip(places, planned, strict=True)}
        return Member(self, specs, self._compiler, self._recipe, parts, [rate for *_, rate in planned], rng)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything trained, by "layer/weight"; for checkpoints."""
        return {f"{place}/{name}": value for place, weights in self.store.items() for name, value in weights.items()}

    def restore(self, arrays: Mapping[str, np.ndarray], steps_done: int) -> None:
        """Takes over what `arrays` gave after so many steps; `InputError` if it is of another space."""
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

    def _known(self, place: str) -> str:
        if place not in self.store:
            raise InputError("supernet", place, f"must be one of {', '.join(self.store)}")
        return place

    def _lend(self, place: str, spec: Spec, state: State) -> None:
        """Copies the corners of a layer's weights and moments into its variables."""
        corners = [self._values(place, spec, w)[_corner(w.shape)].reshape(3, -1) for w in spec.weights()]
        for variable, value in zip((state.weights, *state.moments), np.concatenate(corners, axis=1), strict=True):
            _assign(variable, value)
        _assign(state.moving, proxy.first_statistics(spec).astype(np.float32))

    def _take_back(self, specs: Mapping[str, Spec]) -> None:
        """Copies what a step has made of a member's weights and moments back into their corners."""
        for place, spec in specs.items():
            state = self._states[place]
            flat = np.stack([_read(variable) for variable in (state.weights, *state.moments)])
            weights = spec.weights()
            ends = np.cumsum([math.prod(w.shape) for w in weights])[:-1]
            for weight, part in zip(weights, np.split(flat, ends, axis=1), strict=True):
                self._values(place, spec, weight)[_corner(weight.shape)] = part.reshape(3, *weight.shape)

    def _values(self, place: str, spec: Spec, weight: Weight) -> np.ndarray:
        values = self.store[place].get(shared_name(weight.name, getattr(spec, "kernel", None)))
        if values is None or any(have < need for have, need in zip(values.shape[1:], weight.shape, strict=True)):
            raise InputError("supernet", f"{place}/{weight.name} {list(weight.shape)}", "is not in the space")
        return values


class Member(Network):
    """A member of a supernet in training; every step of it is one of the supernet's."""

    def __init__(
        self,
        supernet: Supernet,
        specs: Mapping[str, Spec],
        compiler: Compiler,
        recipe: Recipe,
        parts: Sequence[Arrays],
        rates: Sequence[float],
        rng: np.random.Generator,
    ) -> None:
        super().__init__(compiler, recipe, parts, rates, rng, supernet.steps_done)
        self._supernet, self._specs = supernet, specs

    def step(self, frames: Tensor, labels: Tensor) -> Tensor:
        """As of any network, frames `[T*B, H, W, 3]`, labels `[B]`; the shared weights follow."""
        loss = super().step(frames, labels)
        self._supernet._take_back(self._specs)
        self._supernet.steps_done = self.steps_done
        return loss


def _first_values(forms: Sequence[Spec], seed: int, rezero: float) -> dict[str, np.ndarray]:
    """Each weight as large as any form of the layer needs it, moments zero."""
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


def _assign(variable: tf.Variable, value: np.ndarray) -> None:
    raw.AssignVariableOp(resource=variable.handle, value=tf.constant(value))


def _read(variable: tf.Variable) -> np.ndarray:
    return raw.ReadVariableOp(resource=variable.handle, dtype=tf.float32).numpy()
