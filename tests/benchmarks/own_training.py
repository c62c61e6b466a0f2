"""Times a training step of this project's `keras.Model`; prints JSON. Used by `streaming_speed.py`.

The first argument is a request as for `release_speed.py`, and the training is a plain TensorFlow loop as there:
`{network, form, variant, batch, classes, slots}`. Prints the seconds to the first finished training step; then, for
every number read from standard input, trains that many more steps and prints their seconds.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import timed

from movinet.model.keras_model import build
from search_space import architecture as schema
from search_space.variant import Variant


def training_step(request: dict[str, Any]) -> Callable[[], object]:
    """Return the compiled step of a model and its optimiser."""
    network = schema.from_dict(request["network"])
    model = build(network, request["classes"], variant=Variant(conv_type=request["form"], **request["variant"]))
    optimizer = keras.optimizers.RMSprop(1e-3, momentum=0.9)
    if request["slots"]:
        optimizer.build(model.trainable_variables)
    return timed.training(request, model, optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))


if __name__ == "__main__":
    timed.answer(lambda: training_step(json.loads(sys.argv[1])))
