"""The bundled network family: MoViNets on clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nas.algorithms.stratified_random import cost_strata
from nas.config.costs import COSTS
from nas.config.search_config import SearchConfig
from nas.evaluation.proxy_trainer import open_data
from nas.loop.data_notes import data_notes
from nas.loop.early_stopping import CostBins
from nas.tasks.base import Described
from nas.tasks.references import reference_architectures
from search_space import architecture as architectures
from search_space.architecture import Architecture
from search_space.base.errors import InputError
from search_space.cost.counting import COST_NAMES, CostFunction, count, pack, values_of
from search_space.space import dead_options
from search_space.space.choices import Genotype, SearchSpace
from search_space.space.movinet import BLOCK_STRIDES, movinet_space, nearest


class MoViNets:
    """The family for the search loop; space, recipe and clips are those of the configuration."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.space_config = config.movinet_space
        names = dict.fromkeys((*config.costs, *(limit.name for limit in config.limits)))
        # Costs that the user brings.
        self.brought: tuple[tuple[str, CostFunction], ...] = tuple(
            (name, COSTS.find("costs", name)) for name in names if name not in COST_NAMES
        )

    @property
    def space(self) -> SearchSpace[Architecture]:
        """The configured space, which also counts the costs that the user brings."""
        return movinet_space(self.space_config, self.brought) if self.brought else movinet_space(self.space_config)

    @property
    def classes(self) -> int:
        """Number of classes of the space."""
        return self.space_config.classes

    def described(self, architecture: Architecture) -> Described:
        """Return an architecture, of the space or not, with all exact costs.

        Raises:
          InputError: a function that the user brings returns something other than costs.
        """
        cost: dict[str, int] = dict(vars(count(architecture, self.classes)))
        for name, function in self.brought:
            cost[name] = int(values_of(name, function, pack([architecture]), self.classes)[0])
        return Described(architectures.to_dict(architecture), architecture.fingerprint, cost)

    def references(self) -> Mapping[str, Architecture]:
        """Return the configured published networks at the scale of the space under the limits.

        Raises:
          InputError: one cannot be brought to that scale; limits are named if without them it could.
        """
        names, limits = self.config.finals.references, self.config.limits
        if not names:
            return {}

        def scaled(macs: CostBins) -> Mapping[str, Architecture]:
            return reference_architectures(self.space_config, names, macs.low, macs.high)

        within = cost_strata(self.space, limits, "macs", 1)
        try:
            return scaled(within)
        except InputError as error:
            if not limits:
                raise
            try:
                scaled(cost_strata(self.space, (), "macs", 1))
            except InputError:
                raise error from None
            listed = ", ".join(f"limits.{limit.name}" for limit in limits)
            rule = f"cannot be scaled to networks within {listed}, but could without; raise the limit, or leave it out"
            raise InputError(error.place, error.value, rule) from None

    def starts(self) -> list[Genotype]:
        """Return the architectures nearest to the references, for a space with the published number of blocks."""
        if len(self.space_config.blocks) != len(BLOCK_STRIDES):
            return []
        return [nearest(self.space, architecture) for architecture in self.references().values()]

    def notes(self, data: Any) -> Iterator[str]:
        """Yield a line about options that compute the same as a cheaper one, and lines about videos of the user."""
        if dead := dead_options.warning(self.space_config):
            yield dead
        if data is not None and self.config.data.source != "moving_digits":
            yield from data_notes(data)

    def opened(self) -> Any:
        """Return the data set, made first if it is not in the cache."""
        return open_data(self.config.data, self.space_config)

    def content_hash(self, data: Any) -> str:
        """Return the hash of the clips."""
        return str(data.content_hash)

    def validation_labels(self, data: Any) -> np.ndarray:
        """Return the classes of the validation clips, `[N]`."""
        labels: np.ndarray = data.validation.labels
        return labels
