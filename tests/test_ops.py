"""Primitives against Keras' layers and TensorFlow's differentiation, with sizes static and at run time.

Shapes are `[T*B, H, W, C]`, time-major, except where noted.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from movinet.model import depthwise_ops, norm_ops, ops
from movinet.model.depthwise_ops import Reach
from movinet.model.ops import Norm, Primitive
from search_space.space.movinet import KERNELS

CLIPS, CHANNELS = 2, 4
# Frames, height, width: even and odd, smaller than the kernel, fewer frames than the kernel, not square.
CLIP_SIZES = [(5, 8, 8), (2, 3, 3), (1, 1, 1), (4, 6, 9)]
LAST_PLACE = {tf.bfloat16: 2**-7, tf.float16: 2**-10}  # relative
MODES = ["eager", "sizes at run time", "frames not known either"]


def _normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Any:
    return tf.constant(rng.normal(0, scale, shape), tf.float32)


def _fold(clips: Any) -> Any:
    """B T H W C -> T*B H W C."""
    return tf.reshape(tf.transpose(clips, [1, 0, 2, 3, 4]), [-1, *clips.shape[2:]])


def _unfold(x: Any) -> Any:
    """T*B H W C -> B T H W C."""
    return tf.transpose(tf.reshape(x, [-1, CLIPS, *x.shape[1:]]), [1, 0, 2, 3, 4])


def _grouped_conv3d(x: Any, w: Any, stride: int) -> tuple[Any, Callable[[Any], list[Any]]]:
    """Return the output of `Conv3D(groups=C)`, and its gradients to x and w[kT,k,k,C] from a cotangent."""
    layer = keras.layers.Conv3D(
        CHANNELS, w.shape[:3], strides=(1, stride, stride), padding="same", groups=CHANNELS, use_bias=False
    )
    layer.build((None, None, None, None, CHANNELS))
    layer.kernel.assign(w[..., None, :])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = _fold(layer(_unfold(x)))

    def gradients(g: Any) -> list[Any]:
        dx, dw = tape.gradient(y, [x, layer.kernel.value], g)
        return [dx, dw[..., 0, :]]

    return y, gradients


def _with_gradients(
    primitive: Primitive | Norm, inputs: list[Any], g: Any, **attributes: Any
) -> tuple[Any, list[Any], list[Any]]:
    """Return the output; per input the hand-written gradient, and TensorFlow's gradient of the forward, or None."""
    sources = [x if tf.is_tensor(x) and x.dtype.is_floating else tf.zeros([]) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        y, residuals = primitive.forward(*inputs, **attributes)[:2]
    return y, list(primitive.gradient(g, *residuals, **attributes)), tape.gradient(y, sources, g)


@functools.cache
def _traced_depthwise(reach: Reach) -> Callable[..., list[Any]]:
    """Return the depthwise convolution with its gradients, compiled for every size as the proxy loop does."""
    frames = tf.TensorSpec([None] * 4, tf.float32)

    @tf.function(input_signature=[frames, frames, tf.TensorSpec([], tf.int32), frames], autograph=False)
    def run(x: Any, w: Any, batch: Any, g: Any) -> list[Any]:
        y, written, automatic = _with_gradients(depthwise_ops.depthwise, [x, w, batch], g, reach=reach)
        return [y, *written[:2], *automatic[:2]]

    return run


def _depthwise(mode: str, x: Any, w: Any, g: Any, reach: Reach) -> list[Any]:
    """Return the output, both hand-written gradients, and both from TensorFlow."""
    if mode == "eager":
        y, written, automatic = _with_gradients(depthwise_ops.depthwise, [x, w, CLIPS], g, reach=reach)
        return [y, *written[:2], *automatic[:2]]
    if mode != "sizes at run time":
        reach = Reach.of(reach.kernel, reach.stride, None, None)
    return _traced_depthwise(reach)(x, w, CLIPS, g)


def _largest(x: Any) -> float:
    return float(tf.reduce_max(tf.abs(tf.cast(x, tf.float32))))


@pytest.mark.parametrize("clip", CLIP_SIZES, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_depthwise_equals_grouped_conv3d(kernel: tuple[int, int, int], stride: int, clip: tuple[int, int, int]) -> None:
    rng = np.random.default_rng([*kernel, stride, *clip])
    frames, height, width = clip
    x = _normal(rng, frames * CLIPS, height, width, CHANNELS)
    w = _normal(rng, *kernel, CHANNELS, scale=np.prod(kernel) ** -0.5)
    expected, gradients = _grouped_conv3d(x, w, stride)
    # This scale makes output and kernel gradient of order one. The gradient of x is smaller, with a smaller tolerance.
    g = _normal(rng, *expected.shape, scale=np.prod(expected.shape[:3]) ** -0.5)
    dx, dw = gradients(g)
    reach = Reach.of(kernel, stride, frames, height if height == width else None)
    for mode in MODES:
        found = _depthwise(mode, x, w, g, reach)
        for name, a, b in zip(
            ("y", "dx", "dw", "automatic dx", "automatic dw"), found, (expected, dx, dw, dx, dw), strict=True
        ):
            assert a.shape == b.shape
            assert _largest(a - b) <= 1e-5 * min(1.0, _largest(b)), f"{mode}: {name}"


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize(("kernel", "stride"), [((5, 3, 3), 1), ((5, 3, 3), 2), ((1, 7, 7), 1), ((5, 1, 1), 2)])
def test_depthwise_in_half_precision(kernel: tuple[int, int, int], stride: int, dtype: Any) -> None:
    rng = np.random.default_rng([*kernel, stride])
    x = _normal(rng, 5 * CLIPS, 7, 7, CHANNELS)
    w = _normal(rng, *kernel, CHANNELS, scale=np.prod(kernel) ** -0.5)
    x, w = tf.cast(x, dtype), tf.cast(w, dtype)
    reach = Reach.of(kernel, stride, 5, 7)
    exact_y, gradients = _grouped_conv3d(tf.cast(x, tf.float32), tf.cast(w, tf.float32), stride)
    g = tf.cast(_normal(rng, *exact_y.shape), dtype)
    exact = [exact_y, *gradients(tf.cast(g, tf.float32)) * 2]
    for a, b in zip(_depthwise("eager", x, w, g, reach), exact, strict=True):
        assert a.dtype == dtype
        # Up to seven taps are added in half precision: four units in the last place of the largest value.
        assert _largest(tf.cast(a, tf.float32) - b) <= 4 * LAST_PLACE[dtype] * _largest(b)


def test_reachable_offsets_are_the_taps_that_meet_a_frame() -> None:
    for kernel_time in range(1, 12, 2):
        for frames in range(1, 9):
            half = kernel_time // 2
            met = [d for d in range(-half, half + 1) if any(0 <= t + d < frames for t in range(frames))]
            assert list(depthwise_ops.reachable_offsets(kernel_time, frames)) == met
        assert len(depthwise_ops.reachable_offsets(kernel_time, None)) == kernel_time


def test_window_holds_every_tap_that_meets_a_pixel() -> None:
    for kernel, size in itertools.product((1, 3, 5, 7), range(1, 9)):
        met = [d for d in range(-(kernel // 2), kernel // 2 + 1) if any(0 <= i + d < size for i in range(size))]
        assert depthwise_ops.window(kernel, size, stride=1) == len(met)
        assert depthwise_ops.window(kernel, size, stride=2) == (1 if size == 1 else kernel)
        assert depthwise_ops.window(kernel, None, stride=1) == kernel


def test_same_padding_is_tensorflows() -> None:
    for kernel, stride, size in itertools.product((1, 3, 5, 7), (1, 2), range(1, 10)):
        row = tf.reshape(tf.range(1.0, size + 1), [1, size, 1])
        taps = tf.reshape(tf.range(1.0, kernel + 1), [kernel, 1, 1])
        padded = tf.pad(row, [[0, 0], depthwise_ops.same_padding(kernel, stride, size), [0, 0]])
        expected = tf.nn.conv1d(row, taps, stride, "SAME")
        np.testing.assert_array_equal(tf.nn.conv1d(padded, taps, stride, "VALID"), expected)


def _primitive_cases() -> dict[str, tuple[Primitive | Norm, list[Any], set[int]]]:
    """Return by name: primitive, inputs, and the positions of inputs that have no gradient by design."""
    rng = np.random.default_rng(7)
    normal = functools.partial(_normal, rng)
    frames = normal(3 * CLIPS, 5, 4, CHANNELS)
    squeeze = [normal(CHANNELS, 8), normal(8), normal(8, CHANNELS), normal(CHANNELS)]
    keep = tf.constant([0.0, 1.25])
    return {
        "pointwise": (ops.pointwise, [frames, normal(CHANNELS, 6)], set()),
        "dense": (ops.dense, [normal(CLIPS, CHANNELS), normal(CHANNELS, 6), normal(6)], set()),
        "stem_convolution": (ops.stem_convolution, [normal(4, 7, 6, 3), normal(3, 3, 3, 8)], {0}),
        "swish": (ops.swish, [frames], set()),
        "expansion": (ops.expansion, [frames, normal(CHANNELS, 6)], set()),
        "batch_norm": (norm_ops.batch_norm, [frames, normal(CHANNELS), normal(CHANNELS), CLIPS], {3}),
        "normalised_expansion": (
            norm_ops.normalised_expansion,
            [frames, normal(CHANNELS, 6), normal(6), normal(6), CLIPS],
            {4},
        ),
        "squeeze_excite": (ops.squeeze_excite, [frames, *squeeze, CLIPS], {5}),
        "skip_pool": (ops.skip_pool, [frames], set()),
        "skip_pool of one pixel": (ops.skip_pool, [normal(2, 1, 1, 3)], set()),
        "clip_pool": (ops.clip_pool, [frames, CLIPS], {1}),
        "add": (ops.add, [frames, normal(*frames.shape)], set()),
        "times_scalar": (ops.times_scalar, [normal(6), normal(1)], set()),
        "stochastic_depth": (ops.stochastic_depth, [frames, keep, CLIPS], {1, 2}),
    }


PRIMITIVES = _primitive_cases()


def test_every_primitive_is_tested() -> None:
    modules = (ops, norm_ops, depthwise_ops)
    declared = {id(v) for module in modules for v in vars(module).values() if isinstance(v, Primitive | Norm)}
    assert declared == {id(primitive) for primitive, _, _ in PRIMITIVES.values()} | {id(depthwise_ops.depthwise)}


@pytest.mark.parametrize("known", [True, False], ids=["sizes known", "sizes at run time"])
@pytest.mark.parametrize("name", PRIMITIVES)
def test_gradient_is_that_of_the_forward(name: str, known: bool) -> None:
    primitive, inputs, without = PRIMITIVES[name]
    g = _normal(np.random.default_rng(8), *primitive.forward(*inputs)[0].shape)
    if known:
        _, written, automatic = _with_gradients(primitive, inputs, g)
    else:
        tensors = [tf.convert_to_tensor(x) for x in [*inputs, g]]
        signature = [tf.TensorSpec([None] * x.shape.rank, x.dtype) for x in tensors]
        run = lambda *arguments: _with_gradients(primitive, list(arguments[:-1]), arguments[-1])[1:]  # noqa: E731
        written, automatic = tf.function(run, input_signature=signature, autograph=False)(*tensors)
    assert {i for i, found in enumerate(written) if found is None} == without
    for i, found in enumerate(written):
        if i not in without:
            np.testing.assert_allclose(found, automatic[i], rtol=1e-4, atol=1e-5)
            assert _largest(found) > 1e-3


def test_forwards_are_the_layers_of_keras() -> None:
    rng = np.random.default_rng(9)
    x = _normal(rng, 3 * CLIPS, 7, 6, CHANNELS)
    clips = _unfold(x)
    near = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)

    def forward(primitive: Primitive, *inputs: Any) -> Any:
        return primitive.forward(*inputs)[0]

    near(forward(ops.swish, x), keras.activations.silu(x))
    pool = keras.layers.AveragePooling3D((1, 3, 3), strides=(1, 2, 2), padding="same")
    near(_unfold(forward(ops.skip_pool, x)), pool(clips))
    near(forward(ops.clip_pool, x, CLIPS), keras.layers.GlobalAveragePooling3D()(clips))
    for primitive, layer, source in (
        (ops.pointwise, keras.layers.Conv3D(6, 1, use_bias=False), clips),
        (
            ops.stem_convolution,
            keras.layers.Conv3D(6, (1, 3, 3), strides=(1, 2, 2), padding="same", use_bias=False),
            clips[..., :3],
        ),
    ):
        expected = layer(source)
        kernel = layer.kernel[0, 0, 0] if primitive is ops.pointwise else layer.kernel[0]
        near(_unfold(forward(primitive, _fold(source), kernel)), expected)
    norm = keras.layers.BatchNormalization(epsilon=1e-3)
    norm.build((None, None, None, None, CHANNELS))
    weights = [_normal(rng, CHANNELS), _normal(rng, CHANNELS), _normal(rng, CHANNELS), _normal(rng, CHANNELS) ** 2]
    norm.set_weights(weights)
    near(_unfold(forward(norm_ops.batch_norm, x, *weights[:2], CLIPS)), norm(clips, training=True))
    near(_unfold(norm_ops.normalise(x, *weights[:2])[0]), norm(clips, training=True))


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_norms_written_out_are_tensorflows(size: int, offset: float) -> None:
    """Also test values far from zero, where a variance from raw moments would lose its precision."""
    rng = np.random.default_rng(11)
    x = _normal(rng, 3 * CLIPS, size, size, CHANNELS) + offset
    w, gamma, beta = _normal(rng, CHANNELS, 6), _normal(rng, 6), _normal(rng, 6)
    u = ops.pointwise.forward(x, w)[0]
    wanted, statistics = norm_ops.normalise(u, gamma, beta)
    for y, _, found in (
        norm_ops.batch_norm.forward(u, gamma, beta, CLIPS),
        norm_ops.normalised_expansion.forward(x, w, gamma, beta, CLIPS),
    ):
        np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4 if offset else 1e-5)
        for a, b in zip(found, statistics, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_squeeze_excite_by_hand() -> None:
    rng = np.random.default_rng(10)
    x, w1, b1, w2, b2 = (rng.normal(size=shape) for shape in ((6, 3, 3, 4), (4, 8), (8,), (8, 4), (4,)))
    tensors = [tf.constant(value, tf.float32) for value in (x, w1, b1, w2, b2)]
    found = ops.squeeze_excite.forward(*tensors, CLIPS)[0]
    for clip in range(CLIPS):
        frames = x[clip::CLIPS]  # time-major: frame t of clip b is row t*B + b
        hidden = frames.mean((0, 1, 2)) @ w1 + b1
        gate = 1 / (1 + np.exp(-(hidden / (1 + np.exp(-hidden)) @ w2 + b2)))
        np.testing.assert_allclose(found[clip::CLIPS], frames * gate, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mean_of_a_large_clip_in_half_precision(dtype: str) -> None:
    # 100 000 values of ten: more than float16 can count, with a sum above its largest number.
    x = tf.fill([40, 50, 50, 1], tf.constant(10, dtype))
    with tf.GradientTape() as tape:
        tape.watch(x)
        mean, residuals = ops.clip_pool.forward(x, 1)
    assert mean.numpy().item() == 10
    for found in (tape.gradient(mean, x), ops.clip_pool.gradient(tf.ones_like(mean), *residuals)[0]):
        np.testing.assert_allclose(tf.cast(found, tf.float32), 1e-5, rtol=0.02)


def test_stochastic_depth_weighs_whole_clips() -> None:
    x = _normal(np.random.default_rng(11), 3 * CLIPS, 2, 2, CHANNELS)
    found = ops.stochastic_depth.forward(x, tf.constant([0.0, 1.25]), CLIPS)[0]
    np.testing.assert_array_equal(found[0::CLIPS], tf.zeros([3, 2, 2, CHANNELS]))
    np.testing.assert_allclose(found[1::CLIPS], 1.25 * x[1::CLIPS])
