"""Learning rates and updates of weights, numerically those of the TF Model Garden (official/modeling/optimization).

The Model Garden trains with the legacy optimizers of Keras 2. Those of Keras 3 differ: RMSprop without momentum puts
epsilon under the root, and Adam applies epsilon elsewhere. So the updates are written here, one function each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from movinet.model.ops import Tensor
from movinet.training.config.optimizer_config import (
    Adam,
    AdamW,
    Cosine,
    Ema,
    Exponential,
    LearningRate,
    OptimizationConfig,
    Polynomial,
    RmsProp,
    Sgd,
    Stepwise,
    Warmup,
)

Schedule = Callable[[Tensor], Tensor]
Slots = Mapping[str, Tensor]
Rule = Callable[[Tensor, Tensor, Slots, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]

INITIAL_LOSS_SCALE = 2.0**15  # these three values are those of Keras 2
LOSS_SCALE_GROWTH_STEPS = 2000
LOSS_SCALE_FACTOR = 2.0


def learning_rate(config: OptimizationConfig) -> Schedule:
    """Return the learning rate as a function of the step, counted from 0, a float32."""
    return _warmed_up(config.warmup, _schedule(config.learning_rate))


def _schedule(config: LearningRate) -> Schedule:
    makers: Mapping[str, Callable[[Any], Schedule]] = {
        "constant": lambda c: lambda step: tf.constant(c.learning_rate, tf.float32),
        "stepwise": _stepwise,
        "exponential": _exponential,
        "polynomial": _polynomial,
        "cosine": _cosine,
    }
    return makers[config.type](getattr(config, config.type))


def _stepwise(config: Stepwise) -> Schedule:
    values, boundaries = config.values or (), config.boundaries or ()

    def rate(step: Tensor) -> Tensor:
        passed = [tf.cast(step - config.offset > boundary, tf.int32) for boundary in boundaries]
        return tf.gather(tf.constant(values, tf.float32), tf.add_n(passed) if passed else 0)

    return rate


def _exponential(config: Exponential) -> Schedule:
    def rate(step: Tensor) -> Tensor:
        done = (step - config.offset) / config.decay_steps
        return config.initial_learning_rate * tf.pow(
            tf.constant(config.decay_rate, tf.float32), tf.floor(done) if config.staircase else done
        )

    return rate


def _polynomial(config: Polynomial) -> Schedule:
    first, last = config.initial_learning_rate or 0.0, config.end_learning_rate

    def rate(step: Tensor) -> Tensor:
        step, steps = step - config.offset, tf.constant(config.decay_steps, tf.float32)
        if config.cycle:
            steps *= tf.where(tf.equal(step, 0), 1.0, tf.math.ceil(step / steps))
        else:
            step = tf.minimum(step, steps)
        return (first - last) * tf.pow(1 - step / steps, config.power) + last

    return rate


def _cosine(config: Cosine) -> Schedule:
    def rate(step: Tensor) -> Tensor:
        done = tf.minimum(step - config.offset, float(config.decay_steps or 1)) / float(config.decay_steps or 1)
        decayed = 0.5 * (1.0 + tf.cos(tf.constant(math.pi, tf.float32) * done))
        return (config.initial_learning_rate or 0.0) * ((1 - config.alpha) * decayed + config.alpha)

    return rate


def _warmed_up(config: Warmup, after: Schedule) -> Schedule:
    if config.type is None:
        return after
    steps = float(getattr(config, config.type).warmup_steps)

    def rate(step: Tensor) -> Tensor:
        target = after(tf.constant(steps, tf.float32))
        if config.type == "linear":
            first = config.linear.warmup_learning_rate
            rising = first + step / steps * (target - first)
        else:
            rising = target * tf.pow(tf.maximum(step, 1.0) / steps, config.polynomial.power)
        return tf.where(step < steps, rising, after(step))

    return rate


# -- updates: (weight, gradient, slots, rate, step from 1) -> the new weight and slots --------


def _sgd(config: Sgd) -> Rule:
    def update(w: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if not config.momentum:
            return w - rate * g, {}
        velocity = config.momentum * slots["velocity"] - rate * g
        return w + (config.momentum * velocity - rate * g if config.nesterov else velocity), {"velocity": velocity}

    return update


def _rmsprop(config: RmsProp) -> Rule:
    def update(w: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        after = {"square": config.rho * slots["square"] + (1 - config.rho) * tf.square(g)}
        spread = after["square"]
        if config.centered:
            after["mean"] = config.rho * slots["mean"] + (1 - config.rho) * g
            spread -= tf.square(after["mean"])
        if not config.momentum:
            return w - rate * g / (tf.sqrt(spread) + config.epsilon), after
        after["velocity"] = config.momentum * slots["velocity"] + rate * g * tf.math.rsqrt(spread + config.epsilon)
        return w - after["velocity"], after

    return update


def _adam(config: Adam | AdamW) -> Rule:
    def update(w: Tensor, g: Tensor, slots: Slots, rate: Tensor, step: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        beta_1, beta_2 = tf.constant(config.beta_1, g.dtype), tf.constant(config.beta_2, g.dtype)
        after = {
            "mean": slots["mean"] + (1 - beta_1) * (g - slots["mean"]),
            "square": slots["square"] + (1 - beta_2) * (tf.square(g) - slots["square"]),
        }
        spread = after["square"]
        if config.amsgrad:
            spread = after["largest"] = tf.maximum(slots["largest"], spread)
        unbiased = rate * tf.sqrt(1 - tf.pow(beta_2, step)) / (1 - tf.pow(beta_1, step))
        return w - unbiased * after["mean"] / (tf.sqrt(spread) + config.epsilon), after

    return update


def _slot_names(config: Sgd | RmsProp | Adam | AdamW) -> list[str]:
    if isinstance(config, Sgd):
        return ["velocity"] if config.momentum else []
    if isinstance(config, RmsProp):
        return ["square"] + ["mean"] * config.centered + ["velocity"] * bool(config.momentum)
    return ["mean", "square"] + ["largest"] * config.amsgrad


def _rule(config: Sgd | RmsProp | Adam | AdamW) -> Rule:
    if isinstance(config, Sgd):
        return _sgd(config)
    return _rmsprop(config) if isinstance(config, RmsProp) else _adam(config)


def _decay_rate(config: Any, name: str) -> float:
    """Return the weight decay of AdamW for the weight of this name."""
    if not isinstance(config, AdamW):
        return 0.0
    if any(re.search(pattern, name) for pattern in config.include_in_weight_decay or ()):
        return config.weight_decay_rate
    kept = any(re.search(pattern, name) for pattern in config.exclude_from_weight_decay or ())
    return 0.0 if kept else config.weight_decay_rate


class Updates(tf.Module):
    """Updates of variables by their gradients, identical on every replica; create it under the strategy's scope.

    Attributes:
      trained: the variables.
      iterations: updates so far, int64.
      averages: moving averages of the variables, or empty.
      loss_scale: factor of the loss before its gradient is computed, or None.
    """

    def __init__(
        self,
        config: OptimizationConfig,
        trained: Sequence[tuple[str, Any]],
        averaged: Sequence[Any] = (),
        loss_scale: str | float | None = None,
    ) -> None:
        """Prepare updates of named variables; `config.ema` averages `averaged`; `loss_scale` may be "dynamic"."""
        super().__init__()
        self._config, self._chosen = config, getattr(config.optimizer, config.optimizer.type)
        self._rule, self.rate = _rule(self._chosen), learning_rate(config)
        self.iterations = tf.Variable(0, trainable=False, dtype=tf.int64, aggregation=_FIRST)
        self._names = [name for name, _ in trained]
        self.trained = [variable for _, variable in trained]
        self._averaged = list(averaged) if config.ema else []
        self.slots = {name: [_zeros_like(v) for v in self.trained] for name in _slot_names(self._chosen)}
        self.averages = [_zeros_like(variable) for variable in self._averaged]
        self._dynamic = loss_scale == "dynamic"
        self.loss_scale = None
        if loss_scale is not None:
            start = INITIAL_LOSS_SCALE if self._dynamic else float(loss_scale)
            self.loss_scale = tf.Variable(start, trainable=False, aggregation=_FIRST)
            self.steps_since_change = tf.Variable(0, trainable=False, aggregation=_FIRST)

    def apply(self, gradients: Sequence[Tensor]) -> None:
        """Apply gradients, each of the same shape as its variable; call it in a replica's context.

        They are the gradients of this replica's part of the (scaled) loss.
        """
        gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
        finite = None
        if self.loss_scale is not None:
            gradients = [g / self.loss_scale for g in gradients]
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        gradients = _clipped(self._chosen, list(gradients))
        rate = self.rate(tf.cast(self.iterations, tf.float32))
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.distribute.get_replica_context().merge_call(self._update, args=(gradients, rate, step, finite))

    def _update(self, strategy: Any, gradients: Any, rate: Any, step: Any, finite: Any) -> None:
        update = strategy.extended.update
        for i, (name, variable) in enumerate(zip(self._names, self.trained, strict=True)):
            slots = {slot: values[i] for slot, values in self.slots.items()}
            decay = _decay_rate(self._chosen, name)
            update(variable, self._update_one, args=(gradients[i], slots, rate, step, finite, decay), group=False)
        for average, variable in zip(self.averages, self._averaged, strict=True):
            update(average, self._average_one, args=(variable, step), group=False)
        update(self.iterations, _count, args=(finite,), group=False)
        if self._dynamic:
            update(self.loss_scale, self._rescale, args=(self.steps_since_change, finite), group=False)

    def _update_one(
        self, variable: Any, g: Tensor, slots: Mapping[str, Any], rate: Tensor, step: Tensor, finite: Any, decay: float
    ) -> None:
        w = tf.convert_to_tensor(variable)
        before = {name: tf.convert_to_tensor(slot) for name, slot in slots.items()}
        after, slots_after = self._rule(w - rate * decay * w if decay else w, g, before, rate, step)
        variable.assign(after if finite is None else tf.where(finite, after, w))
        for name, slot in slots_after.items():
            slots[name].assign(slot if finite is None else tf.where(finite, slot, before[name]))

    def _average_one(self, average: Any, variable: Any, step: Tensor) -> None:
        average.assign_sub((1 - _average_decay(self._config.ema or Ema(), step)) * (average - variable))

    def _rescale(self, scale: Any, steps: Any, finite: Tensor) -> None:
        grown = tf.where(steps + 1 >= LOSS_SCALE_GROWTH_STEPS, scale * LOSS_SCALE_FACTOR, tf.convert_to_tensor(scale))
        grown = tf.where(tf.math.is_finite(grown), grown, scale)
        scale.assign(tf.where(finite, grown, tf.maximum(scale / LOSS_SCALE_FACTOR, 1.0)))
        steps.assign(tf.where(finite, (steps + 1) % LOSS_SCALE_GROWTH_STEPS, 0))

    def swap_averages(self) -> None:
        """Swap the variables with their moving averages; a second call restores them. Call it outside of replicas."""
        for average, variable in zip(self.averages, self._averaged, strict=True):
            kept = average.numpy()
            average.assign(variable)
            variable.assign(kept)


_FIRST = tf.VariableAggregation.ONLY_FIRST_REPLICA


def _zeros_like(variable: Any) -> Any:
    return tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False)


def _count(iterations: Any, finite: Tensor | None) -> None:
    iterations.assign_add(1 if finite is None else tf.cast(finite, tf.int64))


def _average_decay(config: Ema, step: Tensor) -> Tensor:
    since = step - config.start_step
    decay = tf.constant(config.average_decay, tf.float32)
    if config.dynamic_decay:
        decay = tf.minimum(decay, (1.0 + since) / (10.0 + since))
    return tf.where(since < 0, 0.0, decay)


def _clipped(config: Sgd | RmsProp | Adam | AdamW, gradients: list[Tensor]) -> list[Tensor]:
    """Clip gradients: AdamW first by their global norm, then all optimizers one by one or by the global norm."""
    if isinstance(config, AdamW) and config.gradient_clip_norm > 0:
        gradients, _ = tf.clip_by_global_norm(gradients, config.gradient_clip_norm)
    if config.clipvalue is not None:
        return [tf.clip_by_value(g, -config.clipvalue, config.clipvalue) for g in gradients]
    if config.clipnorm is not None:
        return [tf.clip_by_norm(g, config.clipnorm) for g in gradients]
    if config.global_clipnorm is not None:
        gradients, _ = tf.clip_by_global_norm(gradients, config.global_clipnorm)
    return gradients
