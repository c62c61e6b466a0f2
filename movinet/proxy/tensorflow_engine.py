"""Fast training of many small candidates, one after another, in one process.

A `Compiler` holds the functions traced so far; a `Network` holds the arrays of one network and calls them. Training is
in float32 on the CPU or the one GPU that TensorFlow finds. `movinet.training` trains whole networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from movinet.model.layers import BottleneckForm
from movinet.model.ops import Tensor
from movinet.model.specs import BottleneckSpec, HeadSpec, Spec, StemSpec, first_states, layer_specs
from movinet.proxy import tape
from movinet.proxy.recipe import BETA1, BETA2, Recipe
from movinet.proxy.tape import Compiled
from search_space.architecture import Architecture

raw = tf.raw_ops

# TensorFlow's graph optimiser cannot improve these hand-written functions, and costs as much as tracing.
_NO_GRAPPLER = tf.compat.v1.ConfigProto()
_NO_GRAPPLER.graph_options.rewrite_options.disable_meta_optimizer = True
_CONFIG = _NO_GRAPPLER.SerializeToString()


def use_threads(threads: int) -> None:
    """Limit TensorFlow to `threads` cores; call it before the first operation of a process."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def find_devices() -> int:
    """Make TensorFlow find devices now instead of at its first operation; return the number of GPUs."""
    return sum(device.device_type == "GPU" for device in tf.config.list_logical_devices())


def prepare(clips: np.ndarray, resolution: int) -> Tensor:
    """Convert uint8 `T B H W C` clips to a candidate's input: float32 [T*B, resolution, resolution, C] in 0..1."""
    frames = tf.constant(clips.reshape(-1, *clips.shape[2:]))
    if clips.shape[2:4] != (resolution, resolution):
        frames = raw.ResizeArea(images=frames, size=[resolution, resolution])
    return raw.Mul(x=raw.Cast(x=frames, DstT=tf.float32), y=tf.constant(1 / 255, tf.float32))


def as_labels(labels: np.ndarray) -> Tensor:
    """Convert labels to int32 [B]."""
    return tf.constant(labels, tf.int32)


class Compiler:
    """The compiled functions of a process, by layer signature.

    A signature consists of the kernel and the part of it that reaches the clip, stride, squeeze-excite, kind of skip,
    and stochastic depth. So the space bounds the number of functions, not the candidates.
    """

    def __init__(self) -> None:
        self._compiled: dict[object, Compiled] = {}
        self._evaluators: dict[object, object] = {}

    def __len__(self) -> int:
        return len(self._compiled)

    def layer(self, spec: Spec, form: object, drop: bool) -> tuple[object, Compiled]:
        """Return key and functions of a layer; traced on first use."""
        key = (type(spec), form, drop)
        if key not in self._compiled:
            self._compiled[key] = _compile(spec, form, drop)
        return key, self._compiled[key]

    def evaluator(self, key: object) -> object:
        """Return the inference function of a layer; traced on first use, because many candidates never need it."""
        if key not in self._evaluators:
            self._evaluators[key] = self._compiled[key].evaluate()
        return self._evaluators[key]


def _compile(spec: Spec, form: object, drop: bool) -> Compiled:
    if isinstance(spec, StemSpec):
        return tape.compile_stem(spec)
    if isinstance(spec, HeadSpec):
        return tape.compile_head(spec)
    assert isinstance(form, BottleneckForm)
    return tape.compile_bottleneck(spec, form, drop)


def _variable(value: np.ndarray | Tensor) -> tf.Variable:
    """Return a float32 vector variable without a declared length.

    TensorFlow instantiates a function for every declared shape of its variables, and keeps all instances: one second
    and 20 MB for a candidate whose layer signatures are all compiled.
    """
    return tf.Variable(value, dtype=tf.float32, shape=[None])


