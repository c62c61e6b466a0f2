"""Exact cost of a network by integer arithmetic: MoViNets, arXiv 2103.11511, as in the TF Model Garden; base variant.

One multiply-add = 1 FLOP. `macs` is for one whole clip, one view: stem, expand, depthwise, squeeze-excite, project,
skip projection and head; batch norm, activations, pooling and additions are not counted. By this count, A0-A5 have the
costs in `tests/test_published.py`, 2-3 % below the paper's table, except A2 (12 % above).

Python ints have no limit; in a batch, costs of 2^63 and more (10^7 times A5) overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from search_space.architecture import Architecture, Layer
from search_space.base.errors import InputError
from search_space.cost import operations as ops
from search_space.cost.operations import Count, Slot
from search_space.variant import BASE, STREAM, Variant

BYTES = 4  # of a float32 value, and of an int32 frame count
CHUNK = 4096  # candidates counted at a time: arrays of 32 kB keep intermediates in the cache


@dataclass(frozen=True)
class Cost:
    """Costs of one network, as integers, by default of the base variant.

    Attributes:
      macs: multiply-adds for the whole clip.
      macs_per_frame: multiply-adds to advance a causal stream of the same network by one frame: every convolution for
        one frame, and squeeze-excite and classifier once, since they run on every frame.
      trainable_parameters: convolution weights, batch-norm scale and offset, squeeze-excite and dense weights and
        biases, and one ReZero scalar per layer.
      total_parameters: the same and the moving mean and variance of batch norm.
      state_bytes: state of a stream at batch 1, float32; for a variant that is not causal, that of the Model Garden's
        stream variant without positional encoding. It has the last kT - 1 frames before the temporal convolution of
        each layer with kT > 1. Each squeeze-excite and the head add a running sum and an int32 frame count. Positional
        encoding adds a count.
      activation_bytes: peak of live float32 values at batch 1, whole clip, inference. Schedule: one operation after
        another; batch norm, activation, gating, ReZero and addition in place; an output is freed after its last reader.
        A layer runs expand, depthwise, squeeze-excite, project, then pools (if its stride is 2) and projects the skip
        where shapes differ, then adds; its input lives until the skip has read it. Weights and the workspace of a
        kernel are not counted.
    """

    macs: int
    macs_per_frame: int
    trainable_parameters: int
    total_parameters: int
    state_bytes: int
    activation_bytes: int


COST_NAMES = tuple(field.name for field in fields(Cost))


@dataclass(frozen=True)
class ArchitectureBatch:
    """N candidates as int64 arrays, padded to L layers in each of B blocks; absent layers' entries are ignored."""

    frames: np.ndarray  # [N]
    resolution: np.ndarray  # [N]
    stem: np.ndarray  # [N]
    width: np.ndarray  # [N, B]
    depth: np.ndarray  # [N, B]
    strides: tuple[int, ...]  # [B], the same for all candidates
    expand: np.ndarray  # [N, B, L]
    kernel_time: np.ndarray  # [N, B, L]
    kernel_space: np.ndarray  # [N, B, L]
    squeeze_excite: np.ndarray  # [N, B, L], 0 or 1
    project: np.ndarray  # [N]
    dense: np.ndarray  # [N]

    @property
    def present(self) -> np.ndarray:
        """Mask of existing layers, bool [N, B, L]."""
        return np.arange(self.expand.shape[2]) < self.depth[..., None]

    def __post_init__(self) -> None:
        padded = self.expand.shape
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("kernel_time", "kernel_space", "squeeze_excite"), padded)
        shapes |= dict.fromkeys(("width", "depth"), padded[:2])
        shapes |= dict.fromkeys(("frames", "resolution", "stem", "project", "dense"), padded[:1])
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.int64:
                raise InputError(f"batch.{name}", (array.shape, str(array.dtype)), f"must be int64 of shape {shape}")
        if padded[1:2] != (len(self.strides),):
            raise InputError("batch.strides", self.strides, f"must be one stride per block of {padded}")


