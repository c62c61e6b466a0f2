"""Prior scores of architectures, cheaper than training, in a file from which a search starts.

The file is JSON of the schema `movinet-nas/hints/1`: the space, genotypes of architectures, and a number for each. The
search learns whether higher is better. A one-shot search writes the statistic of its supernet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.algorithms.base import Exhausted
from nas.algorithms.registry import WITH_PRIOR_SCORES
from nas.algorithms.stratified_random import StratifiedRandom
from nas.config.search_config import SearchConfig
from nas.config.searched_task import searched_space
from nas.record.events import Proposal
from search_space.base import untrusted_files
from search_space.base.checks import check_keys, check_schema
from search_space.base.errors import InputError
from search_space.space.choices import Genotype
from search_space.space.movinet import SpaceConfig, to_dict

SCHEMA = "movinet-nas/hints/1"
MAX_BYTES = 2**26
MAX_HINTS = 10_000
MEMBERS_STREAM = 0x41175  # separates these draws from other uses of a run's seed


def members(config: SearchConfig, n: int) -> list[Genotype]:
    """Return architectures to measure, within the limits and spread over log cost; fewer than n if no more are found.

    Raises:
      InputError: no architecture is within the limits.
    """
    space = searched_space(config)
    algorithm = StratifiedRandom(space, config.limits, cost_name=config.costs[0], planned=n)
    rng, found = np.random.default_rng([config.seed, MEMBERS_STREAM]), list[Genotype]()
    with contextlib.suppress(Exhausted):
        while len(found) < n:
            genotype = algorithm.ask(rng)
            cost = {name: int(values[0]) for name, values in space.count(np.array([genotype])).items()}
            algorithm.tell(Proposal(len(found), "search", genotype, {}, "drawn", 0, 0, cost))
            found.append(genotype)
    return found


def plain(space: SpaceConfig, measured: Sequence[tuple[Genotype, float]]) -> dict[str, Any]:
    """Return the content of a file with architectures and their values."""
    hints = [[list(genotype), value] for genotype, value in measured]
    return {"schema": SCHEMA, "space": to_dict(space), "hints": hints}


def read(path: Path, space: SpaceConfig) -> list[Any]:
    """Return the prior scores of a file, as plain data: `[genotype, value]` each. The algorithm validates them.

    Raises:
      InputError: the file is invalid, or of another space.
    """
    try:
        data = untrusted_files.parsed_json(untrusted_files.content(path, MAX_BYTES))
    except OSError as error:
        raise InputError("--hints", str(path), f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError("--hints", str(path), f"is not JSON: {error}") from None
    check_schema("--hints", data, SCHEMA)
    check_keys("--hints", data, *(("schema", "space", "hints"),) * 2)
    if data["space"] != json.loads(json.dumps(to_dict(space))):
        raise InputError("--hints", str(path), "is not the searched space")
    if not isinstance(data["hints"], list) or not data["hints"]:
        raise InputError("--hints", str(path), "must contain a list of at least one prior score")
    return data["hints"]


def given(config: SearchConfig, path: Path) -> SearchConfig:
    """Return the search with the prior scores of a file.

    Raises:
      InputError: see `read`; or the algorithm does not support prior scores.
    """
    algorithm = config.algorithm
    if algorithm.name not in WITH_PRIOR_SCORES:
        raise InputError(
            "--hints", str(path), f"is for {', '.join(WITH_PRIOR_SCORES)}; the search has {algorithm.name}"
        )
    options = {**algorithm.options, "hints": read(path, config.movinet_space)}
    return dataclasses.replace(config, algorithm=dataclasses.replace(algorithm, options=options))
