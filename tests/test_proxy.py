"""The compiled proxy loop against the Keras model under a plain gradient tape, with Muon and AdamW written out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from movinet.model import layers
from movinet.model.keras_model import build
from movinet.model.layers import BottleneckForm, ForwardTraining
from movinet.model.specs import bottlenecks
from movinet.proxy.recipe import NOISE_SHARE
from movinet.proxy.tape import Tape
from movinet.proxy.tensorflow_engine import Candidate, Compiler, Recipe, as_labels, prepare
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.base.errors import InputError
from search_space.space.movinet import BlockConfig, SpaceConfig, movinet_space

CLASSES, CLIPS = 5, 4
SPACE = movinet_space(
    SpaceConfig(
        name="small",
        classes=CLASSES,
        frames=6,
        frame_strides=(3, 2, 1),
        resolutions=(9, 12, 16),
        stem_widths=(8,),
        blocks=(
            BlockConfig(8, (8, 16), 2, (1, 2)),
            BlockConfig(16, (16, 24), 1, (1,)),
            BlockConfig(16, (16, 24), 2, (1, 2)),
        ),
        project=(24,),
        dense=16,
    )
)
SMALL = Architecture(
    Clip(frames=4, resolution=16, frame_stride=1),
    Stem(8),
    (
        Block(8, 2, (Layer(16, (3, 3, 3)), Layer(24, (1, 5, 5), squeeze_excite=False))),
        Block(16, 1, (Layer(24, (5, 1, 1)),)),
    ),
    Head(project=24, dense=16),
)


def _members(n: int, seed: int) -> list[Architecture]:
    return [SPACE.decode(tuple(map(int, genes))) for genes in SPACE.sample(np.random.default_rng(seed), n)]


Batch = tuple[np.ndarray, np.ndarray]  # B T H W 3, B


def _batches(architecture: Architecture, n: int, clips: int = CLIPS, seed: int = 0) -> list[Batch]:
    rng = np.random.default_rng(seed)
    clip = architecture.clip
    shape = (clips, clip.frames, clip.resolution, clip.resolution, 3)
    return [(rng.random(shape, dtype=np.float32), rng.integers(0, CLASSES, clips)) for _ in range(n)]


def _time_major(clips: np.ndarray) -> Any:
    """B T H W 3 -> T*B H W 3."""
    return tf.constant(clips.swapaxes(0, 1).reshape(-1, *clips.shape[2:]))


def _train(candidate: Candidate, batches: Sequence[Batch]) -> list[float]:
    return [float(candidate.step(_time_major(clips), as_labels(labels))) for clips, labels in batches]


def _keras_model(architecture: Architecture, recipe: Recipe, seed: int) -> keras.Model:
    model = build(architecture, CLASSES, norm_momentum=recipe.norm_momentum, seed=seed)
    for variable in model.trainable_variables:
        if variable.name == "rezero":
            variable.assign([recipe.rezero])
    return model


def _loss(logits: Any, labels: np.ndarray, smoothing: float) -> Any:
    """Return (1 - s) times the cross-entropy with the label, plus s times its mean over all classes."""
    logs = tf.nn.log_softmax(logits)
    right = tf.gather(logs, labels, axis=1, batch_dims=1)
    return -tf.reduce_mean((1 - smoothing) * right + smoothing * tf.reduce_mean(logs, 1))


def _train_plainly(
    model: keras.Model, forward: Callable[[Any], Any], batches: Sequence[Batch], recipe: Recipe
) -> list[float]:
    """Train a Keras model's variables by a gradient tape, Muon, and AdamW as in arXiv 1711.05101, algorithm 2."""
    variables = model.trainable_variables
    names = [w.name for layer in model.layers if layer.weights for w in layer.trainable_variables]
    first, second = ([np.zeros(v.shape) for v in variables] for _ in range(2))
    losses = []
    for t, (clips, labels) in enumerate(batches, 1):
        with tf.GradientTape() as tape:
            loss = _loss(forward(tf.constant(clips)), labels, recipe.label_smoothing)
        rate = recipe.rate(t - 1)
        for i, (v, g) in enumerate(zip(variables, tape.gradient(loss, [v.value for v in variables]), strict=True)):
            first[i] = 0.9 * first[i] + 0.1 * g.numpy()
            second[i] = 0.999 * second[i] + 0.001 * g.numpy() ** 2
            if len(v.shape) > 1 and names[i] not in ("classifier", "squeeze", "excite"):
                ahead, rms = 0.9 * first[i] + 0.1 * g.numpy(), math.sqrt(second[i].sum() / (1 - 0.999**t))
                share = np.linalg.norm(ahead) / (1 - 0.9**t) / (NOISE_SHARE * rms + 1e-7)
                step = min(1, share) * _orthogonal(ahead)
            else:
                step = first[i] / (1 - 0.9**t) / (np.sqrt(second[i] / (1 - 0.999**t)) + 1e-7) / 8
            decay = recipe.weight_decay if len(v.shape) > 1 else 0
            v.assign(v.numpy() - rate * (step + decay * v.numpy()))
        losses.append(float(loss))
    return losses