def _costs(
    frames: Count,
    resolution: Count,
    stem: ops.Convolution,
    slots: Iterable[Slot],
    head: tuple[Count, Count, int],
    variant: Variant,
) -> tuple[Count, ...]:
    """Return the values of `Cost`, in its order; `head` is (project, dense, classes)."""
    per_frame = gates_once = weights = normalised = biases = state = 0
    streamed = variant if variant.causal else STREAM
    peak = (ops.RGB * resolution * resolution + stem.channels * stem.area) * frames
    for slot in slots:
        for _, _, kernel, area, channels in ops.convolutions(slot, variant):
            per_frame += kernel * area
            weights += kernel
            normalised += channels
        reduce, excite = ops.squeeze_excite(slot, variant)
        gates = reduce.channels + excite.channels
        gates_once += reduce.weights + excite.weights
        biases += gates + slot.present  # the latter is the ReZero scalar
        biases += ops.gated(slot, variant) * variant.encodes_position  # its scalar
        state += ops.state_values(slot, streamed)
        gates = gates * frames if ops.gates_per_frame(variant) else gates
        peak = ops.larger(peak, ops.live_in_layer(slot, frames, gates))
    project, dense, logits = last = ops.head_operations(slot, *head)
    per_frame += stem.weights * stem.area + project.weights * project.area
    once = dense.weights + logits.weights
    normalised += stem.channels + project.channels
    weights += stem.weights + project.weights + gates_once + once
    trainable = weights + 2 * normalised + biases + dense.channels + logits.channels
    state += project.channels + 1
    peak = ops.larger(peak, ops.live_in_head(slot, frames, last))
    advance = per_frame + gates_once + once
    macs = per_frame * frames + once + gates_once * (frames if ops.gates_per_frame(variant) else 1)
    return macs, advance, trainable, trainable + 2 * normalised, BYTES * state, BYTES * peak


def _layer(layer: Layer) -> tuple[int, int, int, int]:
    return layer.expand, layer.kernel[0], layer.kernel[1], int(layer.squeeze_excite)


