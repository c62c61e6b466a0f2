"""Test the fused engine against TensorFlow's: equal losses, weights, moving statistics and logits."""

from __future__ import annotations

import numpy as np
import pytest

from movinet.model.specs import Weight
from movinet.proxy import tensorflow_engine
from movinet.proxy.fused import network as fused
from movinet.proxy.fused import optimizer
from movinet.proxy.recipe import BETA1, BETA2, Recipe
from search_space.architecture import Architecture
from search_space.space.movinet import BlockConfig, SpaceConfig, movinet_space

CLASSES, CLIPS, STEPS = 5, 6, 3
SPACE = movinet_space(
    SpaceConfig(
        name="odd",  # odd sides, sides below the kernel, widths that are no multiple of 8, all kinds of strides
        classes=CLASSES,
        frames=6,
        frame_strides=(6, 3, 2, 1),
        resolutions=(9, 12, 17),
        stem_widths=(8, 12),
        blocks=(
            BlockConfig(8, (8, 12), 2, (1, 2)),
            BlockConfig(16, (16, 20), 1, (1, 2)),
            BlockConfig(16, (16, 24), 2, (1, 2)),
            BlockConfig(16, (16,), 2, (1,)),
        ),
        project=(24,),
        dense=16,
    )
)
RECIPE = Recipe(steps=10, batch_size=CLIPS, learning_rate=0.04, rezero=0.7, label_smoothing=0.1, stochastic_depth=0.3)


@pytest.fixture(scope="module")
def compiler() -> tensorflow_engine.Compiler:
    return tensorflow_engine.Compiler()


def random_architectures(count: int) -> list[Architecture]:
    genotypes = SPACE.sample(np.random.default_rng(1), count)
    return [SPACE.decode(tuple(genes)) for genes in genotypes.tolist()]


@pytest.mark.parametrize("architecture", random_architectures(3), ids=lambda a: a.fingerprint[:8])
def test_fused_engine_trains_as_tensorflow_does(
    architecture: Architecture, compiler: tensorflow_engine.Compiler
) -> None:
    rng = np.random.default_rng(2)
    clip = architecture.clip
    clips = rng.integers(0, 256, (clip.frames, CLIPS, 20, 20, 3)).astype(np.uint8)
    labels = rng.integers(0, CLASSES, CLIPS).astype(np.int32)
    expected = tensorflow_engine.Candidate(compiler, architecture, CLASSES, RECIPE, seed=3)
    found = fused.Candidate(architecture, CLASSES, RECIPE, seed=3)
    theirs, ours = tensorflow_engine.prepare(clips, clip.resolution), fused.prepare(clips, clip.resolution)
    by_clip = theirs.numpy().reshape(clip.frames, CLIPS, *ours.shape[1:]).swapaxes(0, 1)
    np.testing.assert_allclose(ours, by_clip.reshape(ours.shape), atol=1e-5)
    for _ in range(STEPS):
        np.testing.assert_allclose(found.step(ours, labels), float(expected.step(theirs, labels)), rtol=1e-4)
    # AdamW divides by the size of a gradient. Rounding therefore shows where a gradient is nearly zero, as for an
    # offset before another norm.
    for a, b in zip(found.weights(), expected.weights(), strict=True):
        assert np.quantile(np.abs(a - b), 0.98) < 3e-4
    for a, b in zip(found.moving_statistics(), expected.moving_statistics(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0.02, atol=2e-3)
    logits = expected.logits(theirs, CLIPS).numpy()
    np.testing.assert_allclose(found.logits(ours, CLIPS), logits, atol=2e-2 * np.abs(logits).max())


def test_a_diverged_training_shows_in_its_loss() -> None:
    architecture = random_architectures(1)[0]
    candidate = fused.Candidate(architecture, CLASSES, Recipe(steps=10, learning_rate=10.0), seed=0)
    frames = np.full((CLIPS * architecture.clip.frames, *[architecture.clip.resolution] * 2, 3), np.nan, np.float32)
    assert not np.isfinite(candidate.step(frames, np.zeros(CLIPS, np.int32)))


def test_a_kernel_rests_while_its_gradient_has_vanished() -> None:
    rng, shape, rate = np.random.default_rng(0), (9, 6), 0.1
    weights, first, second = np.zeros((3, 54), np.float32)
    places = optimizer.places([Weight("kernel", shape, "he", decayed=False, orthogonal=True)])
    lengths = []
    for t, size in enumerate([1.0] * 200 + [1e-4] * 100, 1):
        before, gradient = weights.copy(), np.float32(size) * rng.standard_normal(54, dtype=np.float32)
        optimizer.step(weights, first, second, gradient, places, rate, BETA1**t, BETA2**t, 0.0)
        lengths.append(np.linalg.norm(weights - before))
    full = rate * np.sqrt(min(shape))
    assert np.mean(lengths[:200]) > 0.85 * full
    assert max(lengths[-20:]) < 0.01 * full
