"""Contract of a cost: positive integers, the same for one architecture alone and among others, padding ignored."""

from __future__ import annotations

import numpy as np

from search_space.base.errors import InputError
from search_space.cost.counting import CostFunction, pack, values_of
from search_space.published import PUBLISHED
from search_space.space.movinet import base_config, movinet_space


def check_cost(function: CostFunction, classes: int = 10) -> None:
    """Check a cost on random architectures of the paper's space and on the published networks.

    Args:
      function: of a batch of N architectures and the number of classes, to integers `[N]`.
      classes: of the networks.

    Raises:
      AssertionError: the first fault, with an explanation.
    """
    space = movinet_space(base_config())
    drawn = [space.decode(tuple(row)) for row in space.sample(np.random.default_rng(0), 16).tolist()]
    networks = [*drawn, *(network for network in PUBLISHED.values() if len(network.blocks) == len(drawn[0].blocks))]
    try:
        alone = [values_of("cost", function, pack([network]), classes)[0] for network in networks]
        again = [values_of("cost", function, pack([network]), classes)[0] for network in networks]
        together = values_of("cost", function, pack(networks), classes)
    except InputError as error:
        raise AssertionError(str(error)) from None
    if alone != again:
        raise AssertionError("a cost differs from one call to the next; it must be exact")
    if alone != together.tolist():
        raise AssertionError("a cost depends on the other architectures of its batch; are absent layers counted?")
