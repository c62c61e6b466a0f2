"""The one-shot search of the MoViNet paper: TuNAS (Bender et al., arXiv 2008.06120) on a supernet of shared weights.

One supernet serves all cost targets; each has a controller, and they take turns. A step draws an architecture, trains
the shared weights as this architecture on a training batch, and measures it on validation clips with the updated
weights; its controller learns from that. In the first steps only weights are trained, at first mostly of wide
architectures.

`nas.one_shot.run` stores it in a folder.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.algorithms.stratified_random import cost_strata
from nas.config import search_config
from nas.config.search_config import SearchConfig
from nas.config.searched_task import searched_space
from nas.config.sections import OneShot
from nas.evaluation.clip_subset import clip_subset
from nas.evaluation.proxy_trainer import Trainer
from nas.evaluation.training_loop import ORDER, metrics_of
from nas.one_shot.controller import Controller, chosen_within
from search_space.architecture import Architecture
from search_space.base.checks import check_integer
from search_space.base.errors import InputError
from search_space.space.choices import Genotype
from search_space.space.sampling import sample_stratified, sample_stratum

SCHEMA = "movinet-nas/one-shot/1"
DRAWS = 0x05E7  # separates the stream of a step's draws from other uses of a run's seed
CALIBRATION_BATCH = 128
COLUMNS = ("step", "target", "macs", "loss", "accuracy", "reward_statistic", "seconds")
WIDEST = ("depth", "width", "expand", "squeeze_excite", "project")  # choices for which the warm-up uses the last option
SHORTEST = ("frame_stride", "resolution")  # choices for which it uses the first option, to save time
_SPREAD = 512  # architectures from whose costs targets are chosen


@dataclass(frozen=True)
class Found:
    """The network of one target. `how`: "argmax" of every choice, or the "most probable within" the tolerance."""

    target: float
    genotype: Genotype
    macs: int
    how: str
    supernet_accuracy: float


class OneShotSearch:
    """A supernet and its controllers in training.

    Args:
      config: configuration of the search, with or without a section `one_shot`.
      trainer: of the process; holds the data.
    """

    def __init__(self, config: SearchConfig, trainer: Trainer) -> None:
        from movinet.proxy.supernet import Supernet

        self.config, self.trainer = config, trainer
        self.settings = config.one_shot or OneShot()
        self.space = searched_space(config)
        recipe = dataclasses.replace(
            trainer.recipe, steps=self.settings.steps, learning_rate=self.settings.learning_rate
        )
        self.supernet = Supernet(trainer.engine, config.movinet_space, recipe, config.seed)
        self.controllers = [
            Controller(self.space, target, self.settings.beta, self.settings.controller_rate, config.limits)
            for target in targets_of(config)
        ]
        self.warm_steps = round(self.settings.warmup * self.settings.steps)
        self.history: list[tuple[float, ...]] = []
        self.seconds = 0.0  # of all steps so far

    @property
    def finished(self) -> bool:
        """True if all steps are done."""
        return self.supernet.steps_done >= self.settings.steps

    def step(self) -> None:
        """Run one step of the weights, then, after the warm-up, one of a controller."""
        start, step = time.monotonic(), self.supernet.steps_done
        rng = np.random.default_rng([self.config.seed, DRAWS, step])
        turn = step % len(self.controllers)
        controller = self.controllers[turn]
        genotype = controller.draw(rng)
        if step < self.warm_steps:
            genotype = self.widened(genotype, rng, 1 - step / self.warm_steps)
        architecture, trainer = self.space.decode(genotype), self.trainer
        train, held = trainer.data.train, trainer.data.validation
        clips = clips_of_step(len(train), self.config.training.batch_size, self.config.seed, step)
        frames, labels = trainer.frames(train, clips, architecture), trainer.labels(train, clips)
        loss, member = self.supernet.step(architecture, frames, labels)
        accuracy = quality = float("nan")
        if step >= self.warm_steps:
            clips = clip_subset(held.labels, self.settings.reward_clips, rng)
            logits = np.asarray(member.batch_logits(trainer.frames(held, clips, architecture), len(clips)))
            metrics = metrics_of(logits, held.labels[clips])
            accuracy, quality = metrics["accuracy"], metrics[self.config.statistic]
            controller.learn(rng, genotype, quality)
        cost = int(controller.costs(np.array([genotype]))[0])
        self.seconds += time.monotonic() - start
        self.history.append((step, turn, cost, loss, accuracy, quality, self.seconds))

    def widened(self, genotype: Genotype, rng: np.random.Generator, probability: float) -> Genotype:
        """Set each choice to its widest option with the given probability, so that all filters are trained early.

        TuNAS runs all options of an operation at once in its warm-up. Here every kernel gets an equal share of the
        steps instead, because running all at once would need a separate function and their total work.
        """
        genes = []
        for gene, choice in zip(genotype, self.space.choices, strict=True):
            kind = choice.name.rpartition(".")[2]
            if rng.random() < probability and kind in WIDEST + SHORTEST:
                gene = len(choice.options) - 1 if kind in WIDEST else 0
            genes.append(gene)
        return self.space.canonical(tuple(genes))

    def found(self) -> list[Found]:
        """Return the network of each target by the current state of its controller."""
        return [self._found(controller) for controller in self.controllers]

    def _found(self, controller: Controller) -> Found:
        genotype, how = chosen_within(controller, np.random.default_rng(self.config.seed), self.settings.tolerance)
        cost = int(controller.costs(np.array([genotype]))[0])
        return Found(controller.target, genotype, cost, how, self.measure(self.space.decode(genotype))["accuracy"])

    def measure(self, architecture: Architecture) -> dict[str, float]:
        """Return validation metrics of a network with the shared weights and recalibrated moving statistics.

        The moving statistics are measured on training clips; no weight changes.
        """
        member, train = self.supernet.network(architecture), self.trainer.data.train
        rng = np.random.default_rng([self.config.seed, ORDER])
        chosen = rng.permutation(clip_subset(train.labels, self.settings.recalibration_clips, rng))
        batches = np.array_split(chosen, -(-len(chosen) // CALIBRATION_BATCH))
        member.recalibrate((self.trainer.frames(train, batch, architecture), len(batch)) for batch in batches)
        return self.trainer.evaluate((member, architecture), "validation")

    def state(self) -> dict[str, np.ndarray]:
        """Return everything as arrays that need no pickle."""
        plain = {
            "schema": SCHEMA,
            "config": search_config.to_dict(self.config),
            "data": self.trainer.data.content_hash,
            "steps": self.supernet.steps_done,
            "seconds": self.seconds,
            "controllers": [controller.state() for controller in self.controllers],
        }
        history = np.array(self.history, dtype=np.float64).reshape(-1, len(COLUMNS))
        return {"plain": np.array(json.dumps(plain)), "history": history, **self.supernet.arrays()}

    def restore(self, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Load the result of `read_checkpoint`.

        Raises:
          InputError: it is of another space or damaged, or the clips have changed.
        """
        try:
            self._restore(plain, arrays)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("checkpoint", f"{type(error).__name__}: {error}", "prevented loading it") from None

    def _restore(self, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        if plain["data"] != self.trainer.data.content_hash:
            raise InputError("data", self.trainer.data.content_hash, f"must be {plain['data']}, as at the start")
        weights = {name: value for name, value in arrays.items() if name != "history"}
        self.supernet.restore(weights, check_integer("steps", plain["steps"], 0, self.settings.steps))
        for controller, state in zip(self.controllers, plain["controllers"], strict=True):
            controller.restore(state)
        self.history = [tuple(map(float, row)) for row in arrays["history"].reshape(-1, len(COLUMNS)).tolist()]
        self.seconds = float(plain["seconds"])


def targets_of(config: SearchConfig) -> tuple[float, ...]:
    """Return the configured cost targets; by default three costs, evenly over the range of log cost.

    Raises:
      InputError: no architecture within the limits was found within the tolerance of a target.
    """
    settings, space, rng = config.one_shot or OneShot(), searched_space(config), np.random.default_rng(0)
    if not settings.targets:
        edges = cost_strata(space, config.limits, "macs", 4).edges[1:-1]
        costs = space.count(sample_stratified(space, rng, _SPREAD, config.limits, 4))["macs"]
        return tuple(int(costs[np.abs(np.log(costs / edge)).argmin()]) for edge in edges)
    for target in settings.targets:
        low, high = target * (1 - settings.tolerance), target * (1 + settings.tolerance)
        if sample_stratum(space, rng, low, high, config.limits, ()) is None:
            raise InputError("one_shot.targets", target, f"has no architecture of the space {space.name} near it")
    return settings.targets


def clips_of_step(clips: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Return indices `[batch_size]` of the clips of a step, every clip once per epoch; a function of the step only."""
    epochs, places = np.divmod(step * batch_size + np.arange(batch_size), clips)
    orders = {epoch: np.random.default_rng([seed, ORDER, epoch]).permutation(clips) for epoch in set(epochs.tolist())}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs.tolist(), places, strict=True)])
