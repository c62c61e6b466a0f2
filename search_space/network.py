"""A network as a file: one architecture or an ensemble, its classes, its exact cost and its origin.

The format is YAML, schema `movinet-nas/network/1`, one layer per line.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from search_space import architecture as single
from search_space.architecture import MAX_CHANNELS, MAX_FRAMES, Architecture, Clip
from search_space.base.checks import check_integer, check_keys, check_list, check_schema
from search_space.base.errors import InputError
from search_space.base.yaml_file import read_yaml
from search_space.cost.counting import COST_NAMES, count
from search_space.variant import BASE, Variant

SCHEMA = "movinet-nas/network/1"
MAX_MEMBERS = 64
LINE = 120  # characters
_KEYS = ("schema", "name", "classes", "target_macs", "cost", "origin", "members")
_OPTIONAL = ("offsets",)


def common_clip(members: tuple[Architecture, ...], offsets: tuple[int, ...] = ()) -> Clip:
    """Return the common clip from which all members of an ensemble take their clips.

    Its frame rate is the lowest that contains every member's frames, its resolution the largest of a member; it is long
    enough for all of them. `offsets` are the source frames by which each member's clip starts later.

    Raises:
      InputError: no members, or offsets that are not one integer of at least 0 for each member.
    """
    if not members:
        raise InputError("members", list(members), "must be at least one architecture")
    if offsets and len(offsets) != len(members):
        raise InputError("offsets", list(offsets), f"must be one for each of {len(members)} members")
    starts = [check_integer(f"offsets[{i}]", offset, 0, MAX_FRAMES) for i, offset in enumerate(offsets)]
    starts = starts or [0] * len(members)
    clips = [member.clip for member in members]
    stride = math.gcd(*(clip.frame_stride for clip in clips), *starts)
    last = max(start + (clip.frames - 1) * clip.frame_stride for start, clip in zip(starts, clips, strict=True))
    return Clip(last // stride + 1, max(clip.resolution for clip in clips), stride)


def network_cost(members: Sequence[Architecture], classes: int, variant: Variant = BASE) -> dict[str, int]:
    """Return exact costs by name (`search_space.cost.counting.Cost`) of a network, or of an ensemble by mean logits.

    Members of an ensemble run one after another with separate weights and stream states: costs add up, except the peak
    of activations, which is the largest.
    """
    costs = [vars(count(member, classes, variant)) for member in members]
    total = {name: sum(cost[name] for cost in costs) for name in COST_NAMES}
    return total | {"activation_bytes": max(cost["activation_bytes"] for cost in costs)}


@dataclass(frozen=True)
class Network:
    """A single network, or with several members their ensemble by mean of logits.

    `cost` is checked against the count. `target_macs` is the cost it was scaled to, if any. `origin` is plain data:
    where the network comes from. `offsets` are the source frames by which each member's clip starts later; if empty,
    all start together.
    """

    name: str
    members: tuple[Architecture, ...]
    classes: int
    cost: Mapping[str, int]
    target_macs: int | None
    origin: Mapping[str, Any]
    offsets: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError("name", self.name, "must be a text that is not empty")
        if not isinstance(self.members, tuple) or not 1 <= len(self.members) <= MAX_MEMBERS:
            raise InputError("members", self.members, f"must be a list of 1 to {MAX_MEMBERS} architectures")
        common_clip(self.members, self.offsets)
        check_integer("classes", self.classes, 1, MAX_CHANNELS)
        if self.target_macs is not None:
            check_integer("target_macs", self.target_macs, 1, 2**63 - 1)
        if not isinstance(self.origin, Mapping):
            raise InputError("origin", self.origin, "must be a mapping")
        check_keys("cost", self.cost, COST_NAMES, COST_NAMES)
        for name, counted in network_cost(self.members, self.classes).items():
            if type(self.cost[name]) is not int or self.cost[name] != counted:
                raise InputError(f"cost.{name}", self.cost[name], f"is not the cost counted from the layers, {counted}")


def counted(
    name: str,
    members: tuple[Architecture, ...],
    classes: int,
    target_macs: int | None = None,
    origin: Mapping[str, Any] | None = None,
    offsets: tuple[int, ...] = (),
) -> Network:
    """Return the network of these members, with its cost.

    Raises:
      InputError: no members, or a number of classes out of range.
    """
    if not isinstance(members, tuple) or not members:
        raise InputError("members", members, "must be at least one architecture")
    check_integer("classes", classes, 1, MAX_CHANNELS)
    return Network(name, members, classes, network_cost(members, classes), target_macs, origin or {}, offsets)


def temporal_ensemble(name: str, architecture: Architecture, classes: int) -> Network:
    """Two copies of a network at half its frame rate, the second one frame later: MoViNets, arXiv 2103.11511, 3.3.

    Together they use the frames of the network itself, each half of them; an odd number is rounded up.
    """
    clip = architecture.clip
    half = dataclasses.replace(clip, frames=-(-clip.frames // 2), frame_stride=2 * clip.frame_stride)
    member = dataclasses.replace(architecture, clip=half)
    return counted(name, (member, member), classes, offsets=(0, clip.frame_stride))


def to_dict(network: Network) -> dict[str, Any]:
    """Return plain, versioned data for YAML or JSON; the inverse of `from_dict`."""
    return {
        "schema": SCHEMA,
        "name": network.name,
        "classes": network.classes,
        "target_macs": network.target_macs,
        "cost": dict(network.cost),
        "origin": dict(network.origin),
        "members": [single.to_dict(member) for member in network.members],
        **({"offsets": list(network.offsets)} if network.offsets else {}),
    }


def from_dict(data: object, place: str = "network") -> Network:
    """Return the network from plain data.

    Raises:
      InputError: an unknown or missing key, a wrong type, a value out of range, another schema, or a recorded cost
        that differs from the counted one.
    """
    check_schema(place, data, SCHEMA)
    top = check_keys(place, data, (*_KEYS, *_OPTIONAL), _KEYS)
    members = tuple(
        single.from_dict(member, f"{place}.members[{i}]")
        for i, member in enumerate(check_list(f"{place}.members", top["members"]))
    )
    try:
        offsets = tuple(check_list("offsets", top.get("offsets", ())))
        return Network(top["name"], members, top["classes"], top["cost"], top["target_macs"], top["origin"], offsets)
    except InputError as error:
        raise InputError(f"{place}.{error.place}", error.value, error.rule) from None


def load(path: Path | str, classes: int = 600) -> Network:
    """Return the network in a YAML file: one that `dump` wrote, or a bare architecture, which gets `classes`.

    Raises:
      InputError: the file cannot be read, is not YAML, or is not a network; see `from_dict`.
    """
    path = Path(path)
    data = read_yaml(path, "network")
    if isinstance(data, Mapping) and data.get("schema") == single.SCHEMA:
        return counted(path.stem, (single.from_dict(data, f"{path}: architecture"),), classes)
    return from_dict(data, f"{path}: network")


def dump(network: Network) -> str:
    """Return the network as YAML; `load` reads it."""
    return yaml_text(to_dict(network))


def yaml_text(data: Mapping[str, Any]) -> str:
    """Return plain data as readable YAML: one line per item of a list, and one line for a list of plain values."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=LINE)


class _Dumper(yaml.SafeDumper):
    """Dumper with block style, except for lists without mappings and for list items of plain values."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal parts in full, without references."""
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        node: yaml.SequenceNode = super().represent_sequence(tag, sequence, flow_style=False)
        node.flow_style = all(_is_flat(item) for item in node.value)
        for item in node.value:
            if isinstance(item, yaml.MappingNode):
                item.flow_style = all(_is_short(value) for _, value in item.value)
        return node

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node: yaml.MappingNode = super().represent_mapping(tag, mapping, flow_style=False)
        return node


def _is_flat(node: yaml.Node) -> bool:
    """Return whether a node has no mapping and no list in block style."""
    return isinstance(node, yaml.ScalarNode) or (isinstance(node, yaml.SequenceNode) and bool(node.flow_style))


def _is_short(node: yaml.Node) -> bool:
    """Return whether a node is a plain value or a list of plain values."""
    values = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return all(isinstance(value, yaml.ScalarNode) for value in values)
