"""Training-free scores as columns of a benchmark table, added network by network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from movinet.proxy.engine import TensorFlowEngine
from nas.benchmark import table as tables
from nas.benchmark.table import Table
from nas.config.search_config import SearchConfig
from nas.evaluation.proxy_trainer import Trainer, open_data
from nas.loop.search import trial_seed
from search_space.architecture import from_dict
from search_space.base.checks import check_integer
from search_space.base.errors import InputError

NAMES = ("naswot", "grad_norm", "synflow")  # of movinet.proxy.training_free_scores
KEPT_EVERY = 25  # networks between writes of the whole table
CLIPS = 0x5C03E  # separates the stream of clips from other uses of a run's seed


def score(config: SearchConfig, source: Path, target: Path, seeds: int = 2, threads: int | None = 1) -> Table:
    """Write the table `source` with columns score.naswot, score.grad_norm and score.synflow to `target`.

    Each is the mean over `seeds` initialisations, each on a separate minibatch of the training clips of `config`, with
    the same clips for all networks. Scores in `target` are kept, so that an interrupted run resumes.

    Raises:
      InputError: the table lacks its architectures, `target` is of another table, or the data is invalid.
    """
    check_integer("--seeds", seeds, 1, 1000)
    table = _begun(tables.read(source), target)
    missing = np.flatnonzero(np.any([np.isnan(table.scores[name]) for name in NAMES], axis=0))
    trainer = Trainer(config, open_data(config.data, config.movinet_space), threads, TensorFlowEngine(threads))
    for done, row in enumerate(missing.tolist(), 1):
        for name, value in _means(trainer, table.architectures[row], seeds).items():
            table.scores[name][row] = value
        if done % KEPT_EVERY == 0 or done == len(missing):
            tables.write(table, target)
    return table


def _begun(table: Table, target: Path) -> Table:
    """Return the table with score columns, filled as far as in `target`; check that `target` can be written."""
    if not table.architectures:
        raise InputError(table.name, "architecture", "is a missing column, which scores require")
    begun = tables.read(target) if os.path.exists(target) else table
    if begun.architectures != table.architectures:
        raise InputError("--out", str(target), "holds another table; name another file")
    missing = np.full(len(table.genotypes), np.nan)
    found = {name: begun.scores.get(name, missing).copy() for name in NAMES}
    table = replace(table, scores={**table.scores, **found})
    tables.write(table, target)
    return table


def _means(trainer: Trainer, plain: Mapping[str, Any], seeds: int) -> dict[str, float]:
    """Return the mean of each score over initialisations and their clips; infinite or NaN if one of them is."""
    from movinet.proxy import training_free_scores

    architecture, config, split = from_dict(plain), trainer.config, trainer.data.train
    batch = min(config.training.batch_size, len(split))
    found = []
    for seed in range(seeds):
        clips = np.random.default_rng([config.seed, CLIPS, seed]).permutation(len(split))[:batch]
        frames, labels = trainer.frames(split, clips, architecture), np.asarray(split.labels[clips])
        weights = trial_seed(config.seed, architecture.fingerprint, seed)
        classes = len(trainer.data.classes)
        found.append(
            training_free_scores.scores(architecture, frames, labels, classes, weights, config.training.rezero)
        )
    return {name: float(np.mean([each[name] for each in found])) for name in NAMES}
