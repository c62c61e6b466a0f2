"""The one-shot search MoViNets were found by: TuNAS (Bender et al., arXiv 2008.06120) on a supernet of shared weights.

One supernet serves all cost targets, each of which has a controller; they take turns. A step draws a member, trains the
shared weights on a training batch as that member, and measures it with the weights just updated on validation clips,
from which its controller learns. In the first steps only weights are trained, of wide members more often at first.

OUT/supernet/checkpoint.npz     all that is needed to carry on
OUT/supernet/history.csv        every step
OUT/supernet/members.json       the network of each target
OUT/retrained/                  a run like any other: those networks trained from scratch
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas import config as configs
from nas.algorithms.stratified_random import cost_strata
from nas.config import AlgorithmConfig, EarlyStopping, OneShot, SearchConfig
from nas.controller import Controller, chosen_within
from nas.run_lock import RunLock
from nas.trial import ORDER, Trainer, open_data
from search_space import architecture as architectures
from search_space.architecture import Architecture
from search_space.errors import InputError
from search_space.movinet_space import movinet_space
from search_space.space import Genotype

SCHEMA = "movinet-nas/one-shot/1"
SUPERNET, RETRAINED = "supernet", "retrained"
CHECKPOINT, HISTORY, MEMBERS = "checkpoint.npz", "history.csv", "members.json"
DRAWS = 0x05E7  # sets the stream of a step's draws apart from the other uses of a run's seed
CALIBRATION_BATCH = 128
COLUMNS = ("step", "target", "macs", "loss", "accuracy", "seconds")
WIDEST = ("depth", "width", "expand", "squeeze_excite", "project")  # options that the warm-up takes the last of
SHORTEST = ("frame_stride", "resolution")  # and of these the first, or it would cost several times as much
Report = Callable[[str], None]


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
        from movinet.supernet import Supernet

        self.config, self.trainer = config, trainer
        self.settings = config.one_shot or OneShot()
        self.space = movinet_space(config.space)
        recipe = dataclasses.replace(
            trainer.recipe, steps=self.settings.steps, learning_rate=self.settings.learning_rate
        )
        self.supernet = Supernet(trainer.compiler, config.space, recipe, config.seed)
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
        member = self.supernet.member(architecture)
        clips = clips_of_step(len(train), self.config.training.batch_size, self.config.seed, step)
        loss = float(member.step(trainer.frames(train, clips, architecture), trainer.labels(train, clips)))
        accuracy = float("nan")
        if step >= self.warm_steps:
            clips = rng.choice(len(held), min(self.settings.reward_clips, len(held)), replace=False)
            logits = member.batch_logits(trainer.frames(held, clips, architecture), len(clips)).numpy()
            accuracy = float((logits.argmax(1) == held.labels[clips]).mean())
            controller.learn(rng, genotype, accuracy)
        cost = int(controller.costs(np.array([genotype]))[0])
        self.seconds += time.monotonic() - start
        self.history.append((step, turn, cost, loss, accuracy, self.seconds))

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
        return Found(controller.target, genotype, cost, how, self.accuracy(self.space.decode(genotype)))

    def accuracy(self, architecture: Architecture, clips: int | None = None) -> float:
        """Validation accuracy with the shared weights and statistics of its own, on the first `clips` clips.

        The moving statistics are taken from training clips; no weight changes.
        """
        member, train = self.supernet.member(architecture), self.trainer.data.train
        count = min(self.settings.recalibration_clips, len(train))
        chosen = np.random.default_rng([self.config.seed, ORDER]).permutation(len(train))[:count]
        batches = np.array_split(chosen, -(-count // CALIBRATION_BATCH))
        member.recalibrate((self.trainer.frames(train, batch, architecture), len(batch)) for batch in batches)
        return self.trainer.evaluate(member, architecture, self.trainer.data.validation, clips)["accuracy"]

    def state(self) -> dict[str, np.ndarray]:
        """Everything as arrays that need no pickle."""
        plain = {
            "schema": SCHEMA,
            "config": configs.to_dict(self.config),
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
          InputError: it is of another space, or the clips have changed since.
        """
        if plain["data"] != self.trainer.data.content_hash:
            raise InputError("data", self.trainer.data.content_hash, f"must be {plain['data']}, as the search began")
        weights = {name: value for name, value in arrays.items() if name != "history"}
        self.supernet.restore(weights, plain["steps"])
        for controller, state in zip(self.controllers, plain["controllers"], strict=True):
            controller.restore(state)
        self.history = [tuple(row) for row in arrays["history"].tolist()]
        self.seconds = plain["seconds"]


def targets_of(config: SearchConfig) -> tuple[float, ...]:
    """The configured cost targets; without any, three evenly over the range of log cost, its ends left out."""
    targets = (config.one_shot or OneShot()).targets
    bands = cost_strata(movinet_space(config.space), config.limits, "macs", 4)
    for target in targets:
        if not bands.low <= target <= bands.high:
            rule = f"must be within what a member can cost, {bands.low:.0f} to {bands.high:.0f}"
            raise InputError("one_shot.targets", target, rule)
    return targets or tuple(round(edge) for edge in bands.edges[1:-1])


