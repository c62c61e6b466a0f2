"""Test the Keras model against the cost counter, TensorFlow's profiler, a second implementation, and its saved file."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from published_figures import BASE_FIGURES
from unsettled import unsettle

from movinet.model.inference import fold
from movinet.model.keras_layers import Bottleneck
from movinet.model.keras_model import build, build_ensemble, build_network
from search_space.architecture import Architecture, Block, Clip, Head, Kernel, Layer, Stem
from search_space.base.errors import InputError
from search_space.cost.counting import breakdown, count
from search_space.network import Network, dump, from_dict, temporal_ensemble
from search_space.published import PUBLISHED
from search_space.space.movinet import BlockConfig, SpaceConfig, movinet_space

CLASSES = 5
# All seven kernels; resolutions down to a last block of one pixel, and clips from one frame: the kernel is often larger
# than both.
SPACE = movinet_space(
    SpaceConfig(
        name="small",
        classes=CLASSES,
        frames=9,
        frame_strides=(9, 4, 3, 1),
        resolutions=(5, 8, 14),
        stem_widths=(8, 16),
        blocks=(
            BlockConfig(8, (8, 16), 2, (1, 2)),
            BlockConfig(8, (8, 16), 1, (1,)),
            BlockConfig(16, (16, 24), 2, (1, 2)),
        ),
        project=(24, 32),
        dense=16,
    )
)
SMALL = Architecture(
    Clip(frames=4, resolution=16, frame_stride=1),
    Stem(8),
    (
        Block(8, 2, (Layer(16, (3, 3, 3)), Layer(24, (1, 5, 5), squeeze_excite=False))),
        Block(16, 1, (Layer(24, (5, 1, 1)), Layer(24, (5, 3, 3)))),
        Block(24, 2, (Layer(40, (1, 7, 7)),)),
    ),
    Head(project=24, dense=32),
)
TINY = Architecture(Clip(2, 8, 1), Stem(8), (Block(8, 2, (Layer(16, (3, 3, 3)),)),), Head(project=16, dense=16))


def _clips(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((*shape, 3), dtype=np.float32)


def _members(n: int, seed: int) -> list[Architecture]:
    return [SPACE.decode(tuple(map(int, genes))) for genes in SPACE.sample(np.random.default_rng(seed), n)]


def load_text(text: str) -> Network:
    return from_dict(yaml.safe_load(text))


def _parameters(model: keras.Model) -> tuple[int, int]:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables), model.count_params()


@pytest.mark.parametrize("name", ["a0", "a2"])
def test_published_models_have_the_published_parameters(name: str) -> None:
    assert _parameters(build(PUBLISHED[name], 600)) == BASE_FIGURES[name][1:]


def _profiled(model: keras.Model) -> dict[str, int]:
    """Return multiply-adds of one clip by TensorFlow operation, from TensorFlow's profiler."""
    clip = tf.TensorSpec([1, *model.input_shape[1:]], tf.float32)
    traced = tf.function(lambda x: model(x, training=False), autograph=False).get_concrete_function(clip)
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    node = tf.compat.v1.profiler.profile(traced.graph, cmd="op", options=options)
    found = {}
    while node.children:  # a chain, one operation in each
        (node,) = node.children
        found[node.name] = node.float_ops // 2
    return found


