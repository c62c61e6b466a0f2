"""Trains the small experiment on one replica and on two: two_replicas.py FOLDER; prints the differences as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from small_experiment import small

from movinet.training.trainer import Trainer
from movinet.weights.checkpoint import named_variables
from search_space.base.errors import InputError

# Replicas would draw different dropout, and a high rate would amplify differences from the order of sums.
CALM = (
    "task.model.dropout_rate=0.0,task.model.backbone.movinet.stochastic_depth_drop_rate=0.0,"
    "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate=0.05"
)
REFUSED = ("task.train_data.global_batch_size=9", "task.model.norm_activation.use_sync_bn=false")


def trained(folder: Path, strategy: tf.distribute.Strategy) -> tuple[float, dict[str, Any]]:
    """Return loss and weights after three steps."""
    running = Trainer(small(folder, CALM), folder / "run", strategy, print)
    loss = running.train(running.batches(), 3).loss
    return loss, {name: variable.numpy() for name, variable in named_variables(running.model).items()}


def refusal(folder: Path, strategy: tf.distribute.Strategy, override: str) -> str:
    """Return the error message for an experiment that two replicas cannot train, or an empty string."""
    try:
        Trainer(small(folder, override), folder / "run", strategy, print).batches()
    except InputError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    """Train with both."""
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    (loss, weights), (loss_of_two, weights_of_two) = (trained(folder, s) for s in (tf.distribute.get_strategy(), two))
    found = {
        "losses": [loss, loss_of_two],
        "difference": max(float(np.abs(weights[name] - weights_of_two[name]).max()) for name in weights),
        "refusals": [refusal(folder, two, override) for override in REFUSED],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
