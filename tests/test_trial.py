"""The candidate's side of a search, on real clips: its measurements, its end, and the inputs of its result."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from small_search import breeding

from movinet.data.store import Split
from movinet.proxy.recipe import Recipe
from nas.config.sections import DataConfig, EarlyStopping
from nas.evaluation.clip_subset import clip_subset
from nas.evaluation.proxy_trainer import Trainer, open_data
from nas.evaluation.training_loop import RUNG_CLIPS, metrics_of
from nas.loop.search import trial_seed
from nas.record import correct_clips
from nas.record.events import Completed, Event, Failed, Proposal, Rung
from search_space import architecture as architectures
from search_space.architecture import Architecture
from search_space.cost.counting import count
from search_space.space.movinet import movinet_space

CLASSES, CLIPS, STEPS, BATCH = 12, 45, 8, 8
SETTINGS = replace(
    breeding(),
    data=DataConfig(level="tiny", train=CLIPS, validation=RUNG_CLIPS + 28, test=36),
    training=Recipe(steps=STEPS, batch_size=BATCH),
    early_stopping=EarlyStopping((0.25, 0.5)),
)
SPACE = movinet_space(SETTINGS.space)
MEMBER, OTHER = (SPACE.decode(tuple(map(int, genes))) for genes in SPACE.sample(np.random.default_rng(4), 2))
METRICS = {"accuracy", "loss", "likelihood", "motion", "appearance"}


@dataclass(frozen=True, eq=False)
class Watched(Split):
    """A split that records the requested clips."""

    asked: list[list[int]] = field(default_factory=list)

    def batch(self, indices: Any, frame_stride: int = 1, offset: int = 0) -> np.ndarray:
        self.asked.append(list(map(int, indices)))
        return super().batch(indices, frame_stride, offset)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOVINET_NAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        data = open_data(SETTINGS.data, SETTINGS.space)
    return Trainer(SETTINGS, data, threads=None)  # if other tests ran in this process, the number is already set


def changed(trainer: Trainer, **attributes: Any) -> Trainer:
    """Return the same trainer with its compiled functions, but with other values of some attributes."""
    other = copy.copy(trainer)
    vars(other).update(attributes)
    return other


def proposal(network: Architecture, kind: str = "search", repeat: int = 0) -> Proposal:
    genotype = SPACE.encode(network) if kind == "search" else None
    plain, fingerprint = architectures.to_dict(network), network.fingerprint
    seed = trial_seed(SETTINGS.seed, fingerprint, repeat)
    return Proposal(0, kind, genotype, plain, fingerprint, repeat, seed, vars(count(network, CLASSES)))


def timeless(events: Sequence[Event]) -> list[Event]:
    return [replace(event, seconds=0.0) if isinstance(event, Rung | Completed) else event for event in events]


def clips_seen(trainer: Trainer, asked: Proposal) -> list[list[int]]:
    """Return the training clips of each step."""
    split = Watched(trainer.data.train.clips, trainer.data.train.labels)
    list(changed(trainer, data=replace(trainer.data, train=split)).train(asked))
    return split.asked


def test_rungs_come_first_and_then_the_end(trainer: Trainer) -> None:
    events = list(trainer.train(proposal(MEMBER)))
    assert [(type(event), event.steps) for event in events] == [(Rung, 2), (Rung, 4), (Completed, STEPS)]
    assert all(event.metrics.keys() == METRICS for event in events)
    seconds = [event.seconds for event in events]
    assert 0 < seconds[0] < seconds[1] < seconds[2]


def test_a_rung_is_measured_on_a_subset_of_the_validation_clips_and_the_end_on_all(trainer: Trainer) -> None:
    """Compare with a separate loop that gets only the numbers of the clips."""
    validation, train = trainer.data.validation, trainer.data.train
    candidate = trainer.engine.candidate(MEMBER, CLASSES, trainer.recipe, proposal(MEMBER).seed)

    def accuracy(clips: np.ndarray) -> float:
        frames = [trainer.frames(validation, some, MEMBER) for some in clips.reshape(-1, 4)]
        logits = np.concatenate([np.asarray(candidate.logits(each, 4)) for each in frames])
        return float((logits.argmax(1) == validation.labels[clips]).mean())

    found = {}
    for step, clips in enumerate(clips_seen(trainer, proposal(MEMBER)), 1):
        indices = np.array(clips)
        candidate.step(trainer.frames(train, indices, MEMBER), trainer.labels(train, indices))
        found[step] = accuracy(np.arange(len(validation)) if step == STEPS else trainer.rung_clips)
    events = list(trainer.train(proposal(MEMBER)))
    assert [event.metrics["accuracy"] for event in events] == [found[event.steps] for event in events]
    assert len(validation) > RUNG_CLIPS == len(trainer.rung_clips) and len(set(found.values())) > 2


def test_a_subset_has_the_shares_of_the_classes_and_spreads_over_videos(trainer: Trainer) -> None:
    """Clips stored by class and video, as for a folder of videos: 3 classes, videos of 5 clips, some of fewer."""
    videos = np.concatenate([np.full(5 - 3 * (video % 7 == 0), video) for video in range(120)])
    labels = np.minimum(videos // 20, 2)  # a sixth, a sixth, two thirds
    for size in (90, 200):
        chosen = clip_subset(labels, size, np.random.default_rng(size))
        assert len(set(chosen.tolist())) == size
        shares = np.bincount(labels[chosen]) - size * np.bincount(labels) / len(labels)
        assert (np.abs(shares) <= 1).all()
        assert np.bincount(videos[chosen]).max() <= -(-5 * size // len(labels))
    assert clip_subset(labels, 10**4, np.random.default_rng(0)).tolist() == list(range(len(labels)))
    again = Trainer(SETTINGS, trainer.data, threads=None)
    other = Trainer(replace(SETTINGS, seed=1), trainer.data, threads=None)
    assert again.rung_clips.tolist() == trainer.rung_clips.tolist() != other.rung_clips.tolist()


def test_only_what_chooses_nothing_is_measured_on_the_test_clips(trainer: Trainer) -> None:
    watched = Watched(trainer.data.test.clips, trainer.data.test.labels)
    watching = changed(trainer, data=replace(trainer.data, test=watched))
    *_, searched = watching.train(proposal(MEMBER))
    assert watched.asked == [] and searched.metrics.keys() == METRICS and searched.correct is None
    for kind, network in (("finalist", MEMBER), ("reference", OTHER)):
        *rungs, final = watching.train(proposal(network, kind, repeat=1))
        assert final.metrics.keys() == METRICS | {f"test_{name}" for name in METRICS}
        assert all(rung.metrics.keys() == METRICS for rung in rungs)
        assert sum(map(len, watched.asked)) == len(watched)
        right, sizes = correct_clips.unpacked(final.correct)
        assert right.mean() == final.metrics["test_accuracy"] and sizes.tolist() == [1] * len(watched)
        watched.asked.clear()


def test_the_clips_of_a_video_are_recorded_as_one_group(trainer: Trainer) -> None:
    test = trainer.data.test
    videos = replace(test, clips_per_video=np.array([2] * (len(test) // 2)))
    *_, final = changed(trainer, data=replace(trainer.data, test=videos)).train(proposal(MEMBER, "finalist", repeat=1))
    *_, single = trainer.train(proposal(MEMBER, "finalist", repeat=1))
    right, sizes = correct_clips.unpacked(final.correct)
    assert sizes.tolist() == [2] * (len(test) // 2)
    assert right.tolist() == correct_clips.unpacked(single.correct)[0].reshape(-1, 2).sum(axis=1).tolist()


def test_a_trial_that_is_left_at_a_rung_changes_nothing_for_the_next(trainer: Trainer) -> None:
    whole = timeless(list(trainer.train(proposal(MEMBER))))
    left = trainer.train(proposal(OTHER))
    assert isinstance(next(left), Rung)
    left.close()
    assert next(left, None) is None
    assert timeless(list(trainer.train(proposal(MEMBER)))) == whole


def test_the_seed_is_the_result(trainer: Trainer) -> None:
    """The result is the same with newly compiled functions."""
    fresh = Trainer(SETTINGS, trainer.data, threads=None)
    whole = timeless(list(trainer.train(proposal(MEMBER))))
    assert timeless(list(fresh.train(proposal(MEMBER)))) == whole
    again = timeless(list(trainer.train(replace(proposal(MEMBER), seed=proposal(MEMBER).seed + 1))))
    assert [event.metrics["loss"] for event in again] != [event.metrics["loss"] for event in whole]


def test_every_candidate_sees_the_same_clips_in_the_same_order(trainer: Trainer) -> None:
    """A repeat and another run use another order; every clip is used once before any is used again."""
    order = clips_seen(trainer, proposal(MEMBER))
    assert clips_seen(trainer, proposal(OTHER)) == order
    assert clips_seen(trainer, proposal(MEMBER, repeat=1)) != order
    assert clips_seen(changed(trainer, config=replace(SETTINGS, seed=1)), proposal(MEMBER)) != order
    assert list(map(len, order)) == [BATCH] * STEPS
    seen = sum(order, [])
    assert sorted(seen[:CLIPS]) == list(range(CLIPS))
    assert len(set(seen[CLIPS:])) == len(seen) - CLIPS > 0


@pytest.mark.parametrize("rungs", [(), (2,)])
def test_a_diverged_trial_fails_without_a_measurement(trainer: Trainer, rungs: tuple[int, ...]) -> None:
    """Weights that decay by a hundred times their value are out of range after some twenty steps."""
    recipe = replace(trainer.recipe, steps=40, learning_rate=10.0, weight_decay=10.0, warmup=0.0)
    wild = changed(trainer, recipe=recipe, rungs=tuple(30 for _ in rungs))
    steps = 30 if rungs else 40
    assert list(wild.train(proposal(MEMBER))) == [
        Failed(0, f"diverged within {steps} steps; try a lower learning_rate", 1)
    ]


def test_metrics_by_hand() -> None:
    """Compute by hand with the classes of the tiny digits: motion * 3 + digit."""
    classes = [f"{motion}: {digit}" for motion in ("left", "right", "up", "down") for digit in range(3)]
    labels = np.array([0, 5, 7, 11], np.int32)
    predicted = [0, 2, 7, 10]  # right; another motion; right; another digit
    logits = np.zeros((4, CLASSES), np.float32)
    logits[range(4), predicted] = math.log(9)
    metrics = metrics_of(logits, labels, classes)
    right, wrong = math.log(20 / 9), math.log(20)  # from the softmax: 9 / 20 for the chosen class, 1 / 20 for any other
    assert metrics.pop("loss") == pytest.approx((2 * right + 2 * wrong) / 4)
    assert metrics.pop("likelihood") == pytest.approx((9 / 20 * 1 / 20) ** 0.5)  # the geometric mean
    assert metrics == {"accuracy": 0.5, "motion": 0.75, "appearance": 0.75}
    assert metrics_of(logits, labels).keys() == {"accuracy", "loss", "likelihood"}


def test_logits_out_of_range_have_a_loss_that_is_not_finite() -> None:
    labels = np.array([0, 1], np.int32)
    for worst in (np.nan, np.inf):
        assert not math.isfinite(metrics_of(np.array([[worst, 0.0], [0.0, 1.0]], np.float32), labels)["loss"])
    large = metrics_of(np.array([[3e38, -3e38], [1e4, -1e4]], np.float64), labels)
    assert large["loss"] == pytest.approx(1e4)
