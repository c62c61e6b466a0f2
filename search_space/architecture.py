"""Architecture and its parts: the one language of space, cost, model builder, trainer, ledger and scaler.

An architecture holds what changes weights or cost. How it is run (causal or not, form of the
convolution, precision, dropout) is an argument of building or training.

Shapes are `B T H W C`: batch, time (frames), height, width, channels.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search_space.base.errors import InputError
from search_space.base.names import hint

SCHEMA = "movinet-nas/architecture/1"
Kernel = tuple[int, int, int]

# Wider than anything published (A5: 18 layers in a block, 2048 channels) by a good margin: a file
# that asks for more is a mistake, and is refused before memory is taken for it.
MAX_LAYERS_PER_BLOCK = 256
MAX_CHANNELS = 65536
MAX_FRAMES = 10_000
MAX_RESOLUTION = 4096


def check_integer(place: str, value: object, low: int, high: int) -> int:
    """`value` if it is an integer in low..high, else an `InputError` that names `place`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(place, value, f"must be an integer from {low} to {high}")
    return value


def check_number(place: str, value: object, low: float, high: float, hint: str = "") -> float:
    """`value` if it is a number in low..high, else an `InputError` that names `place`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(place, value, f"must be a number from {low:g} to {high:g}{hint}")
    return value


def check_keys(place: str, data: object, allowed: Sequence[str], required: Sequence[str] = ()) -> Mapping[str, Any]:
    """`data` if it is a mapping with only `allowed` keys and all `required` ones, else an `InputError`."""
    if not isinstance(data, Mapping):
        raise InputError(place, data, f"must be a mapping with the keys {', '.join(allowed)}")
    for key in data:
        if key not in allowed:
            raise InputError(place, key, f"is an unknown key; known: {', '.join(allowed)}{hint(key, allowed)}")
    for key in required:
        if key not in data:
            raise InputError(place, sorted(map(str, data)), f"lacks the key {key!r}")
    return data


def check_schema(place: str, data: object, known: str, hint: str = "") -> None:
    """That data which names a schema names `known`, before its keys are looked at: those of another will not fit.

    Raises:
      InputError: it names another, or a newer one.
    """
    if not isinstance(data, Mapping) or data.get("schema", known) == known:
        return
    given = data["schema"]
    family, _, version = known.rpartition("/")
    newer = isinstance(given, str) and re.fullmatch(rf"{re.escape(family)}/(\d{{1,9}})", given)
    if newer and int(newer[1]) > int(version):
        hint = "; it is of a newer version of movinet-nas: update this one"
    raise InputError(f"{place}.schema", given, f"must be {known!r}{hint}")


def check_list(place: str, data: object) -> Sequence[Any]:
    """`data` if it is a list or tuple, else an `InputError`."""
    if not isinstance(data, list | tuple):
        raise InputError(place, data, "must be a list")
    return data


@dataclass(frozen=True)
class Clip:
    """The input: `frames` frames of `resolution` x `resolution` pixels, every `frame_stride`-th of the source."""

    frames: int
    resolution: int
    frame_stride: int

    def __post_init__(self) -> None:
        check_integer("clip.frames", self.frames, 1, MAX_FRAMES)
        check_integer("clip.resolution", self.resolution, 1, MAX_RESOLUTION)
        check_integer("clip.frame_stride", self.frame_stride, 1, MAX_FRAMES)


@dataclass(frozen=True)
class Stem:
    """1x3x3 convolution of spatial stride 2 to `width` channels, batch norm, activation."""

    width: int

    def __post_init__(self) -> None:
        check_integer("stem.width", self.width, 1, MAX_CHANNELS)


@dataclass(frozen=True)
class Layer:
    """Inverted bottleneck: `expand` channels inside, depthwise kernel (time, height, width), squeeze-excite or not."""

    expand: int
    kernel: Kernel
    squeeze_excite: bool = True

    def __post_init__(self) -> None:
        check_integer("layer.expand", self.expand, 1, MAX_CHANNELS)
        kernel = self.kernel
        if not isinstance(kernel, tuple) or len(kernel) != 3:
            raise InputError("layer.kernel", kernel, "must be three odd integers: time, height, width")
        for size in kernel:
            if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 31 or size % 2 == 0:
                raise InputError("layer.kernel", kernel, "must be three odd integers from 1 to 31: time, height, width")
        if kernel[1] != kernel[2]:
            raise InputError("layer.kernel", kernel, "must have equal height and width")
        if not isinstance(self.squeeze_excite, bool):
            raise InputError("layer.squeeze_excite", self.squeeze_excite, "must be true or false")


@dataclass(frozen=True)
class Block:
    """`layers` of one output `width`, in channels; the first has the spatial `stride`, none strides over time."""

    width: int
    stride: int
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        check_integer("block.width", self.width, 1, MAX_CHANNELS)
        check_integer("block.stride", self.stride, 1, 2)
        if not isinstance(self.layers, tuple) or not 1 <= len(self.layers) <= MAX_LAYERS_PER_BLOCK:
            raise InputError("block.layers", self.layers, f"must be a list of 1 to {MAX_LAYERS_PER_BLOCK} layers")


@dataclass(frozen=True)
class Head:
    """1x1x1 projection to `project` channels, global average pool, dense layer of `dense` units."""

    project: int
    dense: int

    def __post_init__(self) -> None:
        check_integer("head.project", self.project, 1, MAX_CHANNELS)
        check_integer("head.dense", self.dense, 1, MAX_CHANNELS)


@dataclass(frozen=True)
class Architecture:
    """One network. Compare with `==`; identify across processes and files by `fingerprint`."""

    clip: Clip
    stem: Stem
    blocks: tuple[Block, ...]
    head: Head

    def __post_init__(self) -> None:
        if not isinstance(self.blocks, tuple) or not 1 <= len(self.blocks) <= 16:
            raise InputError("blocks", self.blocks, "must be a list of 1 to 16 blocks")

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the hash of the canonical JSON form."""
        canonical = json.dumps(to_dict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def depth(self) -> int:
        """Layers in all blocks together."""
        return sum(len(block.layers) for block in self.blocks)


def with_strides(architecture: Architecture, strides: Sequence[int], place: str = "strides") -> Architecture:
    """Return the architecture with other spatial strides of its blocks; raise `InputError` for a wrong number."""
    if len(strides) != len(architecture.blocks):
        raise InputError(place, list(strides), f"must be {len(architecture.blocks)} strides, one for each block")
    blocks = zip(architecture.blocks, strides, strict=True)
    return replace(architecture, blocks=tuple(replace(block, stride=stride) for block, stride in blocks))


def to_dict(architecture: Architecture) -> dict[str, Any]:
    """Plain, versioned data for JSON or YAML; the inverse of `from_dict`."""
    clip, head = architecture.clip, architecture.head
    return {
        "schema": SCHEMA,
        "clip": {"frames": clip.frames, "resolution": clip.resolution, "frame_stride": clip.frame_stride},
        "stem": {"width": architecture.stem.width},
        "blocks": [
            {
                "width": block.width,
                "stride": block.stride,
                "layers": [
                    {"expand": layer.expand, "kernel": list(layer.kernel), "squeeze_excite": layer.squeeze_excite}
                    for layer in block.layers
                ],
            }
            for block in architecture.blocks
        ],
        "head": {"project": head.project, "dense": head.dense},
    }


def from_dict(data: object, place: str = "architecture") -> Architecture:
    """The architecture written as plain data.

    Raises:
      InputError: an unknown or missing key, a wrong type, a value out of range or another schema.
    """
    check_schema(place, data, SCHEMA)
    top = check_keys(place, data, *(("schema", "clip", "stem", "blocks", "head"),) * 2)
    clip = check_keys(f"{place}.clip", top["clip"], *(("frames", "resolution", "frame_stride"),) * 2)
    stem = check_keys(f"{place}.stem", top["stem"], ("width",), ("width",))
    head = check_keys(f"{place}.head", top["head"], *(("project", "dense"),) * 2)
    blocks = check_list(f"{place}.blocks", top["blocks"])
    try:
        return Architecture(
            clip=Clip(**clip),
            stem=Stem(**stem),
            blocks=tuple(_block(f"{place}.blocks[{i}]", block) for i, block in enumerate(blocks)),
            head=Head(**head),
        )
    except InputError as error:
        if error.place.startswith(place):
            raise
        raise InputError(f"{place}.{error.place}", error.value, error.rule) from None


def _block(place: str, data: object) -> Block:
    block = check_keys(place, data, *(("width", "stride", "layers"),) * 2)
    layers = check_list(f"{place}.layers", block["layers"])
    try:
        return Block(
            block["width"],
            block["stride"],
            tuple(_layer(f"{place}.layers[{i}]", layer) for i, layer in enumerate(layers)),
        )
    except InputError as error:
        if error.place.startswith(place):
            raise
        raise InputError(f"{place}.{error.place.removeprefix('block.')}", error.value, error.rule) from None


def _layer(place: str, data: object) -> Layer:
    layer = check_keys(place, data, ("expand", "kernel", "squeeze_excite"), ("expand", "kernel"))
    kernel = check_list(f"{place}.kernel", layer["kernel"])
    try:
        return Layer(layer["expand"], tuple(kernel), layer.get("squeeze_excite", True))  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"{place}.{error.place.removeprefix('layer.')}", error.value, error.rule) from None