def clips_of_step(clips: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Indices of the clips of a step, every clip once an epoch; a function of the step alone."""
    epochs, places = np.divmod(step * batch_size + np.arange(batch_size), clips)
    orders = {epoch: np.random.default_rng([seed, ORDER, epoch]).permutation(clips) for epoch in set(epochs.tolist())}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs.tolist(), places, strict=True)])


def begin(config: SearchConfig, folder: Path, report: Report) -> OneShotSearch:
    """Trains a supernet in a new or empty folder and writes what it found.

    Raises:
      InputError: the folder holds anything, or cannot be written; or the configuration or the data is at fault.
    """
    if os.path.isdir(folder) and any(name != "run.lock" for name in os.listdir(folder)):
        raise InputError("--out", str(folder), "must be a new or an empty folder")
    targets_of(config)
    data = open_data(config.data, config.space, config.seed)
    search = OneShotSearch(config, Trainer(config, data, config.workers))
    return _train(search, folder, report)


def carry_on(folder: Path, report: Report) -> OneShotSearch:
    """The same from the last checkpoint on; one that was finished is only read.

    Raises:
      InputError: no such search in the folder, another process uses it, or its clips have changed.
    """
    plain, arrays = read_checkpoint(folder / SUPERNET / CHECKPOINT)
    config = configs.from_dict(plain["config"], f"{folder / SUPERNET / CHECKPOINT}: config")
    data = open_data(config.data, config.space, config.seed)
    search = OneShotSearch(config, Trainer(config, data, config.workers))
    search.restore(plain, arrays)
    return _train(search, folder, report)


def _train(search: OneShotSearch, folder: Path, report: Report) -> OneShotSearch:
    try:
        os.makedirs(folder / SUPERNET, exist_ok=True)
    except OSError as error:
        raise InputError("--out", str(folder), f"cannot be made: {error.strerror}") from None
    with RunLock(folder):
        while not search.finished:
            if search.supernet.steps_done % search.settings.checkpoint == 0:
                _write_checkpoint(search, folder / SUPERNET / CHECKPOINT)
                report(_progress(search))
            search.step()
        if not (folder / SUPERNET / MEMBERS).exists():
            _write_checkpoint(search, folder / SUPERNET / CHECKPOINT)
            _write_history(search, folder / SUPERNET / HISTORY)
            _write_members(search, folder / SUPERNET / MEMBERS)
    return search


def _progress(search: OneShotSearch) -> str:
    done, every = search.supernet.steps_done, search.settings.checkpoint
    line = f"supernet: step {done} of {search.settings.steps}, {search.seconds:.0f} s"
    return line + (f", loss {np.mean([row[3] for row in search.history[-every:]]):.3f}" if done else "")


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The plain data and the arrays of a checkpoint; `InputError` if there is none or it is something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        plain = json.loads(str(arrays.pop("plain")))
    except (OSError, ValueError, KeyError) as error:
        raise InputError("checkpoint", str(path), f"cannot be read: {error}") from None
    if plain.get("schema") != SCHEMA:
        raise InputError("checkpoint.schema", plain.get("schema"), f"must be {SCHEMA!r}")
    return plain, arrays


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A path beside, which takes the place of `path` when all is written and synced."""
    new = path.with_name(f".{path.name}.new")
    try:
        yield new
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise InputError(str(path), error.strerror, "is why it cannot be written") from None


def _write_checkpoint(search: OneShotSearch, path: Path) -> None:
    with _replaced(path) as new, open(new, "wb") as file:
        np.savez(file, **search.state())  # type: ignore[arg-type]


def _write_history(search: OneShotSearch, path: Path) -> None:
    with _replaced(path) as new, open(new, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for step, turn, cost, *rest in search.history:
            writer.writerow((int(step), search.controllers[int(turn)].target, int(cost), *rest))


def _write_members(search: OneShotSearch, path: Path) -> None:
    members = [
        {**vars(found), "architecture": architectures.to_dict(search.space.decode(found.genotype))}
        for found in search.found()
    ]
    plain = {"schema": SCHEMA, "steps": search.settings.steps, "seconds": search.seconds, "members": members}
    with _replaced(path) as new:
        new.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def read_members(folder: Path) -> list[Found]:
    """What a finished search found; `InputError` if it is not there yet."""
    path = folder / SUPERNET / MEMBERS
    try:
        members = json.loads(path.read_text(encoding="utf-8"))["members"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError("members", str(path), f"cannot be read: {error}") from None
    names = [f.name for f in dataclasses.fields(Found)]
    return [Found(**{name: member[name] for name in names} | {"genotype": tuple(member["genotype"])})
            for member in members]  # fmt: skip


def retraining(config: SearchConfig, found: Sequence[Found]) -> SearchConfig:
    """The run that trains the networks found from scratch."""
    members = list(dict.fromkeys(each.genotype for each in found))
    algorithm = AlgorithmConfig("given", {"members": [list(genotype) for genotype in members]})
    return dataclasses.replace(
        config, trials=len(members), algorithm=algorithm, early_stopping=EarlyStopping(rungs=()), one_shot=None
    )


def table_text(found: Sequence[Found]) -> str:
    """One line a target."""
    lines = [f"{'target':>10} {'macs':>10} {'off':>6} {'supernet':>8}  found as"]
    for each in found:
        off = 100 * (each.macs / each.target - 1)
        accuracy = f"{100 * each.supernet_accuracy:.1f} %"
        lines.append(f"{each.target:>10.0f} {each.macs:>10} {off:>+5.1f}% {accuracy:>8}  {each.how}")
    return "\n".join(lines)
