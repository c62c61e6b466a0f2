"""Test the cost counter against hand arithmetic, a slower liveness simulation, and itself in a batch."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.base.errors import InputError
from search_space.cost.counting import COST_NAMES, breakdown, count, count_batch, pack
from search_space.cost.operations import squeeze_excite_channels
from search_space.published import A0, A2, A5, PUBLISHED
from search_space.rounding import make_divisible

TINY = Architecture(
    Clip(frames=2, resolution=8, frame_stride=1),
    Stem(8),
    (
        Block(8, 2, (Layer(16, (3, 3, 3)),)),
        Block(16, 1, (Layer(24, (1, 3, 3), squeeze_excite=False), Layer(16, (1, 3, 3), squeeze_excite=False))),
    ),
    Head(project=24, dense=32),
)

sizes = st.integers(1, 5).map(lambda n: 2 * n - 1)
channels = st.integers(1, 80)
layers = st.builds(lambda e, t, k, s: Layer(e, (t, k, k), s), channels, sizes, sizes, st.booleans())
clips = st.builds(Clip, st.integers(1, 40), st.integers(1, 120), st.integers(1, 5))
heads = st.builds(Head, channels, channels)


def networks(strides: tuple[int, ...] | None = None) -> st.SearchStrategy[Architecture]:
    """Generate networks of any widths; `strides` sets the number and the strides of their blocks."""
    some = st.lists(st.sampled_from((1, 2)), min_size=1, max_size=4) if strides is None else st.just(strides)
    rows = st.lists(layers, min_size=1, max_size=4).map(tuple)
    blocks = some.flatmap(lambda each: st.tuples(*(st.builds(Block, channels, st.just(s), rows) for s in each)))
    return st.builds(Architecture, clips, st.builds(Stem, channels), blocks, heads)


def test_tiny_network_by_hand() -> None:
    cost = count(TINY, classes=5)
    # Weights, and positions per frame: 8x8 pixels, stem 4x4, block 1 and after 2x2.
    stem = 3 * 9 * 8
    expand, depthwise, project, skip = 8 * 16, 27 * 16, 16 * 8, 8 * 8
    expand2, depthwise2, project2, skip2 = 8 * 24, 9 * 24, 24 * 16, 8 * 16  # stride 1, but 8 channels become 16
    expand3, depthwise3, project3 = 16 * 16, 9 * 16, 16 * 16  # identity skip
    head = 16 * 24
    at4 = depthwise + project + skip + expand2 + depthwise2 + project2 + skip2 + expand3 + depthwise3 + project3 + head
    once = 2 * 16 * 8 + 24 * 32 + 32 * 5  # squeeze-excite with 8 hidden channels, dense, classifier
    assert cost.macs_per_frame == 16 * (stem + expand) + 4 * at4 + once
    assert cost.macs == 2 * (16 * (stem + expand) + 4 * at4) + once
    normalised = 8 + (16 + 16 + 8 + 8) + (24 + 24 + 16 + 16) + (16 + 16 + 16) + 24
    biases = (8 + 16) + 32 + 5
    assert cost.trainable_parameters == stem + expand + at4 + once + 2 * normalised + biases + 3
    assert cost.total_parameters == cost.trainable_parameters + 2 * normalised
    # Two frames of 2x2x16 before the one temporal convolution; sums and counts of squeeze-excite and head.
    assert cost.state_bytes == 4 * (2 * 4 * 16 + (16 + 1) + (24 + 1))
    # Depthwise of block 1: 2 frames of input 4x4x8, expanded 4x4x16 and output 2x2x16.
    assert cost.activation_bytes == 4 * 2 * (16 * 8 + 16 * 16 + 4 * 16)


@pytest.mark.parametrize(
    ("name", "per_frame", "state", "activation"),
    [("a0", 55_115_448, 2_696_832, 56_209_600), ("a5", 2_312_400_224, 75_093_808, 1_277_952_000)],
)
def test_stream_and_memory_of_published_networks(name: str, per_frame: int, state: int, activation: int) -> None:
    """No published source exists; these recorded values detect a change of convention."""
    cost = count(PUBLISHED[name], classes=600)
    assert (cost.macs_per_frame, cost.state_bytes, cost.activation_bytes) == (per_frame, state, activation)


def test_state_of_a0_by_hand() -> None:
    """Sizes 43, 22, 11, 11, 6 of the five blocks; first block has kT = 1."""
    buffers = 2 * 22**2 * 3 * 80 + 11**2 * (4 * 184 + 2 * 112 + 2 * 184) + 11**2 * (4 + 2 * 3) * 184 + 6**2 * 4 * 384
    expansions = 24 + 3 * 80 + 2 * 184 + 112 + 4 * 184 + 384 + 280 + 280 + 344
    assert count(A0, classes=600).state_bytes == 4 * (buffers + expansions + 15 + 480 + 1)


def simulated_peak(network: Architecture, classes: int) -> int:
    """Return peak live bytes from a run of the graph: tensors with a size, freed after their last reader."""
    program: list[tuple[str, int, list[str]]] = []  # output, values, inputs
    frames, size = network.clip.frames, network.clip.resolution

    def emit(name: str, values: int, *inputs: str) -> str:
        program.append((name, values, list(inputs)))
        return name

    x = emit("clip", frames * size**2 * 3)
    size, width = -(-size // 2), network.stem.width
    x = emit("stem", frames * size**2 * width, x)
    for b, block in enumerate(network.blocks):
        for i, layer in enumerate(block.layers):
            stride = block.stride if i == 0 else 1
            out, name = -(-size // stride), f"{b}.{i}."
            y = emit(name + "expand", frames * size**2 * layer.expand, x)
            y = emit(name + "depthwise", frames * out**2 * layer.expand, y)
            if layer.squeeze_excite:
                mean = emit(name + "mean", layer.expand, y)
                hidden = emit(name + "hidden", make_divisible(layer.expand / 4), mean)
                gate = emit(name + "gate", layer.expand, hidden)
                emit(name + "multiply", 0, y, gate)
            y = emit(name + "project", frames * out**2 * block.width, y)
            skip = x
            if stride == 2:
                skip = emit(name + "pool", frames * out**2 * width, skip)
            if stride == 2 or width != block.width:
                skip = emit(name + "skip", frames * out**2 * block.width, skip)
            emit(name + "add", 0, y, skip)
            x, size, width = y, out, block.width
    y = emit("head", frames * size**2 * network.head.project, x)
    y = emit("pooled", network.head.project, y)
    y = emit("dense", network.head.dense, y)
    emit("classes", classes, y)

    last = {name: step for step, (output, _, inputs) in enumerate(program) for name in (output, *inputs)}
    live: dict[str, int] = {}
    peak = 0
    for step, (output, values, _) in enumerate(program):
        live[output] = values
        peak = max(peak, sum(live.values()))
        live = {name: size for name, size in live.items() if last[name] > step}
    return 4 * peak


@given(networks(), st.integers(1, 700))
def test_activation_bytes_equal_a_simulation(network: Architecture, classes: int) -> None:
    assert count(network, classes).activation_bytes == simulated_peak(network, classes)


@given(networks(), st.integers(1, 700))
def test_breakdown_sums_to_the_count(network: Architecture, classes: int) -> None:
    rows, cost = breakdown(network, classes), count(network, classes)
    assert sum(row.macs for row in rows) == cost.macs
    assert sum(row.trainable_parameters for row in rows) == cost.trainable_parameters
    assert sum(row.total_parameters for row in rows) == cost.total_parameters
    assert len({row.name for row in rows}) == len(rows)


def test_breakdown_of_a2_in_order_and_shape() -> None:
    rows = breakdown(A2, classes=600)
    assert [(row.name, row.op_class, row.shape) for row in rows[:8]] == [
        ("stem", "conv", (50, 112, 112, 16)),
        ("block1.layer1.expand", "pointwise", (50, 112, 112, 40)),
        ("block1.layer1.depthwise", "depthwise", (50, 56, 56, 40)),
        ("block1.layer1.squeeze_excite.reduce", "dense", (1, 1, 1, 16)),
        ("block1.layer1.squeeze_excite.expand", "dense", (1, 1, 1, 40)),
        ("block1.layer1.project", "pointwise", (50, 56, 56, 16)),
        ("block1.layer1.skip", "pointwise", (50, 56, 56, 16)),
        ("block1.layer2.expand", "pointwise", (50, 56, 56, 40)),
    ]
    assert [row.name for row in rows if row.name.endswith("skip")] == [f"block{i}.layer1.skip" for i in (1, 2, 3, 5)]
    assert [(row.name, row.shape) for row in rows[-3:]] == [
        ("head.project", (50, 7, 7, 640)),
        ("head.dense", (1, 1, 1, 2048)),
        ("head.classes", (1, 1, 1, 600)),
    ]


@given(st.sampled_from([(2,), (1, 2), (2, 1, 2)]).flatmap(lambda s: st.lists(networks(s), min_size=1, max_size=6)))
def test_batch_equals_single(members: list[Architecture]) -> None:
    costs = count_batch(pack(members), classes=7)
    assert list(costs) == list(COST_NAMES)
    rows = np.stack(list(costs.values()), axis=1)
    assert rows.dtype == np.int64
    assert rows.tolist() == [list(astuple(count(member, 7))) for member in members]


def test_published_networks_as_one_batch() -> None:
    costs = count_batch(pack(list(PUBLISHED.values())), classes=600)
    assert costs["macs"].tolist() == [count(network, 600).macs for network in PUBLISHED.values()]


def test_batch_longer_than_a_chunk_and_rubbish_in_absent_layers() -> None:
    batch = pack([A0, A5])
    absent = np.arange(batch.expand.shape[2]) >= batch.depth[:, :, None]
    expand, kernel_time = np.where(absent, 9, batch.expand), np.where(absent, 9, batch.kernel_time)
    gated = np.where(absent, 1, batch.squeeze_excite)
    batch = replace(batch, expand=expand, kernel_time=kernel_time, squeeze_excite=gated)
    order = np.random.default_rng(0).integers(0, 2, 10_000)
    repeated = {name: value[order] for name, value in vars(batch).items() if name != "strides"}
    costs = count_batch(type(batch)(strides=batch.strides, **repeated), classes=600)
    for name, values in costs.items():
        expected = np.array([getattr(count(network, 600), name) for network in (A0, A5)])
        assert np.array_equal(values, expected[order]), name


def test_empty_batch() -> None:
    empty = {name: value[:0] for name, value in vars(pack([A0])).items()}
    costs = count_batch(type(pack([A0]))(**empty | {"strides": (2, 2, 2, 1, 2)}), classes=600)
    assert [values.shape for values in costs.values()] == [(0,)] * len(COST_NAMES)


def test_batch_of_wrong_shape_or_type_is_refused() -> None:
    batch = pack([A0, A2])
    with pytest.raises(InputError, match=r"batch\.frames: .* must be int64 of shape \(2,\)"):
        replace(batch, frames=batch.frames[:1])
    with pytest.raises(InputError, match=r"batch\.width: .*float64.* must be int64 of shape \(2, 5\)"):
        replace(batch, width=batch.width * 1.0)
    with pytest.raises(InputError, match=r"batch\.strides: \(2,\) "):
        replace(batch, strides=(2,))


def test_pack_refuses_different_strides_and_nothing() -> None:
    with pytest.raises(InputError, match="must share one sequence of block strides"):
        pack([A0, TINY])
    with pytest.raises(InputError, match="must share one sequence of block strides"):
        pack([])


def with_layer(network: Architecture, layer: Layer) -> Architecture:
    """Return the network with another last layer."""
    block = network.blocks[-1]
    return replace(network, blocks=(*network.blocks[:-1], replace(block, layers=(*block.layers[:-1], layer))))


def assert_dearer(network: Architecture, larger: Architecture) -> None:
    less, more = count(network, 7), count(larger, 7)
    assert more.macs > less.macs
    assert all(a <= b for a, b in zip(astuple(less), astuple(more), strict=True))


@given(networks(), st.integers(1, 20))
def test_more_frames_or_pixels_cost_more(network: Architecture, extra: int) -> None:
    clip = network.clip
    assert_dearer(network, replace(network, clip=replace(clip, frames=clip.frames + extra)))
    assert_dearer(network, replace(network, clip=replace(clip, resolution=clip.resolution + 2 * extra)))


@given(networks(), st.integers(1, 20), st.sampled_from([(2, 0, 0), (0, 2, 2), (2, 2, 2)]))
def test_wider_expansion_larger_kernel_or_squeeze_excite_cost_more(
    network: Architecture, extra: int, growth: tuple[int, int, int]
) -> None:
    last = network.blocks[-1].layers[-1]
    kernel = (last.kernel[0] + growth[0], last.kernel[1] + growth[1], last.kernel[2] + growth[2])
    assert_dearer(network, with_layer(network, replace(last, expand=last.expand + extra)))
    assert_dearer(network, with_layer(network, replace(last, kernel=kernel)))
    without = replace(last, squeeze_excite=False)
    assert_dearer(with_layer(network, without), with_layer(network, replace(last, squeeze_excite=True)))


@given(networks(), layers)
def test_deeper_costs_more(network: Architecture, layer: Layer) -> None:
    block = network.blocks[-1]
    deeper = replace(block, layers=(*block.layers, layer))
    assert_dearer(network, replace(network, blocks=(*network.blocks[:-1], deeper)))


@given(networks((2, 2)), st.integers(1, 20))
def test_wider_costs_more(network: Architecture, extra: int) -> None:
    """Blocks have a stride of 2; at stride 1, two widths that become equal save a skip projection."""
    first, second = network.blocks
    assert_dearer(network, replace(network, stem=Stem(network.stem.width + extra)))
    assert_dearer(network, replace(network, blocks=(replace(first, width=first.width + extra), second)))
    assert_dearer(network, replace(network, head=replace(network.head, project=network.head.project + extra)))
    assert_dearer(network, replace(network, head=replace(network.head, dense=network.head.dense + extra)))


def test_equal_widths_at_stride_1_save_the_skip_projection() -> None:
    thin = (Layer(8, (1, 3, 3)),)
    narrower, equal = (
        Architecture(A0.clip, A0.stem, (Block(width, 2, thin), Block(128, 1, thin)), A0.head) for width in (120, 128)
    )
    assert count(equal, 7).macs < count(narrower, 7).macs


def test_squeeze_excite_channels_are_those_of_make_divisible() -> None:
    expand = np.arange(1, 65_537)
    expected = [make_divisible(value / 4) for value in expand.tolist()]
    assert squeeze_excite_channels(expand).tolist() == expected
    assert [squeeze_excite_channels(value) for value in range(1, 2000)] == expected[:1999]