def _orthogonal(gradient: np.ndarray) -> np.ndarray:
    """Return Muon's step by a singular value decomposition."""
    columns = gradient.shape[-1]
    matrix = gradient.astype(np.float64).reshape(-1, columns)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values /= np.linalg.norm(values) + 1e-7
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return ((left * values) @ right * math.sqrt(max(1, columns / len(matrix)))).reshape(gradient.shape)


def _difference(candidate: Candidate, model: keras.Model) -> dict[str, float]:
    """Return the largest difference of each weight by its name, over all layers."""
    largest: dict[str, float] = {}
    layers_with_weights = [layer for layer in model.layers if layer.weights]
    for layer, found in zip(layers_with_weights, candidate.weights(), strict=True):
        variables = layer.trainable_variables
        ends = np.cumsum([math.prod(v.shape) for v in variables])
        assert ends[-1] == len(found)
        for v, part in zip(variables, np.split(found, ends[:-1]), strict=True):
            apart = float(np.abs(part - v.numpy().ravel()).max())
            largest[v.name] = max(largest.get(v.name, 0.0), apart)
    return largest


def _check_weights(candidate: Candidate, model: keras.Model, rate: float) -> None:
    # A step of Adam is as large as the rate for any size of the gradient. The gradient of an offset in front of
    # another batch norm is zero up to rounding, so Adam's step is noise.
    noisy = {"project_beta", "skip_beta"}
    for name, apart in _difference(candidate, model).items():
        assert apart <= (1.0 if name in noisy else 0.005) * rate, name


def _check_statistics(candidate: Candidate, model: keras.Model) -> None:
    layers_with_weights = [layer for layer in model.layers if layer.weights]
    for layer, found in zip(layers_with_weights, candidate.moving_statistics(), strict=True):
        expected = [v.numpy() for v in layer.weights if "_moving_" in v.name]
        np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("architecture", [SMALL, *_members(3, seed=1)], ids=lambda a: a.fingerprint)
def test_steps_equal_those_of_the_keras_model(architecture: Architecture) -> None:
    recipe = Recipe(4, learning_rate=0.01, weight_decay=0.1, label_smoothing=0.1, norm_momentum=0.8, rezero=0.5)
    batches = _batches(architecture, 3)
    candidate = Candidate(Compiler(), architecture, CLASSES, recipe, seed=7)
    model = _keras_model(architecture, recipe, seed=7)
    losses = _train_plainly(model, lambda clips: model(clips, training=True), batches, recipe)
    np.testing.assert_allclose(_train(candidate, batches), losses, rtol=1e-5)
    _check_weights(candidate, model, recipe.learning_rate)
    _check_statistics(candidate, model)
    clips = _batches(architecture, 1, seed=9)[0][0]
    # The noise in those offsets cancels with the statistics of a batch, but less with moving statistics.
    np.testing.assert_allclose(candidate.logits(_time_major(clips), CLIPS), model(clips), rtol=1e-3, atol=1e-3)