@functools.cache
def _taps_per_channel(kernel: Kernel, stride: int, frames: int, size: int) -> tuple[int, int]:
    """Return multiply-adds of a depthwise convolution of one channel: by the convention, and executed.

    Taps that lie outside the clip for every frame are not executed. At stride 1 or for a single pixel, neither are rows
    and columns of the kernel that lie outside the frame at every position. All of them read only padding.
    """
    size_out = -(-size // stride)
    before = max((size_out - 1) * stride + kernel[1] - size, 0) // 2
    time = np.arange(frames)[:, None] + np.arange(kernel[0]) - kernel[0] // 2  # [frame, tap]
    space = np.arange(size_out)[:, None] * stride + np.arange(kernel[1]) - before
    in_clip, in_frame = (time >= 0) & (time < frames), (space >= 0) & (space < size)
    kept = in_frame.any(0) if stride == 1 or size == 1 else np.ones(kernel[1], bool)
    reads = np.einsum("td,ya,xb->tdyaxb", in_clip, in_frame, in_frame)
    carried_out = np.einsum("d,a,b->dab", in_clip.any(0), kept, kept)[None, :, None, :, None, :]
    assert not (reads & ~carried_out).any()
    return reads.size, int(np.broadcast_to(carried_out, reads.shape).sum())


def _depthwise(architecture: Architecture) -> tuple[int, int]:
    """Return multiply-adds of all depthwise convolutions: by the convention, and executed."""
    size, totals = -(-architecture.clip.resolution // 2), np.zeros(2, int)
    for block in architecture.blocks:
        stride = block.stride
        for layer in block.layers:
            taps = _taps_per_channel(layer.kernel, stride, architecture.clip.frames, size)
            totals += layer.expand * np.array(taps)
            size, stride = -(-size // stride), 1
    return int(totals[0]), int(totals[1])


@pytest.mark.parametrize("members", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_counter_equals_built_models_and_profiler(members: int) -> None:
    skipping = 0
    uncounted = {"Mul", "AddN", "AddV2", "BiasAdd", "Mean", "AvgPool", "Rsqrt", "Sub"}
    for architecture in _members(members, seed=1):
        model = build(architecture, CLASSES)
        cost = count(architecture, CLASSES)
        assert _parameters(model) == (cost.trainable_parameters, cost.total_parameters)
        macs = dict.fromkeys(("conv", "pointwise", "depthwise", "dense"), 0)
        for row in breakdown(architecture, CLASSES):
            macs[row.op_class] += row.macs
        found = _profiled(model)
        assert found.pop("Conv2D") == macs["conv"]
        assert found.pop("MatMul") == macs["pointwise"] + macs["dense"]
        convention, carried_out = _depthwise(architecture)
        assert macs["depthwise"] == convention
        assert found.pop("DepthwiseConv2dNative") == carried_out
        assert found.keys() <= uncounted
        skipping += carried_out < convention
    assert members / 4 < skipping < members


def _weights(model: keras.Model, layer: str) -> dict[str, Any]:
    return {variable.name: variable.value for variable in model.get_layer(layer).weights}


def _conv(x: Any, kernel: Any, stride: int = 1) -> Any:
    return keras.ops.conv(x, kernel, strides=(1, stride, stride), padding="same")


def _norm(x: Any, w: dict[str, Any], name: str) -> Any:
    mean, variance = w[f"{name}_moving_mean"], w[f"{name}_moving_variance"]
    return (x - mean) / tf.sqrt(variance + 1e-3) * w[f"{name}_gamma"] + w[f"{name}_beta"]


def _bottleneck(x: Any, w: dict[str, Any], layer: Layer, stride: int) -> Any:
    y = tf.nn.silu(_norm(_conv(x, w["expand"][None, None, None]), w, "expand"))
    y = tf.nn.silu(_norm(_conv(y, w["depthwise"][..., None, :], stride), w, "depthwise"))
    if layer.squeeze_excite:
        mean = tf.reduce_mean(y, (1, 2, 3), keepdims=True)
        hidden = tf.nn.silu(mean @ w["squeeze"] + w["squeeze_bias"])
        y = y * tf.sigmoid(hidden @ w["excite"] + w["excite_bias"])
    y = _norm(_conv(y, w["project"][None, None, None]), w, "project") * w["rezero"]
    if "skip" not in w:
        return x + y
    if stride == 2:
        x = keras.layers.AveragePooling3D((1, 3, 3), strides=(1, 2, 2), padding="same")(x)
    return _norm(_conv(x, w["skip"][None, None, None]), w, "skip") + y


def _movinet(model: keras.Model, architecture: Architecture, clips: np.ndarray) -> Any:
    """Compute MoViNet in inference with a second implementation, on B T H W C with three-dimensional convolutions."""
    w = _weights(model, "stem")
    x = tf.nn.silu(_norm(_conv(clips, w["conv"][None], 2), w, "conv"))
    for i, block in enumerate(architecture.blocks, 1):
        for j, layer in enumerate(block.layers, 1):
            x = _bottleneck(x, _weights(model, f"block{i}_layer{j}"), layer, block.stride if j == 1 else 1)
    w = _weights(model, "head")
    x = tf.nn.silu(_norm(_conv(x, w["project"][None, None, None]), w, "project"))
    x = tf.nn.silu(tf.reduce_mean(x, (1, 2, 3)) @ w["dense"] + w["dense_bias"])
    return x @ w["classifier"] + w["classifier_bias"]


@pytest.mark.parametrize("architecture", [SMALL, *_members(1, seed=2)], ids=lambda a: a.fingerprint)
def test_model_is_movinet_written_with_3d_convolutions(architecture: Architecture) -> None:
    model = unsettle(build(architecture, CLASSES))
    clips = _clips(2, *model.input_shape[1:4])
    expected = _movinet(model, architecture, clips)
    np.testing.assert_allclose(model(clips), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_sizes_may_be_left_open() -> None:
    free = build(SMALL, CLASSES, input_shape=(None, None, None))
    assert free.input_shape == (None, None, None, None, 3)
    assert free.output_shape == (None, CLASSES)
    traced = tf.function(lambda x: free(x), input_signature=[tf.TensorSpec([None] * 4 + [3])], autograph=False)
    of_free = _gradients(free)
    for shape in [(4, 16, 16), (1, 7, 9), (2, 33, 5), (1, 1, 1)]:
        fixed = unsettle(build(SMALL, CLASSES, input_shape=shape))
        free.set_weights(fixed.get_weights())
        clips = _clips(3, *shape)
        for found in (free(clips), traced(clips), fixed.predict(clips, verbose=0)):
            np.testing.assert_allclose(found, fixed(clips), rtol=1e-4, atol=1e-5, err_msg=str(shape))
        # Compare batch statistics, and gradients through unknown sizes.
        labels = np.arange(3) % CLASSES
        for a, b in zip(of_free(clips, labels), _gradients(fixed)(clips, labels), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=str(shape))


def _gradients(model: keras.Model) -> Callable[[np.ndarray, np.ndarray], list[Any]]:
    """Return a function for the gradients of the loss of clips and their labels, in training mode."""

    @tf.function(input_signature=[tf.TensorSpec([None, *model.input_shape[1:]]), tf.TensorSpec([None], tf.int64)])
    def run(x: Any, labels: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(x, training=True)))
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    return run


def test_same_seed_same_weights() -> None:
    first, same, other = (build(SMALL, CLASSES, seed=seed).get_weights() for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_file_round_trip(tmp_path: Path) -> None:
    model = unsettle(build(SMALL, CLASSES, dropout=0.3, stochastic_depth=0.4, norm_momentum=0.9, seed=5))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for a, b in zip(loaded.layers, model.layers, strict=True):
        assert a.get_config() == b.get_config()
    clips = _clips(2, 4, 16, 16)
    np.testing.assert_array_equal(loaded(clips), model(clips))
    # Training mode has the same draws of dropout and stochastic depth, and the same momentum.
    np.testing.assert_array_equal(loaded(clips, training=True), model(clips, training=True))
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_saved_model_round_trip(tmp_path: Path) -> None:
    model = unsettle(build(SMALL, CLASSES))
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    clips = _clips(2, 4, 16, 16)
    np.testing.assert_allclose(loaded.serve(clips), model(clips), rtol=1e-4, atol=1e-5)


def test_ensemble_is_the_mean_of_what_its_members_say_of_their_clips() -> None:
    slow = dataclasses.replace(SMALL, clip=Clip(frames=3, resolution=16, frame_stride=6))
    small = dataclasses.replace(SMALL, clip=Clip(frames=4, resolution=8, frame_stride=4))
    ensemble = unsettle(build_ensemble([slow, small], CLASSES, offsets=[2, 0]))
    assert ensemble.input_shape == (None, 8, 16, 16, 3)  # every second source frame up to the 14th
    clips = _clips(2, 8, 16, 16)
    shrunk = clips[:, ::2].reshape(2, 4, 8, 2, 8, 2, 3).mean((3, 5))
    members = [ensemble.get_layer("member1")(clips[:, 1::3]), ensemble.get_layer("member2")(shrunk)]
    np.testing.assert_allclose(ensemble(clips), np.mean(members, 0), rtol=1e-5, atol=1e-6)
    assert _parameters(ensemble)[1] == 2 * count(SMALL, CLASSES).total_parameters


def test_temporal_ensemble_sees_each_frame_of_the_network_once() -> None:
    network = temporal_ensemble("twice", SMALL, CLASSES)
    model = unsettle(build_network(network, seed=3))
    assert model.input_shape == (None, *build(SMALL, CLASSES).input_shape[1:])
    clips = _clips(2, 4, 16, 16)
    members = [model.get_layer("member1")(clips[:, ::2]), model.get_layer("member2")(clips[:, 1::2])]
    np.testing.assert_allclose(model(clips), np.mean(members, 0), rtol=1e-5, atol=1e-6)
    half = dataclasses.replace(SMALL, clip=Clip(2, 16, 2))
    assert network.cost["macs"] == 2 * count(half, CLASSES).macs
    assert load_text(dump(network)) == network


def test_ensemble_is_a_file_like_any_other(tmp_path: Path) -> None:
    model = unsettle(build_network(temporal_ensemble("twice", SMALL, CLASSES)))
    model.save(tmp_path / "model.keras")
    clips = _clips(1, 4, 16, 16)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(clips), model(clips))
    np.testing.assert_allclose(fold(model)(clips), model(clips), rtol=1e-4, atol=1e-5)


def test_ensemble_of_one_is_its_member() -> None:
    ensemble = build_ensemble([SMALL], CLASSES)
    clips = _clips(2, 4, 16, 16)
    np.testing.assert_array_equal(ensemble(clips), ensemble.get_layer("member1")(clips))


def test_members_differ_from_the_start() -> None:
    ensemble = build_ensemble([SMALL, SMALL], CLASSES)
    first, second = (ensemble.get_layer(f"member{i}").get_weights() for i in (1, 2))
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("offsets", [[1], [0, -1], [0, True]])
def test_offsets_are_one_for_each_member(offsets: list[int]) -> None:
    with pytest.raises(InputError, match="offsets"):
        build_ensemble([SMALL, SMALL], CLASSES, offsets=offsets)


def test_stochastic_depth_drops_whole_clips_at_its_rate() -> None:
    rate, clips = 0.3, 600
    layer = Bottleneck(8, 16, 8, (3, 3, 3), 1, True, seed=6, norm_momentum=0.9, drop_rate=rate)
    whole = Bottleneck(8, 16, 8, (3, 3, 3), 1, True, seed=6, norm_momentum=0.9)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, clips, 3, 3, 8)), tf.float32)
    for each in (layer, whole):
        each.build(x.shape)
        next(v for v in each.weights if v.name == "rezero").assign([1.0])
    branch = whole(x, training=True) - x
    share = (layer(x, training=True) - x) / branch  # T B H W C
    kept = np.median(share, axis=(0, 2, 3, 4)) > 0.5
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / clips)
    scale = np.where(kept, 1 / (1 - rate), 0)[:, None, None, None]
    np.testing.assert_allclose(layer(x) - x, whole(x) - x)  # none in inference
    np.testing.assert_allclose(share * branch, scale * branch, rtol=1e-3, atol=1e-4)
    again = layer(x, training=True)
    assert not np.array_equal(again, share * branch + x)


