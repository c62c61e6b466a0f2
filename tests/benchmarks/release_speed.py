"""Times the TF Model Garden implementation; prints JSON. `speed.py` starts one process per network.

It runs in an environment of `pip install tf-models-official`, so it imports nothing of this project but `timed`.

The first argument is a request: `{network, form, batch, classes, slots}`. `network` is in this project's schema and is
added to Model Garden's table under a new name. `form` is Model Garden's `conv_type`; the optional `variant` has further
fields of its `Movinet`. Prints the seconds from there to the first finished training step; then, for every number read
from standard input, trains that many more steps and prints their seconds.

With `slots` the optimiser's arrays are made before the step is traced. Without it they are made inside the step, as in
Keras' `fit` and in Model Garden's trainer, and TensorFlow traces the step twice.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import tensorflow as tf
import timed
from official.projects.movinet.modeling import movinet, movinet_model


def block_specs(network: dict) -> tuple:
    """Return the network as an entry of Model Garden's table."""
    return (
        movinet.StemSpec(filters=network["stem"]["width"], kernel_size=(1, 3, 3), strides=(1, 2, 2)),
        *(block_spec(block) for block in network["blocks"]),
        movinet.HeadSpec(project_filters=network["head"]["project"], head_filters=network["head"]["dense"]),
    )


def block_spec(block: dict) -> movinet.MovinetBlockSpec:
    """Return one block; the table cannot express a layer without squeeze-excite."""
    if not all(layer["squeeze_excite"] for layer in block["layers"]):
        sys.exit("release_speed.py: the release's table cannot express a layer without squeeze-excite")
    strides = [(1, block["stride"], block["stride"])] + [(1, 1, 1)] * (len(block["layers"]) - 1)
    return movinet.MovinetBlockSpec(
        base_filters=block["width"],
        expand_filters=tuple(layer["expand"] for layer in block["layers"]),
        kernel_sizes=tuple(tuple(layer["kernel"]) for layer in block["layers"]),
        strides=tuple(strides),
    )


def training_step(request: dict[str, Any]) -> Callable[[], object]:
    """Return the compiled step of a model and its optimiser, as a plain TensorFlow 2 loop has it."""
    movinet.BLOCK_SPECS["candidate"] = block_specs(request["network"])
    backbone = movinet.Movinet(model_id="candidate", conv_type=request["form"], **request.get("variant", {}))
    model = movinet_model.MovinetClassifier(backbone, num_classes=request["classes"])
    clip = request["network"]["clip"]
    model.build([request["batch"], clip["frames"], clip["resolution"], clip["resolution"], 3])
    optimizer = tf.keras.optimizers.legacy.RMSprop(1e-3, momentum=0.9)
    if request["slots"]:
        optimizer._create_all_weights(model.trainable_variables)
    return timed.training(request, model, optimizer, tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))


if __name__ == "__main__":
    timed.answer(lambda: training_step(json.loads(sys.argv[1])))