Weights = dict[str, dict[str, Any]]  # layer, name -> tensor


def _weights(model: keras.Model) -> Weights:
    return {
        layer.name: {v.name: tf.convert_to_tensor(v.value) for v in layer.trainable_variables} for layer in model.layers
    }


def _network(run: Any, w: Weights, architecture: Architecture, clips: np.ndarray, keeps: Sequence[Any]) -> Any:
    """Apply the layers in turn, with the stochastic depth in `keeps` and kernels that are not cut to the clip."""
    x = layers.stem(run, _time_major(clips), w["stem"])
    for (name, spec), keep in zip(bottlenecks(architecture), keeps, strict=True):
        x = layers.bottleneck(run, x, w[name], len(clips), BottleneckForm.at(spec, None, None), keep)
    return layers.classifier(run, layers.head_features(run, x, w["head"], len(clips)), w["head"])


def _weigh(drawn: Any, rate: float) -> Any:
    return tf.constant(np.where(np.asarray(drawn) >= rate, 1 / (1 - rate), 0), tf.float32)


@pytest.mark.parametrize("architecture", [SMALL, *_members(1, seed=2)], ids=lambda a: a.fingerprint)
def test_steps_with_stochastic_depth(architecture: Architecture) -> None:
    recipe = Recipe(4, learning_rate=0.01, stochastic_depth=0.6, rezero=0.5)
    batches = _batches(architecture, 3)
    candidate = Candidate(Compiler(), architecture, CLASSES, recipe, seed=7)
    model = _keras_model(architecture, recipe, seed=7)
    rng = np.random.default_rng([7, 1])
    rates = [0.6 * i / architecture.depth for i in range(1, architecture.depth + 1)]

    def forward(clips: Any) -> Any:
        keeps = [_weigh(rng.random(CLIPS), rate) for rate in rates]
        return _network(ForwardTraining(), _weights(model), architecture, clips.numpy(), keeps)

    losses = _train_plainly(model, forward, batches, recipe)
    np.testing.assert_allclose(_train(candidate, batches), losses, rtol=1e-5)
    _check_weights(candidate, model, recipe.learning_rate)


@pytest.mark.parametrize("architecture", [SMALL, *_members(2, seed=3)], ids=lambda a: a.fingerprint)
def test_tape_finds_the_gradients_of_the_keras_model(architecture: Architecture) -> None:
    model = build(architecture, CLASSES, stochastic_depth=0.5, seed=8)
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        if len(v.shape) == 1:
            v.assign(rng.normal(0.5, 0.5, v.shape))
    inner = [model.get_layer(name) for name, _ in bottlenecks(architecture)]
    draws = [keras.random.uniform((CLIPS,), seed=keras.random.SeedGenerator(each.seed)) for each in inner]
    keeps = [_weigh(drawn, each.drop_rate) for drawn, each in zip(draws, inner, strict=True)]
    ((clips, _),) = _batches(architecture, 1)
    with tf.GradientTape() as reference:
        expected = model(clips, training=True)
    g = _normal(rng, expected.shape)
    wanted = reference.gradient(expected, [v.value for v in model.trainable_variables], g)
    tape, weights = Tape(CLIPS), _weights(model)
    logits = _network(tape, weights, architecture, clips, keeps)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    found = tape.backward(logits, g, {})
    tensors = [tensor for layer in weights.values() for tensor in layer.values()]
    for tensor, exact in zip(tensors, wanted, strict=True):
        np.testing.assert_allclose(found[id(tensor)], exact, rtol=1e-3, atol=1e-4 * max(1e-2, np.abs(exact).max()))


def _normal(rng: np.random.Generator, shape: Any) -> Any:
    return tf.constant(rng.normal(size=shape), tf.float32)


