"""The MoViNet space (Kondratyuk et al., arXiv 2103.11511, section 3), built in or from a user's YAML."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from search_space.architecture import (
    MAX_CHANNELS,
    MAX_FRAMES,
    MAX_LAYERS_PER_BLOCK,
    MAX_RESOLUTION,
    Architecture,
    Block,
    Channels,
    Clip,
    Head,
    Kernel,
    Layer,
    Stem,
)
from search_space.base.checks import check_keys, check_schema
from search_space.base.configuration import NOT_EMPTY, Options, configuration, made_from, plain, within
from search_space.base.errors import InputError
from search_space.base.yaml_file import located, read_yaml
from search_space.cost.counting import ArchitectureBatch, CostFunction, count_batch, values_of
from search_space.rounding import DIVISOR, make_divisible
from search_space.space.choices import Choice, Condition, Genotype, SearchSpace

SCHEMA = "movinet-nas/space/1"

KERNELS: tuple[Kernel, ...] = ((1, 3, 3), (1, 5, 5), (1, 7, 7), (5, 1, 1), (7, 1, 1), (3, 3, 3), (5, 3, 3))
EXPANSIONS: tuple[float, ...] = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
WIDTH_MULTIPLIERS: tuple[float, ...] = (0.75, 1.0, 1.25)
BLOCK_STRIDES: tuple[int, ...] = (2, 2, 2, 1, 2)
_MAX_EXPANSION = 64


def scaled_widths(base_width: int, multipliers: Sequence[float] = WIDTH_MULTIPLIERS) -> tuple[int, ...]:
    """Return the nearest multiples of 8 (half up) of the base width times each multiplier, without repeats.

    TuNAS rounds filters in this way. `make_divisible` would turn 0.75 x 24 into 24 and lose the 16 of the published A2.
    """
    return tuple(sorted({max(DIVISOR, int(base_width * m / DIVISOR + 0.5) * DIVISOR) for m in multipliers}))


def _check_kernel(kernel: Kernel) -> Kernel:
    try:
        Layer(DIVISOR, kernel)
    except InputError as error:
        raise InputError("", error.value, error.rule) from None
    return kernel


_Kernel = Annotated[
    Kernel,
    AfterValidator(_check_kernel),
    Field(json_schema_extra={"allowed": "three odd integers, as in [1, 3, 3]"}),
]
_Ratio = Annotated[float, Field(gt=0, le=_MAX_EXPANSION)]


@configuration
class BlockConfig:
    """Options of one block.

    Attributes:
      base_width: unscaled width in channels; `expansions` are relative to it.
      widths: output channels; by default 0.75, 1 and 1.25 times `base_width`.
      stride: spatial stride of the first layer.
      depths: number of layers.
      kernels: sizes in frames x height x width of the depthwise convolution, chosen for each layer.
      expansions: channels of the expansion as ratios of `base_width`, chosen for each layer.
      squeeze_excite: whether a layer has squeeze-excite, chosen for each layer.
    """

    base_width: Annotated[int, within(1, MAX_CHANNELS // _MAX_EXPANSION)]
    widths: Options[Channels]
    stride: Annotated[int, within(1, 2)]
    depths: Options[Annotated[int, within(1, MAX_LAYERS_PER_BLOCK)]]
    kernels: Options[_Kernel] = KERNELS
    expansions: Options[_Ratio] = EXPANSIONS
    squeeze_excite: Options[bool] = (False, True)

    @property
    def expand(self) -> tuple[int, ...]:
        """Channels of the expansions, rounded to 8, ascending, without repeats."""
        return tuple(sorted({make_divisible(ratio * self.base_width) for ratio in self.expansions}))


@configuration
class SpaceConfig:
    """A MoViNet space: the options of every choice, from which a candidate takes one each.

    Attributes:
      name: name of the space.
      classes: outputs of the classifier.
      frames: length of a clip in frames of the source; a candidate of frame stride s sees ceil(frames / s) of them.
      frame_strides: distance in source frames between frames of a candidate's clip.
      resolutions: height and width of a frame in pixels.
      stem_widths: output channels of the stem.
      blocks: options of each block.
      project: channels of the projection before the pool.
      dense: units of the dense layer before the classifier.
    """

    name: Annotated[str, NOT_EMPTY]
    classes: Channels
    frames: Annotated[int, within(1, MAX_FRAMES)]
    frame_strides: Options[Annotated[int, within(1, MAX_FRAMES)]]
    resolutions: Options[Annotated[int, within(1, MAX_RESOLUTION)]]
    stem_widths: Options[Channels]
    blocks: Annotated[tuple[BlockConfig, ...], Field(min_length=1, max_length=16)]
    project: Options[Channels]
    dense: Channels

    def __post_init__(self) -> None:
        for i, stride in enumerate(self.frame_strides):
            if stride > self.frames:
                raise InputError(f"frame_strides[{i}]", stride, f"must be an integer from 1 to {self.frames}")

    def with_strides(self, strides: Sequence[int], place: str = "strides") -> SpaceConfig:
        """Return the space with other spatial strides of its blocks; raise `InputError` for a wrong number."""
        if len(strides) != len(self.blocks):
            raise InputError(place, list(strides), f"must be {len(self.blocks)} strides, one for each block")
        blocks = zip(self.blocks, strides, strict=True)
        return replace(self, blocks=tuple(replace(block, stride=stride) for block, stride in blocks))


def base_config(classes: int = 600) -> SpaceConfig:
    """Return the search space of the MoViNets, around A2: base widths 16 and 24, 48, 96, 96, 192, depth 1 to 10.

    A clip is 10 s at 25 frames per second; frame strides and resolutions are those of the published T0 and A0 to A5.
    """
    blocks = zip((24, 48, 96, 96, 192), BLOCK_STRIDES, strict=True)
    return SpaceConfig(
        name="movinet_a2",
        classes=classes,
        frames=250,
        frame_strides=(10, 5, 3, 2),
        resolutions=(160, 172, 224, 256, 290, 320),
        stem_widths=scaled_widths(16),
        blocks=tuple(BlockConfig(base, scaled_widths(base), stride, tuple(range(1, 11))) for base, stride in blocks),
        project=scaled_widths(512),
        dense=2048,
    )


def to_dict(config: SpaceConfig) -> dict[str, Any]:
    """Return plain, versioned data for YAML or JSON; the inverse of `from_dict`."""
    return {"schema": SCHEMA, **plain(config)}


def from_dict(data: object, place: str = "space") -> SpaceConfig:
    """Return the space from plain data.

    A block requires only `base_width`, `stride` and `depths`: widths default to 0.75, 1 and 1.25 times the base width,
    kernels, expansions and squeeze-excite to those of the MoViNet space.

    Raises:
      InputError: an unknown or missing key, a wrong type, an empty or repeated option, a value out of range.
    """
    return made_from(SpaceConfig, completed(data, place), place)


def completed(data: object, place: str) -> object:
    """Return the keys of a space without its schema, with default widths of blocks; `InputError` for a wrong schema."""
    keys = ["schema", *(each.name for each in fields(SpaceConfig))]
    check_schema(place, data, SCHEMA)
    space = {key: value for key, value in check_keys(place, data, keys, keys).items() if key != "schema"}
    if isinstance(space["blocks"], list | tuple):
        space["blocks"] = [_with_widths(block) for block in space["blocks"]]
    return space


def _with_widths(block: object) -> object:
    base_width = block.get("base_width") if isinstance(block, Mapping) else None
    if not isinstance(base_width, int) or not 1 <= base_width <= MAX_CHANNELS:
        return block
    return {"widths": scaled_widths(base_width), **block}  # type: ignore[dict-item]


def load(path: Path | str) -> SpaceConfig:
    """Return the space in a YAML file; `InputError` if it cannot be read or is not a space."""
    with located(path, "space"):
        return from_dict(read_yaml(path, "space"))


def _volume(kernel: Kernel) -> tuple[int, Kernel]:
    return kernel[0] * kernel[1] * kernel[2], kernel


def _choices(config: SpaceConfig) -> Iterator[Choice]:
    # Cheap options first, so that a tilt over option indices is a tilt in cost.
    yield Choice("frame_stride", tuple(sorted(config.frame_strides, reverse=True)))
    yield Choice("resolution", tuple(sorted(config.resolutions)))
    yield Choice("stem.width", tuple(sorted(config.stem_widths)))
    for i, block in enumerate(config.blocks, 1):
        yield Choice(f"block{i}.depth", tuple(sorted(block.depths)))
        yield Choice(f"block{i}.width", tuple(sorted(block.widths)))
        for j in range(1, max(block.depths) + 1):
            # Layers that every architecture has depend on no other choice.
            condition = Condition(f"block{i}.depth", j) if j > min(block.depths) else None
            yield Choice(f"block{i}.layer{j}.expand", block.expand, condition)
            yield Choice(f"block{i}.layer{j}.kernel", tuple(sorted(block.kernels, key=_volume)), condition)
            yield Choice(f"block{i}.layer{j}.squeeze_excite", tuple(sorted(block.squeeze_excite)), condition)
    yield Choice("head.project", tuple(sorted(config.project)))


def _assemble(config: SpaceConfig, values: Mapping[str, Any]) -> Architecture:
    def layer(prefix: str) -> Layer:
        return Layer(values[f"{prefix}.expand"], values[f"{prefix}.kernel"], values[f"{prefix}.squeeze_excite"])

    def block(i: int) -> Block:
        layers = tuple(layer(f"block{i}.layer{j}") for j in range(1, values[f"block{i}.depth"] + 1))
        return Block(values[f"block{i}.width"], config.blocks[i - 1].stride, layers)

    stride = values["frame_stride"]
    return Architecture(
        clip=Clip(-(-config.frames // stride), values["resolution"], stride),
        stem=Stem(values["stem.width"]),
        blocks=tuple(block(i) for i in range(1, len(config.blocks) + 1)),
        head=Head(values["head.project"], config.dense),
    )


def _disassemble(architecture: Architecture) -> dict[str, Any]:
    values: dict[str, Any] = {
        "frame_stride": architecture.clip.frame_stride,
        "resolution": architecture.clip.resolution,
        "stem.width": architecture.stem.width,
        "head.project": architecture.head.project,
    }
    for i, block in enumerate(architecture.blocks, 1):
        values |= {f"block{i}.depth": len(block.layers), f"block{i}.width": block.width}
        for j, layer in enumerate(block.layers, 1):
            values |= {f"block{i}.layer{j}.{name}": value for name, value in vars(layer).items()}
    return values


@dataclass(frozen=True)
class _Lookup:
    """Options of M choices as numbers, for batches of genotypes."""

    columns: np.ndarray  # [M], of the choices in a genotype
    offsets: np.ndarray  # [M, 1], of each choice's first option in `options`
    options: np.ndarray  # of all M choices, one after another

    def __call__(self, genes: np.ndarray) -> np.ndarray:
        """Return chosen options int64 [M, n] for genes int [G, n]."""
        return self.options[genes[self.columns] + self.offsets]


def _lookup(choices: Sequence[Choice], names: Sequence[str], number: Callable[[Any], int] = int) -> _Lookup:
    position = {choice.name: i for i, choice in enumerate(choices)}
    columns = [position[name] for name in names]
    options = [[number(option) for option in choices[column].options] for column in columns]
    ends = np.cumsum([len(some) for some in options])
    starts = np.concatenate([[0], ends[:-1]])
    return _Lookup(np.array(columns), starts[:, None], np.array([value for some in options for value in some]))


def _lookups(config: SpaceConfig, choices: Sequence[Choice]) -> dict[str, _Lookup]:
    blocks = [(f"block{i}", max(block.depths)) for i, block in enumerate(config.blocks, 1)]
    deepest = max(depth for _, depth in blocks)
    # A block with fewer layers than the deepest repeats its last one; its depth excludes the copies from the count.
    layers = [f"{block}.layer{min(j, depth)}" for block, depth in blocks for j in range(1, deepest + 1)]
    kernels = [f"{layer}.kernel" for layer in layers]
    return {name: _lookup(choices, [name]) for name in ("frame_stride", "resolution", "stem.width", "head.project")} | {
        "width": _lookup(choices, [f"{block}.width" for block, _ in blocks]),
        "depth": _lookup(choices, [f"{block}.depth" for block, _ in blocks]),
        "expand": _lookup(choices, [f"{layer}.expand" for layer in layers]),
        "kernel_time": _lookup(choices, kernels, lambda kernel: kernel[0]),
        "kernel_space": _lookup(choices, kernels, lambda kernel: kernel[1]),
        "squeeze_excite": _lookup(choices, [f"{layer}.squeeze_excite" for layer in layers]),
    }


def _batch(config: SpaceConfig, lookups: Mapping[str, _Lookup], genotypes: np.ndarray) -> ArchitectureBatch:
    """Return genotypes int [n, G] as a structure of arrays with contiguous candidates, for fast counting."""
    genes = np.ascontiguousarray(genotypes.T)
    values = {name: lookup(genes) for name, lookup in lookups.items()}
    shape = (len(config.blocks), -1, len(genotypes))
    layers = {
        name: np.moveaxis(values[name].reshape(shape), -1, 0)
        for name in ("expand", "kernel_time", "kernel_space", "squeeze_excite")
    }
    return ArchitectureBatch(
        frames=-(-config.frames // values["frame_stride"][0]),
        resolution=values["resolution"][0],
        stem=values["stem.width"][0],
        width=values["width"].T,
        depth=values["depth"].T,
        strides=tuple(block.stride for block in config.blocks),
        project=values["head.project"][0],
        dense=np.full(len(genotypes), config.dense),
        **layers,
    )


UserCosts = tuple[tuple[str, CostFunction], ...]  # further costs, by name


def _count(
    config: SpaceConfig, lookups: Mapping[str, _Lookup], user_costs: UserCosts, genotypes: np.ndarray
) -> dict[str, np.ndarray]:
    batch = _batch(config, lookups, genotypes)
    further = {name: values_of(name, function, batch, config.classes) for name, function in user_costs}
    return count_batch(batch, config.classes) | further


@functools.lru_cache(maxsize=16)
def movinet_space(config: SpaceConfig, user_costs: UserCosts = ()) -> SearchSpace[Architecture]:
    """Return the space of all architectures of a config, with exact vectorised costs; cached for equal arguments.

    Functions in `user_costs` count further costs.
    """
    choices = tuple(_choices(config))
    return SearchSpace(
        name=config.name,
        choices=choices,
        assemble=functools.partial(_assemble, config),
        disassemble=_disassemble,
        count=functools.partial(_count, config, _lookups(config, choices), user_costs),
    )


def _distance(option: Any, value: Any) -> tuple[float, ...]:
    """Return the distance of an option from a value: kernels by size in time, then in space."""
    if isinstance(option, tuple):
        return tuple(abs(a - b) for a, b in zip(option, value, strict=True))
    return (abs(option - value),)


def nearest(space: SearchSpace[Architecture], architecture: Architecture) -> Genotype:
    """Return the architecture of a space nearest to one with the same number of blocks and the same strides.

    Every choice takes the nearest option, the cheaper of two equally near ones; the frame stride is the one with the
    nearest number of frames. A block that must be deeper repeats its last layer.

    Raises:
      InputError: another number of blocks or other strides.
    """
    zeros = (0,) * len(space.choices)
    strides, expected = ([block.stride for block in a.blocks] for a in (architecture, space.decode(zeros)))
    if strides != expected:
        raise InputError("blocks.stride", strides, f"must be {expected} to fit the space {space.name}")
    values = _disassemble(architecture) | {"frame_stride": architecture.clip.frames}
    genes = []
    for choice in space.choices:
        options = choice.options
        if choice.name == "frame_stride":
            options = tuple(space.decode((gene, *zeros[1:])).clip.frames for gene in range(len(options)))
        value = values.setdefault(choice.name, values.get(_layer_before(choice.name)))
        genes.append(min(range(len(options)), key=lambda gene: _distance(options[gene], value)))
    return space.canonical(tuple(genes))


def _layer_before(name: str) -> str:
    """Return `block1.layer2.kernel` for `block1.layer3.kernel`, and other names unchanged."""
    parts = name.split(".")
    if len(parts) != 3:
        return name
    return f"{parts[0]}.layer{int(parts[1].removeprefix('layer')) - 1}.{parts[2]}"
