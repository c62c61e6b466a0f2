"""Training of scaled variants of the best parents of a family, to choose between them.

RUN/settle is the folder of an ordinary run, which trains a fixed list of networks: see `nas.studies.validation`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config.search_config import SearchConfig
from nas.execution.ray_cluster import ALONE, Cluster
from nas.loop import run_folder
from nas.loop.fixed_networks import FixedNetwork
from nas.record.ledger import Ledger
from nas.studies.validation import scaled_networks, training_of
from search_space import architecture
from search_space.cost.counting import count
from search_space.scaling.compound import Coefficients

OWN_SEEDS = 2  # added to the seed of the run


@dataclass(frozen=True)
class Variant:
    """A parent, to be scaled to `macs` at the proxy's scale and trained; `name` labels its trainings."""

    name: str
    architecture: Mapping[str, Any]
    macs: float


def plan(ledger: Ledger, variants: Sequence[Variant], repeats: int, coefficients: Coefficients) -> SearchConfig:
    """Return the configuration of the run that trains the variants with the recipe and steps of a run."""
    config = run_folder.config_of(ledger)

    def scaled(variant: Variant) -> FixedNetwork:
        macs = count(architecture.from_dict(variant.architecture), config.movinet_space.classes).macs
        return FixedNetwork(variant.name, "finalist", variant.architecture, variant.macs / macs)

    networks = scaled_networks([scaled(each) for each in variants], config, coefficients)
    return training_of(networks, config, repeats, OWN_SEEDS, max(1.0, *(each.scale for each in networks)))


def settle(
    config: SearchConfig, folder: Path, executor: str, watch: run_folder.Watch, cluster: Cluster = ALONE
) -> None:
    """Train the networks of `plan` in a folder, or resume there."""
    if os.path.exists(folder / run_folder.LEDGER):
        run_folder.resume(folder, executor, watch, cluster)
    else:
        run_folder.start(config, folder, executor, watch, cluster)
