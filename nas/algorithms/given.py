"""Enumeration of listed architectures, with repeats, to tabulate a space (NAS-Bench-101, arXiv 1902.09635)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from nas.algorithms.base import Algorithm, Exhausted, as_genotype, canonical_genotypes
from nas.record.objective import ACCURACY, Objective
from search_space.base.checks import check_integer
from search_space.base.errors import InputError
from search_space.space.choices import Genotype, SearchSpace
from search_space.space.sampling import Limit, feasible, sample_feasible


@final
class Given(Algorithm):
    """Proposes listed architectures in random order, all of them once before any repeat.

    Args:
      members: genotypes; by default every feasible architecture of the space.
      repeats: proposals of each architecture, trained with different seeds.

    Raises:
      InputError: a genotype is not of the space, none is within the limits, or the space is too large to list.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        limits: Sequence[Limit] = (),
        objective: Objective = ACCURACY,
        cost_name: str = "macs",
        planned: int = 100,
        members: Sequence[Sequence[int]] | None = None,
        repeats: int = 1,
    ) -> None:
        super().__init__(space, limits, objective, cost_name, planned)
        self.repeats = check_integer("repeats", repeats, 1, 10**6)
        listed = space.members() if members is None else _canonical(space, members)
        if not len(listed):
            raise InputError("members", members, "must hold at least one genotype")
        self.members: tuple[Genotype, ...] = tuple(
            as_genotype(row) for row in listed[feasible(space.count(listed), self.limits)]
        )
        if not self.members:
            sample_feasible(space, np.random.default_rng(0), 1, limits)  # raises an error that names the limits
            raise InputError("members", members, "must contain an architecture within the limits")

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return one of the architectures proposed least often so far."""
        times = Counter(genotype for genotype, _ in self.proposed.values())
        elsewhere = self.seen.keys() - times.keys()  # references and re-evaluations
        left = [m for m in self.members if times[m] < self.repeats and m not in elsewhere]
        if not left:
            raise Exhausted(
                f"all {len(self.members)} listed architectures of the space {self.space.name} were proposed"
            )
        least = min(times[m] for m in left)
        fewest = [m for m in left if times[m] == least]
        return fewest[rng.integers(len(fewest))]


def _canonical(space: SearchSpace[Any], members: Sequence[Sequence[int]]) -> np.ndarray:
    listed = canonical_genotypes("members", space, members)
    return np.array(listed, dtype=np.int64).reshape(len(listed), len(space.choices))
