"""The one-shot search MoViNets were found by: TuNAS (Bender et al., arXiv 2008.06120) on a supernet of shared weights.

One supernet serves all cost targets, each of which has a controller; they take turns. A step draws a member, trains the
shared weights on a training batch as that member, and measures it with the weights just updated on validation clips,
from which its controller learns. In the first steps only weights are trained, of wide members more often at first.

`nas.one_shot.run` keeps it in a folder.
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
from nas.config.searched_space import searched_space
from nas.config.sections import OneShot
from nas.evaluation.clip_subset import clip_subset
from nas.evaluation.proxy_trainer import ORDER, Trainer, metrics_of
from nas.one_shot.controller import Controller, chosen_within
from search_space.architecture import Architecture
from search_space.base.checks import check_integer
from search_space.base.errors import InputError
from search_space.space.choices import Genotype
from search_space.space.sampling import sample_stratified, sample_stratum

SCHEMA = "movinet-nas/one-shot/1"
DRAWS = 0x05E7  # sets the stream of a step's draws apart from the other uses of a run's seed
CALIBRATION_BATCH = 128
COLUMNS = ("step", "target", "macs", "loss", "accuracy", "reward_statistic", "seconds")
WIDEST = ("depth", "width", "expand", "squeeze_excite", "project")  # options that the warm-up takes the last of
SHORTEST = ("frame_stride", "resolution")  # and of these the first, or it would cost several times as much
_SPREAD = 512  # members among which the costs of targets are picked


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
      config: what is searched, with or without a section `one_shot`.
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
        self.supernet = Supernet(trainer.engine, config.space, recipe, config.seed)
        self.controllers = [
            Controller(self.space, target, self.settings.beta, self.settings.controller_rate, config.limits)
            for target in targets_of(config)
        ]
        self.warm_steps = round(self.settings.warmup * self.settings.steps)
        self.history: list[tuple[float, ...]] = []
        self.seconds = 0.0  # of all steps so far

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.supernet.steps_done >= self.settings.steps

    def step(self) -> None:
        """One step of the weights, then, after the warm-up, one of a controller."""
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
        """The member with each choice at its widest with that probability, so that all filters are trained early on.

        TuNAS runs all options of an operation at once in its warm-up. Here every kernel has its even share of the
        steps instead: at once they would take a function of their own and all their work together.
        """
        genes = []
        for gene, choice in zip(genotype, self.space.choices, strict=True):
            kind = choice.name.rpartition(".")[2]
            if rng.random() < probability and kind in WIDEST + SHORTEST:
                gene = len(choice.options) - 1 if kind in WIDEST else 0
            genes.append(gene)
        return self.space.canonical(tuple(genes))

    def found(self) -> list[Found]:
        """The network of each target, as its controller stands."""
        return [self._found(controller) for controller in self.controllers]

    def _found(self, controller: Controller) -> Found:
        genotype, how = chosen_within(controller, np.random.default_rng(self.config.seed), self.settings.tolerance)
        cost = int(controller.costs(np.array([genotype]))[0])
        return Found(controller.target, genotype, cost, how, self.measure(self.space.decode(genotype))["accuracy"])

    def measure(self, architecture: Architecture) -> dict[str, float]:
        """Validation metrics of a network with the shared weights and its own moving statistics.

        The moving statistics are taken from training clips; no weight changes.
        """
        member, train = self.supernet.network(architecture), self.trainer.data.train
        rng = np.random.default_rng([self.config.seed, ORDER])
        chosen = rng.permutation(clip_subset(train.labels, self.settings.recalibration_clips, rng))
        batches = np.array_split(chosen, -(-len(chosen) // CALIBRATION_BATCH))
        member.recalibrate((self.trainer.frames(train, batch, architecture), len(batch)) for batch in batches)
        return self.trainer.evaluate(member, architecture, self.trainer.data.validation)

    def state(self) -> dict[str, np.ndarray]:
        """Everything as arrays that need no pickle."""
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
        """Takes over what `read_checkpoint` gave.

        Raises:
          InputError: it is of another space, damaged, or the clips have changed since.
        """
        try:
            self._restore(plain, arrays)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("checkpoint", f"{type(error).__name__}: {error}", "is what is wrong with it") from None

    def _restore(self, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        if plain["data"] != self.trainer.data.content_hash:
            raise InputError("data", self.trainer.data.content_hash, f"must be {plain['data']}, as the search began")
        weights = {name: value for name, value in arrays.items() if name != "history"}
        self.supernet.restore(weights, check_integer("steps", plain["steps"], 0, self.settings.steps))
        for controller, state in zip(self.controllers, plain["controllers"], strict=True):
            controller.restore(state)
        self.history = [tuple(map(float, row)) for row in arrays["history"].reshape(-1, len(COLUMNS)).tolist()]
        self.seconds = float(plain["seconds"])


def targets_of(config: SearchConfig) -> tuple[float, ...]:
    """The configured cost targets; without any, three costs of members, evenly over the range of log cost.

    Raises:
      InputError: no member that keeps the limits was found within the tolerance of a target.
    """
    settings, space, rng = config.one_shot or OneShot(), searched_space(config), np.random.default_rng(0)
    if not settings.targets:
        edges = cost_strata(space, config.limits, "macs", 4).edges[1:-1]
        costs = space.count(sample_stratified(space, rng, _SPREAD, config.limits, 4))["macs"]
        return tuple(int(costs[np.abs(np.log(costs / edge)).argmin()]) for edge in edges)
    for target in settings.targets:
        low, high = target * (1 - settings.tolerance), target * (1 + settings.tolerance)
        if sample_stratum(space, rng, low, high, config.limits, ()) is None:
            raise InputError("one_shot.targets", target, f"has no member of the space {space.name} near it")
    return settings.targets


def clips_of_step(clips: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Indices `[batch_size]` of the clips of a step, every clip once an epoch; a function of the step alone."""
    epochs, places = np.divmod(step * batch_size + np.arange(batch_size), clips)
    orders = {epoch: np.random.default_rng([seed, ORDER, epoch]).permutation(clips) for epoch in set(epochs.tolist())}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs.tolist(), places, strict=True)])
