"""What sets a trial apart, for those who show trials elsewhere: its name and its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from nas.record.events import Proposal
from search_space.space.choices import SearchSpace


def name_of(proposal: Proposal) -> str:
    """As it is called; in the order of the search also when it is sorted as text."""
    return f"trial_{proposal.index:05}"


def cost_names(space: SearchSpace[Any]) -> list[str]:
    """Return the names of the exact costs that every trial has."""
    return [*space.count(np.zeros((1, len(space.choices)), np.int64))]


def parameters(space: SearchSpace[Any], proposal: Proposal) -> dict[str, bool | float | str]:
    """Return kind, label, repeat, all exact costs and, of a member of the space, its choices."""
    values = {} if proposal.genotype is None else space.values(proposal.genotype)
    plain = {name: value if isinstance(value, bool | int | float) else str(value) for name, value in values.items()}
    return {"kind": proposal.kind, "label": proposal.label, "repeat": proposal.repeat, **proposal.cost, **plain}
