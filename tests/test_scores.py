"""Training-free scores of small networks: values from their definitions; and the columns of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small_search import breeding

from movinet.model.keras_model import build
from movinet.model.specs import initial
from movinet.proxy import tensorflow_engine, training_free_scores
from nas.benchmark import table as tables
from nas.benchmark.table import Table
from nas.config.search_config import SearchConfig
from nas.config.sections import DataConfig
from nas.evaluation import training_free_scores as columns
from search_space import architecture as architectures
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.space.movinet import movinet_space

CLASSES, CLIPS = 5, 6
LABELS = np.arange(CLIPS) % CLASSES


def network(width: int = 8, depth: int = 1, squeeze_excite: bool = True) -> Architecture:
    layer = Layer(2 * width, (3, 3, 3), squeeze_excite)
    blocks = (Block(width, 2, (layer,) * depth), Block(width, 1, (layer,)))
    return Architecture(Clip(4, 16, 1), Stem(8), blocks, Head(2 * width, 16))


def frames(seed: int = 0, same: bool = False) -> Any:
    clips = np.random.default_rng(seed).integers(0, 256, (4, CLIPS, 16, 16, 3), dtype=np.uint8)
    return tensorflow_engine.prepare(np.repeat(clips[:, :1], CLIPS, axis=1) if same else clips, 16)


def scored(architecture: Architecture, seed: int = 0, **options: Any) -> dict[str, float]:
    return training_free_scores.scores(architecture, frames(), LABELS, CLASSES, seed, **{"rezero": 1.0, **options})


def test_scores_are_finite_and_those_of_their_seed() -> None:
    found = scored(network())
    assert set(found) == set(training_free_scores.NAMES) == set(columns.NAMES)
    assert all(map(math.isfinite, found.values()))
    assert found["grad_norm"] > 0
    assert scored(network()) == found
    assert all(scored(network(), seed=1)[name] != found[name] for name in found)


def test_gradient_norm_is_that_of_the_keras_model() -> None:
    architecture = network()
    model = build(architecture, CLASSES, seed=3)
    for variable in model.trainable_variables:
        if variable.name == "rezero":
            variable.assign([0.7])
    clips = tf.transpose(tf.reshape(frames(), [4, CLIPS, 16, 16, 3]), [1, 0, 2, 3, 4])
    with tf.GradientTape() as tape:
        logits = model(clips, training=True)
        loss = tf.reduce_mean(tf.keras.losses.sparse_categorical_crossentropy(LABELS, logits, from_logits=True))
    kernels = [v for v in model.trainable_variables if len(v.shape) > 1]
    norms = [float(tf.norm(each)) for each in tape.gradient(loss, [v.value for v in kernels])]
    assert scored(architecture, seed=3, rezero=0.7)["grad_norm"] == pytest.approx(sum(norms), rel=1e-4)


def test_naswot_by_hand() -> None:
    # Codes of three clips in 4 units; Mellor et al.'s kernel counts equal units.
    codes = np.array([[1, 1, 0, 0], [1, 1, 0, 1], [0, 0, 1, 1]])
    kernel = (codes[:, None] == codes).sum(axis=-1)
    found = training_free_scores._Agreement(3)
    found._count(tf.constant(codes - 0.5, tf.float32))
    np.testing.assert_array_equal(found.kernel, kernel)
    # Frames are units too: the same codes as two frames [T*B, units] of each clip.
    in_time = training_free_scores._Agreement(3)
    in_time._count(tf.constant(np.concatenate([codes[:, :2], codes[:, 2:]]) - 0.5, tf.float32))
    np.testing.assert_array_equal(in_time.kernel, kernel)
    assert training_free_scores.naswot(kernel) == pytest.approx(math.log(np.linalg.det(kernel)))


def test_naswot_is_higher_where_inputs_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, 200)
    flips = [np.where(rng.random((CLIPS, 200)) < share, 1 - base, base) for share in (0.05, 0.5)]
    kernels = [(codes[:, None] == codes).sum(axis=-1) for codes in flips]
    assert training_free_scores.naswot(kernels[1]) > training_free_scores.naswot(kernels[0])
    assert math.isnan(training_free_scores.naswot(np.full((3, 3), 7.0)))
    assert math.isnan(training_free_scores.scores(network(), frames(same=True), LABELS, CLASSES, 0, 1.0)["naswot"])


@pytest.mark.parametrize("squeeze_excite", [False, True])
def test_synflow_grows_with_width_and_depth(squeeze_excite: bool) -> None:
    def flow(width: int, depth: int) -> float:
        return scored(network(width, depth, squeeze_excite))["synflow"]

    assert flow(8, 1) < flow(16, 1) < flow(32, 1)
    assert flow(8, 1) < flow(8, 2)


def test_synflow_is_the_growth_of_the_flow() -> None:
    """The sum of |w| dR/d|w| is the growth of R, divided by h, if all kernels grow by a factor 1 + h."""
    architecture = network()
    specs = training_free_scores._specs(architecture, CLASSES)
    start = [initial(spec, i) for i, spec in enumerate(specs)]

    def flow(factor: float) -> float:
        factors = [{w.name: factor if w.decayed else 1.0 for w in spec.weights()} for spec in specs]
        grown = [
            {name: tf.constant(np.abs(value.astype(float)) * own[name]) for name, value in values.items()}
            for values, own in zip(start, factors, strict=True)
        ]
        ones = tf.ones([4, 16, 16, 3], tf.float64)
        return float(
            tf.reduce_sum(
                training_free_scores._logits(
                    training_free_scores._Unnormalised({}), specs, grown, architecture.clip, ones, 1
                )
            )
        )

    growth = (flow(1 + 1e-5) - flow(1 - 1e-5)) / 2e-5
    assert training_free_scores.synflow(specs, start, architecture.clip) == pytest.approx(math.log(growth), rel=1e-6)
    negative = [{name: -value for name, value in own.items()} for own in start]
    assert training_free_scores.synflow(specs, negative, architecture.clip) == training_free_scores.synflow(
        specs, start, architecture.clip
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchConfig]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOVINET_NAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield replace(breeding(), data=DataConfig(level="tiny", train=45, validation=36, test=36))


@pytest.fixture
def table(settings: SearchConfig) -> Table:
    """Write a table of three networks of the space, with made-up accuracies."""
    space = movinet_space(settings.space)
    members = [space.decode(tuple(map(int, genes))) for genes in space.sample(np.random.default_rng(0), 3)]
    macs = np.array([count(member, settings.space.classes).macs for member in members])
    plain = [architectures.to_dict(member) for member in members]
    accuracy = np.array([[0.5], [0.6], [0.7]])
    return tables.make("made", {"n": [1, 2, 3]}, {"macs": macs}, {"accuracy": accuracy}, architectures=plain)


def test_a_table_gets_its_columns_and_goes_on_where_it_was_left(
    settings: SearchConfig, table: Table, tmp_path: Path
) -> None:
    source, target = tmp_path / "table.csv", tmp_path / "scored.csv"
    tables.write(table, source)
    columns.score(settings, source, target, seeds=2, threads=None)
    whole = tables.read(target)
    assert set(whole.scores) == set(training_free_scores.NAMES)
    assert all(np.isfinite(values).all() and len(set(values)) == 3 for values in whole.scores.values())
    np.testing.assert_array_equal(whole.accuracy, table.accuracy)

    left = {name: np.where([True, False, True], values, np.nan) for name, values in whole.scores.items()}
    left["naswot"][0] = 123.0  # an existing score is not computed again
    tables.write(replace(whole, scores=left), target)
    columns.score(settings, source, target, seeds=2, threads=None)
    again = tables.read(target).scores
    assert again["naswot"].tolist() == [123.0, *whole.scores["naswot"][1:]]
    np.testing.assert_array_equal(again["synflow"], whole.scores["synflow"])


def test_what_cannot_be_scored(settings: SearchConfig, table: Table, tmp_path: Path) -> None:
    source, target = tmp_path / "table.csv", tmp_path / "scored.csv"
    tables.write(replace(table, architectures=()), source)
    with pytest.raises(InputError, match="missing column"):
        columns.score(settings, source, target)
    tables.write(table, source)
    tables.write(replace(table, architectures=table.architectures[::-1]), target)
    with pytest.raises(InputError, match="another table"):
        columns.score(settings, source, target)
    with pytest.raises(InputError, match="--seeds"):
        columns.score(settings, source, target, seeds=0)
    with pytest.raises(InputError, match="valid suffix of a benchmark table|\\.csv"):
        columns.score(settings, source, tmp_path / "scored.txt")
