"""Random search: Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization"."""

from __future__ import annotations

from typing import final

import numpy as np

from nas.algorithms.base import Algorithm
from search_space.space.choices import Genotype


@final
class RandomSearch(Algorithm):
    """Architectures drawn uniformly over the options of every choice."""

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return a random feasible unseen architecture."""
        return self.random_unseen(rng)
