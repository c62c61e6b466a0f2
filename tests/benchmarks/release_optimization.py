"""Records learning rates and updates of the TF Model Garden implementation for tests/test_optimizer.py.

  /tmp/release/bin/python tests/benchmarks/release_optimization.py tests/recorded/release_optimization.json

Runs in an environment of that implementation (pip install tf-models-official).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf
from official.modeling import optimization

STEPS = [0, 1, 2, 7, 10, 11, 50, 99, 100, 101, 150, 300]
WARMUP = {"type": "linear", "linear": {"warmup_steps": 10}}
COSINE = {"initial_learning_rate": 1.8, "decay_steps": 100}
EXPONENTIAL = {"initial_learning_rate": 0.7, "decay_steps": 50, "decay_rate": 0.9}
STEPWISE = {"boundaries": [10, 100], "values": [1.0, 0.5, 0.1]}
POLYNOMIAL = {"initial_learning_rate": 0.7, "decay_steps": 100}
SCHEDULES: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "cosine": ("cosine", COSINE, None),
    "cosine, warm-up": ("cosine", COSINE, WARMUP),
    "cosine, alpha, offset, warm-up from 0.1": (
        "cosine",
        COSINE | {"alpha": 0.1, "offset": 5},
        {"type": "linear", "linear": {"warmup_steps": 10, "warmup_learning_rate": 0.1}},
    ),
    "constant, warm-up": ("constant", {"learning_rate": 0.3}, WARMUP),
    "stepwise": ("stepwise", STEPWISE, None),
    "stepwise, offset, warm-up": ("stepwise", STEPWISE | {"offset": 3}, WARMUP),
    "exponential": ("exponential", EXPONENTIAL, None),
    "exponential, stairs": ("exponential", EXPONENTIAL | {"staircase": True, "offset": 4}, WARMUP),
    "polynomial": ("polynomial", POLYNOMIAL | {"end_learning_rate": 0.01, "power": 2.0}, None),
    "polynomial, cycle, polynomial warm-up": (
        "polynomial",
        POLYNOMIAL | {"cycle": True},
        {"type": "polynomial", "polynomial": {"warmup_steps": 10, "power": 2.0}},
    ),
}
RELEASED = {"rho": 0.9, "momentum": 0.9, "epsilon": 1.0, "clipnorm": 1.0}
DECAY = {"weight_decay_rate": 0.1, "exclude_from_weight_decay": ["norm"]}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "rmsprop of the recipe": ("rmsprop", RELEASED, None),
    "rmsprop": ("rmsprop", {"rho": 0.9}, None),
    "rmsprop, centered": (
        "rmsprop",
        {"rho": 0.8, "momentum": 0.5, "epsilon": 0.01, "centered": True, "clipvalue": 0.7},
        None,
    ),
    "rmsprop, average": ("rmsprop", RELEASED, {"average_decay": 0.99}),
    "rmsprop, late average": ("rmsprop", RELEASED, {"average_decay": 0.5, "dynamic_decay": False, "start_step": 3}),
    "sgd": ("sgd", {"momentum": 0.0, "nesterov": False}, None),
    "sgd, nesterov": ("sgd", {"momentum": 0.9, "nesterov": True, "global_clipnorm": 1.5}, None),
    "sgd, momentum": ("sgd", {"momentum": 0.9, "nesterov": False}, None),
    "adam": ("adam", {"clipnorm": 1.0}, None),
    "adam, amsgrad": ("adam", {"amsgrad": True, "epsilon": 0.001}, None),
    "adamw": ("adamw", DECAY | {"gradient_clip_norm": 1.0}, None),
    "adamw, include": ("adamw", DECAY | {"include_in_weight_decay": ["beta"], "gradient_clip_norm": 0.0}, None),
}
RATE = ("cosine", {"initial_learning_rate": 0.5, "decay_steps": 8}, {"type": "linear", "linear": {"warmup_steps": 2}})


def config(rate: tuple[Any, ...], optimizer: tuple[Any, ...] = ("sgd", {}, None)) -> dict[str, Any]:
    """Return a configuration as plain data."""
    data: dict[str, Any] = {
        "learning_rate": {"type": rate[0], rate[0]: rate[1]},
        "optimizer": {"type": optimizer[0], optimizer[0]: optimizer[1]},
    }
    return data | ({"warmup": rate[2]} if rate[2] else {}) | ({"ema": optimizer[2]} if optimizer[2] else {})


def rates(data: dict[str, Any]) -> list[float]:
    """Return the learning rates at STEPS."""
    rate = optimization.OptimizerFactory(optimization.OptimizationConfig(data)).build_learning_rate()
    return [float(rate(tf.constant(step, tf.int64)) if callable(rate) else rate) for step in STEPS]


def updated(data: dict[str, Any], start: list[Any], gradients: list[Any]) -> dict[str, Any]:
    """Return the weights, and their moving averages, after one update by each of the gradients."""
    factory = optimization.OptimizerFactory(optimization.OptimizationConfig(data))
    optimizer = factory.build_optimizer(factory.build_learning_rate())
    names = ("block/kernel", "norm/beta")
    weights = [tf.Variable(w, name=name) for w, name in zip(start, names, strict=True)]
    if "ema" in data:
        optimizer.shadow_copy(type("Model", (), {"trainable_variables": weights}))
    for step in gradients:
        optimizer.apply_gradients(list(zip(map(tf.constant, step), weights, strict=True)))
    averages = optimizer._average_weights if "ema" in data else []
    return {"weights": [w.numpy().tolist() for w in weights], "averages": [a.numpy().tolist() for a in averages]}


def main(path: str) -> None:
    """Record all values."""
    random = np.random.default_rng(0)
    start = [random.normal(size=shape).astype("f4") for shape in ((3, 2), (4,))]
    gradients = [[(2 * random.normal(size=w.shape)).astype("f4") for w in start] for _ in range(5)]
    schedules = {name: config(schedule) for name, schedule in SCHEDULES.items()}
    optimizers = {name: config(RATE, optimizer) for name, optimizer in OPTIMIZERS.items()}
    recorded = {
        "steps": STEPS,
        "start": [w.tolist() for w in start],
        "gradients": [[g.tolist() for g in step] for step in gradients],
        "rates": {name: {"config": data, "values": rates(data)} for name, data in schedules.items()},
        "updates": {name: {"config": d, **updated(d, start, gradients)} for name, d in optimizers.items()},
    }
    with open(path, "w") as file:
        file.write(json.dumps(recorded) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