class Arrays:
    """One layer of one network: the functions of its signature, their size arguments, and its variables.

    `state` is float32 [3, weights]: flat weights and their two moments.
    """

    def __init__(self, compiler: Compiler, spec: Spec, form: object, drop: bool, state: np.ndarray) -> None:
        self.key, self.compiled = compiler.layer(spec, form, drop)
        weights = spec.weights()
        lengths = [math.prod(w.shape) for w in weights]
        self.splits = tf.constant(lengths, tf.int64)
        self.shapes = tf.constant([d for w in weights if len(w.shape) > 1 for d in w.shape], tf.int32)
        self.decayed = tf.constant(np.repeat([float(w.decayed) for w in weights], lengths), tf.float32)
        self.moving_splits = tf.constant([c for _, c in spec.norms for _ in range(2)], tf.int64)
        self.weights, *self.moments = map(_variable, state)
        self.moving = _variable(first_statistics(spec))
        self.sized = [self.splits, self.shapes, self.weights.handle]
        self.slots = [moment.handle for moment in self.moments]


def first_statistics(spec: Spec) -> np.ndarray:
    """Moving mean 0 and variance 1 of each norm of a layer, concatenated in order: a vector."""
    return np.concatenate([np.repeat([0.0, 1.0], c) for _, c in spec.norms])


class Network:
    """A network in training, layer by layer.

    Args:
      compiler: the process's functions.
      architecture: frames and resolution of its clip are those of the batches.
      classes: number of classes.
      recipe: how to train.
      states: of each layer from stem to head, float32 [3, weights]: its flat weights and their two moments.
      rng: of stochastic depth.
      steps_done: number of finished steps of the recipe.
    """

    def __init__(
        self,
        compiler: Compiler,
        architecture: Architecture,
        classes: int,
        recipe: Recipe,
        states: Sequence[np.ndarray],
        rng: np.random.Generator,
        steps_done: int = 0,
    ) -> None:
        self._compiler, self._recipe, self._rng = compiler, recipe, rng
        planned = list(plan(architecture, classes, recipe))
        self._rates = [rate for _, _, rate in planned]
        self._layers = [
            Arrays(compiler, spec, form, rate > 0, state)
            for (spec, form, rate), state in zip(planned, states, strict=True)
        ]
        self.steps_done = steps_done
        self._nothing = tf.constant([], tf.float32)  # replaces the weights of stochastic depth if it is off
        self._momentum = tf.constant(recipe.norm_momentum, tf.float32)
        self._smoothing = tf.constant(recipe.label_smoothing, tf.float32)

    def step(self, frames: Tensor, labels: Tensor) -> Tensor:
        """Run one optimiser step.

        Args:
          frames: float32 [T*B, H, W, 3] in 0..1, time-major.
          labels: int32 [B].

        Returns:
          The loss before the step, a float32 scalar.
        """
        batch = tf.constant(labels.shape[0], tf.int32)
        *body, head = self._layers
        x, saved = frames, []
        keeps = [self._keep(rate, labels.shape[0]) for rate in self._rates]
        for arrays, keep in zip(body, keeps, strict=False):
            outputs = self._forward(arrays, x, batch, self._momentum, keep)
            saved.append((x, outputs[1:]))
            x = outputs[0]
        hyper = self._hyper()
        loss, g = self._head_step(head.slots, x, labels, batch, self._momentum, hyper)
        for arrays, keep in zip(reversed(body), reversed(keeps[:-1]), strict=True):
            x, residuals = saved.pop()
            (g,) = _call(
                arrays.compiled.backward,
                [g, x, batch, *arrays.sized, *arrays.slots, arrays.decayed, hyper, keep, *residuals],
                [tf.float32],
            )
        self.steps_done += 1
        return loss

    def logits(self, frames: Tensor, clips: int) -> Tensor:
        """Compute logits [B, classes] of float32 [T*B, H, W, 3], with moving statistics."""
        batch = tf.constant(clips, tf.int32)
        x = frames
        for arrays in self._layers:
            x = self._evaluate(arrays, x, batch)
        return x

    def recalibrate(self, batches: Iterable[tuple[Tensor, int]]) -> None:
        """Sets the moving statistics to the mean of those of batches (frames `[T*B, H, W, 3]`, B); weights stay."""
        for done, (frames, clips) in enumerate(batches):
            self._observe(frames, clips, done / (done + 1))

    def batch_logits(self, frames: Tensor, clips: int) -> Tensor:
        """Compute logits [B, classes] of [T*B, H, W, 3] by the batch's statistics, which become the moving ones."""
        x = self._observe(frames, clips, 0.0)
        return self._evaluate(self._layers[-1], x, tf.constant(clips, tf.int32))

    def _observe(self, frames: Tensor, clips: int, momentum: float) -> Tensor:
        """Update the statistics by the functions of training; return the input of the head."""
        batch, share = tf.constant(clips, tf.int32), tf.constant(momentum, tf.float32)
        *body, head = self._layers
        x = frames
        for arrays, rate in zip(body, self._rates, strict=False):
            keep = tf.ones([clips]) if rate else self._nothing
            x = self._forward(arrays, x, batch, share, keep)[0]
        # A rate of 0 does not change the weights; the moments are temporary.
        aside = [_variable(tf.zeros_like(moment)) for moment in head.moments]
        labels = tf.zeros([clips], tf.int32)
        self._head_step([moment.handle for moment in aside], x, labels, batch, share, tf.zeros([4]))
        return x

    def _forward(self, arrays: Arrays, x: Tensor, batch: Tensor, momentum: Tensor, keep: Tensor) -> list[Tensor]:
        arguments = [x, batch, *arrays.sized, arrays.moving.handle, momentum, keep]
        return _call(arrays.compiled.forward, arguments, arrays.compiled.outputs)

    def _head_step(
        self, slots: Sequence[Tensor], x: Tensor, labels: Tensor, batch: Tensor, momentum: Tensor, hyper: Tensor
    ) -> list[Tensor]:
        head = self._layers[-1]
        return _call(
            head.compiled.forward,
            [x, labels, self._smoothing, batch, *head.sized, *slots, head.moving.handle, momentum, head.decayed, hyper],
            head.compiled.outputs,
        )

    def _evaluate(self, arrays: Arrays, x: Tensor, batch: Tensor) -> Tensor:
        evaluate = self._compiler.evaluator(arrays.key)
        return _call(evaluate, [x, batch, *arrays.sized, arrays.moving.handle, arrays.moving_splits], [tf.float32])[0]

    def states(self) -> list[np.ndarray]:
        """A copy of each layer's state from stem to head, float32 [3, weights]: flat weights and their two moments."""
        return [np.stack([each.numpy() for each in (layer.weights, *layer.moments)]) for layer in self._layers]

    def weights(self) -> list[np.ndarray]:
        """The weights of each layer as a flat vector, as initialised and trained; for tests and checkpoints."""
        return [arrays.weights.numpy() for arrays in self._layers]

    def moving_statistics(self) -> list[np.ndarray]:
        """The moving mean and variance of each layer's norms, concatenated in order: vectors."""
        return [arrays.moving.numpy() for arrays in self._layers]

    def _hyper(self) -> Tensor:
        t = self.steps_done + 1
        rate = self._recipe.rate(self.steps_done)
        return tf.constant([rate, BETA1**t, BETA2**t, self._recipe.weight_decay], tf.float32)

    def _keep(self, rate: float, clips: int) -> Tensor:
        if rate == 0:
            return self._nothing
        return tf.constant((self._rng.random(clips) >= rate) / (1 - rate), tf.float32)