def test_stochastic_depth_off_gives_the_loss_of_the_whole_network() -> None:
    (batch,) = _batches(SMALL, 1, clips=8)
    compiler = Compiler()
    first = {
        rate: _train(Candidate(compiler, SMALL, CLASSES, Recipe(2, stochastic_depth=rate, rezero=0.5), 0), [batch])[0]
        for rate in (0.0, 0.9)
    }
    assert first[0.0] != first[0.9]
    # Compiled separately: without stochastic depth nothing is multiplied.
    assert len(compiler) == 2 + 2 * SMALL.depth


def test_learns_the_direction_of_motion() -> None:
    recipe = Recipe(50, batch_size=16, rezero=0.5)
    candidate = Candidate(Compiler(), SMALL, CLASSES, recipe, seed=0)
    rng = np.random.default_rng(0)

    def batch() -> Batch:
        """Return clips of a bar on a ring that moves left or right from a random start; one frame is not enough."""
        labels = rng.integers(0, 2, recipe.batch_size)
        start = rng.integers(0, 16, recipe.batch_size)[:, None]
        at = start + np.arange(4) * np.where(labels, 3, -3)[:, None]  # B T
        clips = rng.random((recipe.batch_size, 4, 16, 16, 3), dtype=np.float32) * 0.2
        for offset in range(3):
            clips[np.arange(recipe.batch_size)[:, None], np.arange(4), :, (at + offset) % 16] += 0.8
        return clips, labels

    losses = _train(candidate, [batch() for _ in range(recipe.steps)])
    assert losses[0] > 1
    assert np.mean(losses[-10:]) < 0.1
    clips, labels = batch()
    assert (candidate.logits(_time_major(clips), len(labels)).numpy().argmax(1) == labels).mean() > 0.9
    assert candidate.steps_done == recipe.steps


def test_schedule_rises_stays_and_falls() -> None:
    recipe = Recipe(100, learning_rate=0.5, warmup=0.2, decay=0.4)
    for step in range(100):
        expected = 0.5 * (step + 1) / 21 if step < 20 else 0.5 if step <= 60 else 0.5 * (100 - step) / 40
        assert recipe.rate(step) == pytest.approx(expected)
    assert recipe.rate(100) == recipe.rate(150) == 0


def test_schedule_at_its_ends() -> None:
    assert Recipe(10, learning_rate=0.5, warmup=0.0).rate(0) == 0.5
    assert Recipe(10, learning_rate=0.5, warmup=0.0, decay=0.0).rate(9) == 0.5
    rising = [Recipe(10, warmup=1.0, decay=0.0).rate(step) for step in range(10)]
    assert rising == sorted(rising)
    assert 0 < rising[0] < rising[-1] < Recipe(10).learning_rate
    assert 0 < Recipe(1).rate(0) < Recipe(1).learning_rate


def test_label_smoothing_mixes_in_the_loss_of_every_class() -> None:
    ((clips, labels),) = _batches(SMALL, 1)
    compiler = Compiler()

    def first_loss(smoothing: float, labels: np.ndarray) -> float:
        candidate = Candidate(compiler, SMALL, CLASSES, Recipe(2, label_smoothing=smoothing), seed=0)
        return _train(candidate, [(clips, labels)])[0]

    mean_of_classes = np.mean([first_loss(0, np.full_like(labels, label)) for label in range(CLASSES)])
    for smoothing in (0.1, 0.7):
        expected = (1 - smoothing) * first_loss(0, labels) + smoothing * mean_of_classes
        assert first_loss(smoothing, labels) == pytest.approx(expected, rel=1e-5)