def _walk(architecture: Architecture) -> tuple[ops.Convolution, Iterator[Slot]]:
    width, resolution = architecture.stem.width, architecture.clip.resolution
    blocks = (
        (block.width, block.stride, ((*_layer(each), 1) for each in block.layers)) for block in architecture.blocks
    )
    return ops.stem_operation(width, resolution), ops.walk(width, (resolution + 1) // 2, blocks)


def count(architecture: Architecture, classes: int, variant: Variant = BASE) -> Cost:
    """Return the exact cost of one network with `classes` outputs."""
    clip, head = architecture.clip, (architecture.head.project, architecture.head.dense, classes)
    return Cost(*_costs(clip.frames, clip.resolution, *_walk(architecture), head, variant))


def _chunk_layers(chunk: dict[str, np.ndarray], block: int) -> Iterator[ops.LayerCounts]:
    depth = chunk["depth"][block]
    for layer in range(int(depth.max())):
        present = (depth > layer).astype(np.int64)
        expand = chunk["expand"][block, layer] * present
        gated = chunk["squeeze_excite"][block, layer] * present
        yield expand, chunk["kernel_time"][block, layer], chunk["kernel_space"][block, layer], gated, present


def _count_chunk(batch: ArchitectureBatch, part: slice, classes: int) -> tuple[Count, ...]:
    # One contiguous array per layer slot: [n, B, L] -> [B, L, n].
    arrays = {field.name: getattr(batch, field.name) for field in fields(batch) if field.name != "strides"}
    chunk = {name: np.ascontiguousarray(np.moveaxis(array[part], 0, -1)) for name, array in arrays.items()}
    resolution, stem = chunk["resolution"], chunk["stem"]
    blocks = ((chunk["width"][i], stride, _chunk_layers(chunk, i)) for i, stride in enumerate(batch.strides))
    slots = ops.walk(stem, (resolution + 1) // 2, blocks)
    head = (chunk["project"], chunk["dense"], classes)
    return _costs(chunk["frames"], resolution, ops.stem_operation(stem, resolution), slots, head, BASE)


def count_batch(batch: ArchitectureBatch, classes: int) -> dict[str, np.ndarray]:
    """Return the exact costs of N candidates, base variant, equal to `count` of each: COST_NAMES -> int64 [N]."""
    candidates = len(batch.frames)
    costs = {name: np.empty(candidates, np.int64) for name in COST_NAMES}
    for start in range(0, candidates, CHUNK):
        part = slice(start, start + CHUNK)
        for array, values in zip(costs.values(), _count_chunk(batch, part, classes), strict=True):
            array[part] = values
    return costs


CostFunction = Callable[[ArchitectureBatch, int], np.ndarray]  # candidates and number of classes -> costs [N]


def values_of(name: str, function: CostFunction, batch: ArchitectureBatch, classes: int) -> np.ndarray:
    """Return the cost of N candidates by a user's function: int64 [N].

    Raises:
      InputError: it does not return one integer from 1 to 2^62 for each.
    """
    values = np.asarray(function(batch, classes))
    if values.shape != batch.frames.shape or values.dtype.kind not in "iu":
        found = f"{values.dtype} {list(values.shape)}"
        raise InputError(name, found, f"was returned; a cost must be integers of shape {list(batch.frames.shape)}")
    if len(values) and not 1 <= values.min() <= values.max() <= 2**62:
        wrong = int(values.min() if values.min() < 1 else values.max())
        raise InputError(name, wrong, "was returned; a cost must be from 1 to 2^62")
    return values.astype(np.int64)


def _padded(layers: Sequence[Layer], length: int) -> list[tuple[int, int, int, int]]:
    return [_layer(layer) for layer in layers] + [(0, 1, 1, 0)] * (length - len(layers))


def _integers(values: Iterable[int]) -> np.ndarray:
    return np.fromiter(values, np.int64)


def pack(architectures: Sequence[Architecture]) -> ArchitectureBatch:
    """Return architectures with equal block strides as one batch.

    Raises:
      InputError: there are none, or their strides differ.
    """
    strides = {tuple(block.stride for block in each.blocks) for each in architectures}
    if len(strides) != 1:
        raise InputError("architectures", sorted(strides), "must share one sequence of block strides")
    blocks = [each.blocks for each in architectures]
    longest = max(len(block.layers) for row in blocks for block in row)
    layers = np.array([[_padded(block.layers, longest) for block in row] for row in blocks], np.int64)
    return ArchitectureBatch(
        frames=_integers(each.clip.frames for each in architectures),
        resolution=_integers(each.clip.resolution for each in architectures),
        stem=_integers(each.stem.width for each in architectures),
        width=np.array([[block.width for block in row] for row in blocks], np.int64),
        depth=np.array([[len(block.layers) for block in row] for row in blocks], np.int64),
        strides=strides.pop(),
        expand=layers[..., 0],
        kernel_time=layers[..., 1],
        kernel_space=layers[..., 2],
        squeeze_excite=layers[..., 3],
        project=_integers(each.head.project for each in architectures),
        dense=_integers(each.head.dense for each in architectures),
    )


@dataclass(frozen=True)
class Row:
    """One operation of a network, for `describe` and for comparison with a profiler.

    `op_class` is conv, pointwise, depthwise or dense; dense is any operation on one vector per clip or frame, including
    the two 1x1 convolutions of squeeze-excite. `shape` is the output's, `T H W C`. Batch norm's parameters are counted
    with the convolution before it, the ReZero scalar with the projection, that of a positional encoding with the first
    of squeeze-excite.
    """

    name: str
    op_class: str
    shape: tuple[int, int, int, int]
    macs: int
    trainable_parameters: int
    total_parameters: int


def breakdown(architecture: Architecture, classes: int, variant: Variant = BASE) -> list[Row]:
    """Return the operations in order of execution; their sums are those of `count`."""
    frames = architecture.clip.frames
    stem, slots = _walk(architecture)
    rows = [_convolution_row(stem, frames)]
    for block_index, block in enumerate(architecture.blocks, 1):
        for layer_index in range(1, len(block.layers) + 1):
            slot = next(slots)
            rows += _layer_rows(f"block{block_index}.layer{layer_index}.", slot, frames, variant)
    project, dense, logits = ops.head_operations(slot, architecture.head.project, architecture.head.dense, classes)
    return [*rows, _convolution_row(project, frames), _dense_row(dense), _dense_row(logits)]


def _layer_rows(prefix: str, slot: Slot, frames: int, variant: Variant) -> list[Row]:
    operations = {operation.name: operation for operation in ops.convolutions(slot, variant) if operation.channels}
    project, skip = operations.pop("project"), operations.pop("skip", None)
    rows = [_convolution_row(operation, frames, prefix) for operation in operations.values()]
    if ops.gated(slot, variant):
        times = frames if ops.gates_per_frame(variant) else 1
        reduce, excite = ops.squeeze_excite(slot, variant)
        rows += [_dense_row(reduce, prefix, times, int(variant.encodes_position)), _dense_row(excite, prefix, times)]
    rows.append(_convolution_row(project, frames, prefix, scalars=1))
    return rows + ([_convolution_row(skip, frames, prefix)] if skip else [])


def _convolution_row(operation: ops.Convolution, frames: int, prefix: str = "", scalars: int = 0) -> Row:
    name, op_class, weights, area, channels = operation
    size = math.isqrt(area)
    trainable = weights + 2 * channels + scalars
    shape = (frames, size, size, channels)
    return Row(prefix + name, op_class, shape, weights * area * frames, trainable, trainable + 2 * channels)


def _dense_row(operation: ops.Dense, prefix: str = "", frames: int = 1, scalars: int = 0) -> Row:
    name, weights, channels = operation
    parameters = weights + channels + scalars
    return Row(prefix + name, "dense", (frames, 1, 1, channels), weights * frames, parameters, parameters)


def in_unit(macs: float) -> str:
    """Return multiply-adds with two decimals in G, or in M for small numbers."""
    return f"{macs / 1e9:.2f} G" if macs >= 1e8 else f"{macs / 1e6:.2f} M"
