"""Name and parameters of a trial for experiment trackers."""

from __future__ import annotations

from typing import Any

import numpy as np

from nas.record.events import Proposal
from search_space.space.choices import SearchSpace


def name_of(proposal: Proposal) -> str:
    """Return the name of a trial; sorting by text keeps the order of the search."""
    return f"trial_{proposal.index:05}"


def cost_names(space: SearchSpace[Any]) -> list[str]:
    """Return the names of the exact costs that every trial has."""
    return [*space.count(np.zeros((1, len(space.choices)), np.int64))]


def parameters(space: SearchSpace[Any], proposal: Proposal) -> dict[str, bool | float | str]:
    """Return kind, label, repeat, all exact costs and, for an architecture of the space, its choices."""
    values = {} if proposal.genotype is None else space.values(proposal.genotype)
    plain = {name: value if isinstance(value, bool | int | float) else str(value) for name, value in values.items()}
    return {"kind": proposal.kind, "label": proposal.label, "repeat": proposal.repeat, **proposal.cost, **plain}
