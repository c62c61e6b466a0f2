"""Objectives and their directions. Internally everything is minimised; only this module converts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from search_space.base.errors import InputError


@dataclass(frozen=True)
class Objective:
    """A metric or cost by name, to be maximised or minimised."""

    name: str
    direction: Literal["max", "min"]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError("objective.name", self.name, "must be the name of a metric or cost")
        if self.direction not in ("max", "min"):
            raise InputError(f"objective.{self.name}", self.direction, "must be 'max' or 'min'")

    def minimised(self, values: ArrayLike) -> np.ndarray:
        """Return `values` as float64 of the same shape, lower is better."""
        array = np.asarray(values, dtype=np.float64)
        return -array if self.direction == "max" else array


ACCURACY = Objective("accuracy", "max")
LIKELIHOOD = Objective("likelihood", "max")
STATISTICS = {objective.name: objective for objective in (LIKELIHOOD, ACCURACY)}  # from 0 to 1, higher is better
MACS = Objective("macs", "min")