def test_stochastic_depth_grows_with_depth() -> None:
    model = build(SMALL, CLASSES, stochastic_depth=0.5)
    rates = [layer.drop_rate for layer in model.layers if isinstance(layer, Bottleneck)]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4, 0.5])


def test_dropout_only_in_training() -> None:
    model, clips = build(SMALL, CLASSES, dropout=0.5), _clips(4, 4, 16, 16)
    np.testing.assert_array_equal(model(clips), model(clips))
    assert not np.allclose(model(clips, training=True), model(clips, training=True))


def test_frozen_layers_use_and_keep_moving_statistics() -> None:
    model, clips = unsettle(build(SMALL, CLASSES)), _clips(4, 4, 16, 16)
    before = model.get_weights()
    model.trainable = False
    np.testing.assert_allclose(model(clips, training=True), model(clips), rtol=1e-5, atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def test_fit_trains_in_every_precision(policy: str) -> None:
    model = build(TINY, CLASSES, dropout=0.1, stochastic_depth=0.1)
    clips, labels = _clips(4, 2, 8, 8), np.arange(4)
    assert model.output.dtype == model(clips).dtype == "float32"
    assert build_ensemble([TINY, TINY], CLASSES).output.dtype == "float32"
    assert {v.dtype for v in model.weights} == {"float32"}
    logits, before = model(clips).numpy(), model.get_weights()
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(clips, labels, batch_size=2, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert not any(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    keras.config.set_dtype_policy("float32")
    exact = build(TINY, CLASSES)(clips).numpy()
    assert np.abs(logits - exact).max() <= 0.03 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"classes": 0}, "classes"),
        ({"classes": True}, "classes"),
        ({"classes": 5, "dropout": 1.0}, "dropout"),
        ({"classes": 5, "stochastic_depth": -0.1}, "stochastic_depth"),
        ({"classes": 5, "norm_momentum": float("nan")}, "norm_momentum"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments: dict[str, Any], place: str) -> None:
    with pytest.raises(InputError, match=f"^{place}: "):
        build(SMALL, **arguments)


def test_ensemble_needs_a_member() -> None:
    with pytest.raises(InputError, match="^members: "):
        build_ensemble([], CLASSES)
