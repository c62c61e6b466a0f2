"""Times a training step of this project's `keras.Model`; prints JSON. Used by `streaming_speed.py`.

Reads a request from the first argument, as `release_speed.py` does, and trains as it does, in a plain TensorFlow loop:
{network, form, variant, batch, classes, slots}. Prints the seconds to the first training step done; then, for every
number read from standard input, that many more steps and their seconds.
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
    """Model, optimiser and their compiled step."""
    network = schema.from_dict(request["network"])
    model = build(network, request["classes"], variant=Variant(conv_type=request["form"], **request["variant"]))
    optimizer = keras.optimizers.RMSprop(1e-3, momentum=0.9)
    if request["slots"]:
        optimizer.build(model.trainable_variables)
    return timed.training(request, model, optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))


if __name__ == "__main__":
    timed.answer(lambda: training_step(json.loads(sys.argv[1])))
