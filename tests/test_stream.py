"""Streams: a clip as a whole, in chunks, by frames; states counted and allocated; a second version of variants."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from published_figures import STREAM_PARAMETERS
from unsettled import unsettle

from movinet.model.inference import fold
from movinet.model.keras_model import build, build_ensemble
from movinet.model.stream import IMAGE, StreamSession, init_states, state_specs, streaming
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.published import PUBLISHED
from search_space.space.movinet import BlockConfig, SpaceConfig, movinet_space
from search_space.variant import BASE, STREAM, Activation, Gate, SeType, Variant, released_stream

CLASSES = 5
CHUNKS = (1, 3, 8)
SPACE = movinet_space(
    SpaceConfig(
        name="streamed",
        classes=CLASSES,
        frames=8,
        frame_strides=(1,),
        resolutions=(14, 17),
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
    Clip(8, 16, 1),
    Stem(8),
    (
        Block(8, 2, (Layer(16, (3, 3, 3)), Layer(24, (1, 5, 5), squeeze_excite=False))),
        Block(16, 1, (Layer(24, (5, 1, 1)), Layer(24, (5, 3, 3)))),
        Block(24, 2, (Layer(40, (1, 7, 7)), Layer(40, (3, 3, 3)))),
    ),
    Head(project=24, dense=32),
)


def clips(*shape: int, seed: int = 0) -> np.ndarray:
    """Return random pixels B T H W 3."""
    return np.random.default_rng(seed).random((*shape, 3), dtype=np.float32)


def in_chunks(step: Any, states: dict[str, Any], x: np.ndarray, chunk: int) -> Iterator[Any]:
    """Yield the logits after each chunk of the clip."""
    for start in range(0, x.shape[1], chunk):
        logits, states = step({IMAGE: tf.constant(x[:, start : start + chunk]), **states})
        yield logits


def agree(model: keras.Model, x: np.ndarray) -> None:
    """Compare every way to process a clip with the clip as a whole."""
    whole = model(x).numpy()
    bound = 1e-5 * max(1.0, np.abs(whole).max())
    # Traced first for chunks of one length, then for any length.
    stream, folded = tf.function(streaming(model), reduce_retracing=True), fold(model)
    np.testing.assert_allclose(folded(x), whole, rtol=0, atol=bound)
    for chunk in CHUNKS:
        *_, last = in_chunks(stream, init_states(model, x.shape), x, chunk)
        np.testing.assert_allclose(last, whole, rtol=0, atol=bound, err_msg=f"chunks of {chunk}")


@pytest.mark.parametrize("positional", [False, True])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_a_random_network_says_the_same_in_any_chunks(seed: int, positional: bool) -> None:
    (genes,) = SPACE.sample(np.random.default_rng(seed), 1)
    variant = dataclasses.replace(STREAM, use_positional_encoding=positional)
    model = unsettle(build(SPACE.decode(tuple(map(int, genes))), CLASSES, variant=variant), seed)
    agree(model, clips(2, *model.input_shape[1:4], seed=seed))


# Without and with positional encoding.
@pytest.mark.parametrize("variant_of", ["a0", pytest.param("a3", marks=pytest.mark.slow)])
def test_a_published_network_says_the_same_in_any_chunks(variant_of: str) -> None:
    model = unsettle(build(PUBLISHED["a0"], CLASSES, variant=released_stream(variant_of), input_shape=(8, 45, 32)))
    agree(model, clips(1, 8, 45, 32))


@pytest.mark.slow
@pytest.mark.parametrize("positional", [False, True])
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_network_says_the_same_in_any_chunks(name: str, positional: bool) -> None:
    variant = dataclasses.replace(STREAM, use_positional_encoding=positional)
    agree(unsettle(build(PUBLISHED[name], CLASSES, variant=variant, input_shape=(8, 64, 64))), clips(2, 8, 64, 64))


@pytest.mark.parametrize(
    ("conv_type", "se_type"), zip(["3d", "2plus1d", "2plus1d", "3d"], get_args(SeType), strict=True)
)
def test_every_causal_variant_says_the_same_in_any_chunks(conv_type: str, se_type: str) -> None:
    variant = Variant(True, conv_type, se_type, use_positional_encoding=True)
    agree(unsettle(build(SMALL, CLASSES, variant=variant)), clips(2, 8, 16, 16))


def test_a_causal_network_never_sees_a_later_frame() -> None:
    model = unsettle(build(SMALL, CLASSES, variant=STREAM, input_shape=(None, 16, 16)))
    x = clips(1, 8, 16, 16)
    changed = x.copy()
    changed[:, 5:] = 0
    step = streaming(model)
    before, after = (list(in_chunks(step, init_states(model, x.shape), each, 1)) for each in (x, changed))
    for a, b in zip(before[:5], after[:5], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(before[5], after[5])


def test_what_came_before_matters() -> None:
    model = unsettle(build(SMALL, CLASSES, variant=STREAM))
    x = clips(1, 8, 16, 16)
    *_, remembered = in_chunks(streaming(model), init_states(model, x.shape), x, 1)
    *_, forgotten = in_chunks(streaming(model), init_states(model, x.shape), x[:, -1:], 1)
    assert np.abs(remembered - forgotten).max() > 0.01


# -- variants, written a second time with three-dimensional convolutions over B T H W C ----------------------


def _conv(x: Any, kernel: Any, stride: int, causal: bool) -> Any:
    """Depthwise, one channel at a time: kernel kT k k C."""
    before = kernel.shape[0] - 1 if causal else kernel.shape[0] // 2
    x = tf.pad(x, [[0, 0], [before, kernel.shape[0] - 1 - before], [0, 0], [0, 0], [0, 0]])
    low = [max((-(-size // stride) - 1) * stride + kernel.shape[1] - size, 0) for size in x.shape[2:4]]
    x = tf.pad(x, [[0, 0], [0, 0], *([total // 2, total - total // 2] for total in low), [0, 0]])
    channels = [
        tf.nn.conv3d(x[..., c : c + 1], kernel[..., c][..., None, None], [1, 1, stride, stride, 1], "VALID")
        for c in range(x.shape[-1])
    ]
    return tf.concat(channels, -1)


def _activation(name: str, x: Any) -> Any:
    known = {
        "swish": lambda: x / (1 + tf.exp(-x)),
        "hard_swish": lambda: x * tf.clip_by_value(x + 3, 0, 6) / 6,
        "relu": lambda: tf.maximum(x, 0),
        "relu6": lambda: tf.clip_by_value(x, 0, 6),
        "sigmoid": lambda: 1 / (1 + tf.exp(-x)),
        "hard_sigmoid": lambda: tf.clip_by_value(x + 3, 0, 6) * 0.16667,
    }
    return known[name]()


def _norm(x: Any, w: dict[str, Any], name: str) -> Any:
    mean, variance = w[f"{name}_moving_mean"], w[f"{name}_moving_variance"]
    return (x - mean) / tf.sqrt(variance + 1e-3) * w[f"{name}_gamma"] + w[f"{name}_beta"]


def _seen(y: Any, w: dict[str, Any], variant: Variant) -> Any:
    frames = tf.reduce_mean(y, (2, 3))  # B T C
    steps = tf.range(1.0, frames.shape[1] + 1)[:, None]
    whole = tf.cumsum(frames, 1) / steps if variant.causal else tf.reduce_mean(frames, 1, keepdims=True) + 0 * frames
    parts = {"2d": [frames], "3d": [whole], "2plus3d": [whole, frames]}[variant.se_type]
    seen = tf.concat(parts, -1)
    if variant.causal and variant.use_positional_encoding:
        channels = seen.shape[-1]
        angles = [1 / 10000 ** (2 * (c // 2) / channels) for c in range(channels)]
        codes = [
            [np.sin(t * a) for a in angles[0::2]] + [np.cos(t * a) for a in angles[1::2]] for t in range(seen.shape[1])
        ]
        seen = seen + w["positional"] * tf.constant(codes, tf.float32)
    return seen


def _bottleneck(x: Any, w: dict[str, Any], layer: Layer, stride: int, variant: Variant) -> Any:
    y = _activation(variant.activation, _norm(x @ w["expand"], w, "expand"))
    y = _norm(_conv(y, w["depthwise"], stride, variant.causal), w, "depthwise")
    y = _activation(variant.activation, y)
    if "temporal" in w:
        y = _activation(variant.activation, _norm(_conv(y, w["temporal"], 1, variant.causal), w, "temporal"))
    if layer.squeeze_excite and variant.se_type != "none":
        hidden = _activation(variant.activation, _seen(y, w, variant) @ w["squeeze"] + w["squeeze_bias"])
        gates = _activation(variant.gating_activation, hidden @ w["excite"] + w["excite_bias"])
        y = y * gates[:, :, None, None]
    y = _norm(y @ w["project"], w, "project") * w["rezero"]
    if "skip" not in w:
        return x + y
    if stride == 2:
        x = keras.layers.AveragePooling3D((1, 3, 3), strides=(1, 2, 2), padding="same")(x)
    return _norm(x @ w["skip"], w, "skip") + y


def _movinet(model: keras.Model, architecture: Architecture, x: np.ndarray, variant: Variant) -> Any:
    def weights(layer: str) -> dict[str, Any]:
        return {variable.name: variable.value for variable in model.get_layer(layer).weights}

    w = weights("stem")
    x = keras.ops.conv(x, w["conv"][None], strides=(1, 2, 2), padding="same")
    x = _activation(variant.activation, _norm(x, w, "conv"))
    for i, block in enumerate(architecture.blocks, 1):
        for j, layer in enumerate(block.layers, 1):
            x = _bottleneck(x, weights(f"block{i}_layer{j}"), layer, block.stride if j == 1 else 1, variant)
    w = weights("head")
    x = _activation(variant.activation, _norm(x @ w["project"], w, "project"))
    x = _activation(variant.classifier_activation, tf.reduce_mean(x, (1, 2, 3)) @ w["dense"] + w["dense_bias"])
    return x @ w["classifier"] + w["classifier_bias"]


VARIANTS = st.builds(
    Variant,
    st.booleans(),
    st.sampled_from(("3d", "2plus1d", "3d_2plus1d")),
    st.sampled_from(get_args(SeType)),
    st.sampled_from(get_args(Activation)),
    st.sampled_from(get_args(Gate)),
    st.booleans(),
)


@settings(max_examples=6)
@given(variant=VARIANTS, seed=st.integers(0, 99))
def test_a_variant_is_what_its_fields_say(variant: Variant, seed: int) -> None:
    model = unsettle(build(SMALL, CLASSES, variant=variant), seed)
    x = clips(2, 8, 16, 16, seed=seed)
    expected = _movinet(model, SMALL, x, variant)
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_training_form_converts_without_loss() -> None:
    trained = unsettle(build(SMALL, CLASSES, variant=dataclasses.replace(STREAM, conv_type="3d_2plus1d")))
    deployed = build(SMALL, CLASSES, variant=STREAM)
    deployed.set_weights(trained.get_weights())
    x = clips(2, 8, 16, 16)
    np.testing.assert_array_equal(deployed(x), trained(x))


# -- states ------------------------------------------------------------------------------------------------


def _bytes(states: dict[str, Any]) -> int:
    return sum(state.numpy().nbytes for state in states.values())


@pytest.mark.parametrize("name", ["a0", "a3"])  # without and with positional encoding
def test_released_stream_models_have_their_parameters_and_the_states_counted(name: str) -> None:
    architecture, variant = PUBLISHED[name], released_stream(name)
    model = build(architecture, 600, variant=variant)
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables), model.count_params()
    assert parameters == STREAM_PARAMETERS[name]
    states = init_states(model, (1, 1, architecture.clip.resolution, architecture.clip.resolution, 3))
    assert _bytes(states) == count(architecture, 600, variant).state_bytes
    counts = sum("pos_enc" in name for name in states)
    assert counts == (architecture.depth if variant.use_positional_encoding else 0)


@settings(max_examples=8)
@given(variant=VARIANTS, seed=st.integers(0, 999))
def test_states_and_parameters_of_any_variant_are_those_counted(variant: Variant, seed: int) -> None:
    (genes,) = SPACE.sample(np.random.default_rng(seed), 1)
    architecture = SPACE.decode(tuple(map(int, genes)))
    model = build(architecture, CLASSES, variant=variant)
    cost = count(architecture, CLASSES, variant)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == cost.trainable_parameters
    assert model.count_params() == cost.total_parameters
    if variant.causal:
        assert _bytes(init_states(model, (1, *model.input_shape[1:]))) == cost.state_bytes


def test_states_have_the_release_s_names_and_layouts() -> None:
    found = state_specs(build(SMALL, CLASSES, variant=released_stream("a3")), (2, None, 16, 16, 3))
    assert found["state_block0_layer0_stream_buffer"] == ((2, 2, 4, 4, 16), "float32")
    assert found["state_block1_layer1_stream_buffer"] == ((2, 4, 4, 4, 24), "float32")
    assert found["state_block0_layer0_pool_buffer"] == ((2, 1, 1, 1, 16), "float32")
    assert found["state_block2_layer1_pool_frame_count"] == ((1,), "int32")
    assert found["state_block2_layer1_pos_enc_frame_count"] == ((1,), "int32")
    assert found["state_head_pool_buffer"] == ((2, 1, 1, 1, 24), "float32")
    assert found["state_head_pool_frame_count"] == ((1,), "int32")
    assert not [name for name in found if name.startswith("state_block0_layer1")]  # 1x5x5 without squeeze-excite
    # With one kernel over time and space the buffer precedes the layer's stride.
    whole = state_specs(build(SMALL, CLASSES, variant=Variant(causal=True)), (2, None, 16, 16, 3))
    assert whole["state_block0_layer0_stream_buffer"] == ((2, 2, 8, 8, 16), "float32")


def test_a_stream_model_is_a_file_like_any_other(tmp_path: Path) -> None:
    model = unsettle(build(SMALL, CLASSES, variant=released_stream("a3")))
    x, step = clips(1, 4, 16, 16), streaming(model)
    step.save(tmp_path / "stream.keras")
    loaded = keras.saving.load_model(tmp_path / "stream.keras")
    *_, expected = in_chunks(step, init_states(model, x.shape), x, 2)
    *_, found = in_chunks(loaded, init_states(model, x.shape), x, 2)
    np.testing.assert_array_equal(found, expected)


# -- session -----------------------------------------------------------------------------------------------


def test_a_session_gives_running_predictions() -> None:
    model = unsettle(build(SMALL, CLASSES, variant=released_stream("a3")))
    session = StreamSession(model)
    frames = (clips(1, 8, 16, 16)[0] * 255).astype(np.uint8)
    first = session.push(frames[:1])
    assert first.shape == (CLASSES,)
    session.push(frames[1:4])
    last = session.push(frames[4:])
    assert session.frames == 8
    np.testing.assert_allclose(last, model(frames[None] / np.float32(255))[0], atol=1e-4)
    session.reset()
    np.testing.assert_array_equal(session.push(frames[:1]), first)
    session.reset()
    both = session.push(np.stack([frames, frames[::-1]]))
    np.testing.assert_allclose(both[0], last, atol=1e-4)


@pytest.mark.parametrize(
    ("frames", "rule"),
    [
        (np.zeros((16, 16, 3), np.uint8), "must be T H W 3"),
        (np.zeros((0, 16, 16, 3), np.uint8), "not empty"),
        (np.zeros((1, 16, 16, 4), np.uint8), "must be T H W 3"),
        (np.zeros((1, 16, 17, 3), np.uint8), "must have width 16"),
        (np.zeros((1, 16, 16, 3), np.int64), "must be uint8"),
    ],
)
def test_a_session_says_what_frames_it_takes(frames: np.ndarray, rule: str) -> None:
    session = StreamSession(build(SMALL, CLASSES, variant=STREAM))
    with pytest.raises(InputError, match=rule):
        session.push(frames)


def test_a_stream_keeps_its_batch() -> None:
    session = StreamSession(build(SMALL, CLASSES, variant=STREAM))
    session.push(clips(2, 1, 16, 16))
    with pytest.raises(InputError, match="must be of the stream's B H W C"):
        session.push(clips(3, 1, 16, 16))


def test_only_a_single_causal_network_streams() -> None:
    with pytest.raises(InputError, match="not causal"):
        StreamSession(build(SMALL, CLASSES, variant=BASE))
    with pytest.raises(InputError, match="not an ensemble"):
        streaming(build_ensemble([SMALL, SMALL], CLASSES, variant=STREAM))
