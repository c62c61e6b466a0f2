"""Comparison of a family with the published networks of the same names."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from results.family.growth import PUBLISHED_MACS, Family
from search_space.architecture import Architecture
from search_space.cost.counting import count
from search_space.published import published


def beside_published(family: Family) -> pd.DataFrame:
    """Return one row per model named a0 to a5, in the family's order, indexed by name.

    Columns: macs per clip, trainable parameters, layers and the clip as frames x side²/stride, each followed by the
    value of the published network, counted by the same rules for the same number of classes.
    """
    rows = {}
    for model in family.models:
        if model.name in PUBLISHED_MACS:
            (own,), known = model.network.members, published(model.name)
            costs = model.network.cost, vars(count(known, family.config.classes))
            rows[model.name] = _row(_facts(own, costs[0]), _facts(known, costs[1]))
    return pd.DataFrame.from_dict(rows, orient="index")


def _facts(network: Architecture, cost: Mapping[str, int]) -> dict[str, int | str]:
    clip = network.clip
    return {
        "macs": cost["macs"],
        "parameters": cost["trainable_parameters"],
        "layers": network.depth,
        "clip": f"{clip.frames}x{clip.resolution}²/{clip.frame_stride}",
    }


def _row(own: Mapping[str, int | str], known: Mapping[str, int | str]) -> dict[str, int | str]:
    return {name: value for each in own for name, value in ((each, own[each]), (f"{each} published", known[each]))}