def test_weight_decay_shrinks_kernels_only() -> None:
    batches = _batches(SMALL, 1)
    compiler, rate, decay = Compiler(), 0.01, 0.5
    plain, decayed = (
        Candidate(compiler, SMALL, CLASSES, Recipe(2, learning_rate=rate, warmup=0, weight_decay=each, rezero=0.5), 0)
        for each in (0.0, decay)
    )
    start = plain.weights()
    for candidate in (plain, decayed):
        _train(candidate, batches)
    model = build(SMALL, CLASSES)
    variables = [layer.trainable_variables for layer in model.layers if layer.weights]
    for shapes, w0, a, b in zip(variables, start, plain.weights(), decayed.weights(), strict=True):
        kernel = np.concatenate([np.full(math.prod(v.shape), len(v.shape) > 1) for v in shapes])
        np.testing.assert_allclose((a - b)[kernel], rate * decay * w0[kernel], rtol=1e-3, atol=1e-7)
        np.testing.assert_array_equal(a[~kernel], b[~kernel])


def test_same_seed_same_bits() -> None:
    recipe, batches, compiler = Recipe(4, stochastic_depth=0.3, rezero=0.5), _batches(SMALL, 3), Compiler()

    def trained(seed: int) -> tuple[list[float], np.ndarray]:
        candidate = Candidate(compiler, SMALL, CLASSES, recipe, seed)
        losses = _train(candidate, batches)
        return losses, np.concatenate([*candidate.weights(), *candidate.moving_statistics()])

    (losses, first), (losses_again, again), (_, other) = trained(1), trained(1), trained(2)
    assert losses == losses_again
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_another_candidate_of_known_forms_is_not_traced() -> None:
    wider = replace(
        SMALL,
        stem=Stem(16),
        blocks=(
            Block(
                16, 2, (Layer(40, (3, 3, 3)), Layer(32, (1, 5, 5), squeeze_excite=False), Layer(16, (1, 5, 5), False))
            ),
            Block(24, 1, (Layer(16, (5, 1, 1)),)),
        ),
        head=Head(project=32, dense=40),
    )
    recipe, compiler = Recipe(4, rezero=0.5), Compiler()
    first = Candidate(compiler, SMALL, CLASSES, recipe, seed=1)
    _train(first, _batches(SMALL, 2))
    first.logits(_time_major(_batches(SMALL, 1)[0][0]), CLIPS)
    traced = len(compiler)
    assert traced == 2 + SMALL.depth
    # Other widths, depth, classes and batch use the functions that were traced for the first candidate.
    batches = _batches(wider, 3, clips=6)
    found, fresh = (Candidate(each, wider, CLASSES + 3, recipe, seed=2) for each in (compiler, Compiler()))
    assert len(compiler) == traced
    assert _train(found, batches) == _train(fresh, batches)
    clips = _time_major(batches[0][0])
    np.testing.assert_array_equal(found.logits(clips, 6), fresh.logits(clips, 6))
    assert found.logits(clips, 6).shape == (6, CLASSES + 3)


def test_logits_of_a_clip_do_not_depend_on_the_others() -> None:
    candidate = Candidate(Compiler(), SMALL, CLASSES, Recipe(4, rezero=0.5), seed=1)
    batches = _batches(SMALL, 3)
    _train(candidate, batches)
    clips = batches[0][0]
    together = candidate.logits(_time_major(clips), CLIPS)
    apart = [candidate.logits(_time_major(clips[i : i + 1]), 1)[0] for i in range(CLIPS)]
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)


def test_prepare_scales_and_resizes_frames() -> None:
    clips = np.random.default_rng(0).integers(0, 256, (3, 2, 12, 12, 3), np.uint8)  # T B H W C
    np.testing.assert_allclose(prepare(clips, 12), clips.reshape(6, 12, 12, 3) / 255, rtol=1e-6)
    halved = clips.reshape(6, 6, 2, 6, 2, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(prepare(clips, 6), halved, rtol=1e-5)
    labels = as_labels(np.arange(4))
    assert labels.dtype == tf.int32
    np.testing.assert_array_equal(labels, np.arange(4))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("steps", 0),
        ("batch_size", 1),
        ("weight_decay", float("nan")),
        ("label_smoothing", 1.0),
        ("stochastic_depth", 1.0),
    ],
    ids=str,
)
def test_bad_recipes_are_named(place: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^{place}: "):
        Recipe(**{"steps": 10, place: value})