class Candidate(Network):
    """One network in training by itself.

    Args:
      compiler, architecture, classes, recipe: see `Network`.
      seed: of the initial weights and of stochastic depth.
    """

    def __init__(self, compiler: Compiler, architecture: Architecture, classes: int, recipe: Recipe, seed: int) -> None:
        states = first_states(architecture, classes, seed, recipe.rezero)
        super().__init__(compiler, architecture, classes, recipe, states, np.random.default_rng([seed, 1]))


def _call(function: object, arguments: list[Tensor], outputs: list[object]) -> list[Tensor]:
    # Takes a fifth of the Python time of calling the ConcreteFunction, which matters at 10 ms per step.
    return raw.StatefulPartitionedCall(args=arguments, Tout=outputs, f=function, config_proto=_CONFIG)


def plan(architecture: Architecture, classes: int, recipe: Recipe) -> Iterator[tuple[Spec, object, float]]:
    """Yield spec, signature and drop rate of every layer from stem to head."""
    specs = layer_specs(architecture, classes)
    size = -(-architecture.clip.resolution // 2)
    for i, spec in enumerate(specs):
        if not isinstance(spec, BottleneckSpec):
            yield spec, None, 0.0
            continue
        form = BottleneckForm.at(spec, architecture.clip.frames, size)
        yield spec, form, recipe.stochastic_depth * i / (len(specs) - 2)
        size = -(-size // spec.stride)
