"""Architecture and its parts: the common representation for space, cost, model builder, trainer, event log and scaler.

An architecture holds everything that changes weights or cost. Other settings (causal or not, form of the convolution,
precision, dropout) are arguments of building or training.

Shapes are `B T H W C`: batch, time (frames), height, width, channels.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from search_space.base.checks import check_keys, check_schema
from search_space.base.configuration import configuration, made_from, plain, within
from search_space.base.errors import InputError

SCHEMA = "movinet-nas/architecture/1"
Kernel = tuple[int, int, int]

# Far above published networks (A5: 18 layers in a block, 2048 channels): larger values in a file
# are mistakes, and are rejected before memory is allocated.
MAX_LAYERS_PER_BLOCK = 256
MAX_CHANNELS = 65536
MAX_FRAMES = 10_000
MAX_RESOLUTION = 4096


Channels = Annotated[int, within(1, MAX_CHANNELS)]
Frames = Annotated[int, within(1, MAX_FRAMES)]


@configuration
class Clip:
    """The input: `frames` frames of `resolution` x `resolution` pixels, every `frame_stride`-th of the source."""

    frames: Frames
    resolution: Annotated[int, within(1, MAX_RESOLUTION)]
    frame_stride: Frames


@configuration
class Stem:
    """1x3x3 convolution of spatial stride 2 to `width` channels, batch norm, activation."""

    width: Channels


@configuration
class Layer:
    """Inverted bottleneck: `expand` inner channels, depthwise kernel (time, height, width), squeeze-excite or not."""

    expand: Channels
    kernel: Annotated[Kernel, Field(json_schema_extra={"allowed": "three odd integers: time, height, width"})]
    squeeze_excite: bool = True

    def __post_init__(self) -> None:
        time, height, width = self.kernel
        if not all(1 <= size <= 31 and size % 2 for size in self.kernel):
            raise InputError("kernel", self.kernel, "must be three odd integers from 1 to 31: time, height, width")
        if height != width:
            raise InputError("kernel", self.kernel, "must have equal height and width")


@configuration
class Block:
    """`layers` of one output `width`, in channels; the first has the spatial `stride`, none strides over time."""

    width: Channels
    stride: Annotated[int, within(1, 2)]
    layers: Annotated[tuple[Layer, ...], Field(min_length=1, max_length=MAX_LAYERS_PER_BLOCK)]


@configuration
class Head:
    """1x1x1 projection to `project` channels, global average pool, dense layer of `dense` units."""

    project: Channels
    dense: Channels


@configuration
class Architecture:
    """One network. Compare with `==`; identify across processes and files by `fingerprint`."""

    clip: Clip
    stem: Stem
    blocks: Annotated[tuple[Block, ...], Field(min_length=1, max_length=16)]
    head: Head

    @functools.cached_property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of the hash of the canonical JSON form."""
        canonical = json.dumps(to_dict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def depth(self) -> int:
        """Number of layers in all blocks together."""
        return sum(len(block.layers) for block in self.blocks)


def with_strides(architecture: Architecture, strides: Sequence[int], place: str = "strides") -> Architecture:
    """Return the architecture with other spatial strides of its blocks; raise `InputError` for a wrong number."""
    if len(strides) != len(architecture.blocks):
        raise InputError(place, list(strides), f"must be {len(architecture.blocks)} strides, one for each block")
    blocks = zip(architecture.blocks, strides, strict=True)
    return replace(architecture, blocks=tuple(replace(block, stride=stride) for block, stride in blocks))


def to_dict(architecture: Architecture) -> dict[str, Any]:
    """Return plain, versioned data for JSON or YAML; the inverse of `from_dict`."""
    return {"schema": SCHEMA, **plain(architecture)}


def from_dict(data: object, place: str = "architecture") -> Architecture:
    """Return the architecture from plain data.

    Raises:
      InputError: an unknown or missing key, a wrong type, a value out of range or another schema.
    """
    check_schema(place, data, SCHEMA)
    keys = ("schema", "clip", "stem", "blocks", "head")
    parts = {key: part for key, part in check_keys(place, data, keys, keys).items() if key != "schema"}
    return made_from(Architecture, parts, place)
