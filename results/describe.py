"""What one network is and costs, as text or data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from search_space.architecture import to_dict
from search_space.cost import breakdown
from search_space.errors import InputError
from search_space.network import Network, counted, load
from search_space.published import PUBLISHED, published

PUBLISHED_CLASSES = 600  # Kinetics-600


def network_named(name: str, classes: int | None = None) -> Network:
    """A published network by name, or one in a YAML file, with another number of classes if given.

    Raises:
      InputError: neither such a name nor such a file, or `classes` is not a positive integer.
    """
    if name.lower() in PUBLISHED or not (Path(name).suffix or Path(name).exists()):
        network = counted(name.lower(), (published(name.lower()),), PUBLISHED_CLASSES)
    else:
        network = load(name)
    if classes is None:
        return network
    if classes < 1:
        raise InputError("--classes", classes, "must be an integer of at least 1")
    return counted(network.name, network.members, classes, network.target_macs, network.origin)


def describe_json(network: Network) -> dict[str, Any]:
    """One object: name, classes, every cost by name, and the architectures of the members."""
    return {
        "name": network.name,
        "classes": network.classes,
        **network.cost,
        "members": [to_dict(member) for member in network.members],
    }


def describe_text(network: Network) -> str:
    """Costs and a row for each operation, for people."""
    cost = network.cost
    lines = [
        f"{network.name}, {network.classes} classes; one multiply-add counts as one",
        f"  multiply-adds per clip      {cost['macs']:>18,}",
        f"  multiply-adds per frame     {cost['macs_per_frame']:>18,}  (causal stream)",
        f"  trainable parameters        {cost['trainable_parameters']:>18,}",
        f"  total parameters            {cost['total_parameters']:>18,}",
        f"  stream state                {cost['state_bytes']:>18,}  bytes (float32, batch 1)",
        f"  peak activations            {cost['activation_bytes']:>18,}  bytes (float32, batch 1, whole clip)",
    ]
    for member in network.members:
        clip = member.clip
        lines += ["", f"clip {clip.frames} frames of {clip.resolution}x{clip.resolution}, every {clip.frame_stride}th"]
        lines.append(f"  {'operation':<30}{'class':<11}{'output T H W C':<20}{'multiply-adds':>16}{'parameters':>13}")
        for row in map(dataclasses.asdict, breakdown(member, network.classes)):
            shape = " ".join(map(str, row["shape"]))
            lines.append(
                f"  {row['name']:<30}{row['op_class']:<11}{shape:<20}{row['macs']:>16,}{row['trainable_parameters']:>13,}"
            )
    return "\n".join(lines)
