"""Weights with values that no initialisation has."""

from __future__ import annotations

import keras
import numpy as np


def unsettle(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give every weight and statistic a value unlike any initialisation, at which ReZero hides the branches."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name.endswith("variance"):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif len(variable.shape) == 1:
            variable.assign(rng.normal(0.3, 0.5, variable.shape))
        else:
            variable.assign(variable * rng.uniform(0.8, 1.2, variable.shape))
    return model
