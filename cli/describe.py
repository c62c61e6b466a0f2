"""Description of one network and its costs, as text or data."""

from __future__ import annotations

import os
from typing import Any

from search_space.architecture import MAX_CHANNELS, Architecture, to_dict
from search_space.base.checks import check_integer
from search_space.cost.counting import breakdown
from search_space.network import Network, counted, load, network_cost
from search_space.published import PUBLISHED, published
from search_space.variant import BASE, Variant, released_stream

PUBLISHED_CLASSES = 600  # Kinetics-600


def network_named(name: str, classes: int | None = None) -> Network:
    """Return a published network by name, or one in a YAML file; `classes` replaces its number of classes.

    Raises:
      InputError: neither a published name nor a file, or `classes` is not a positive integer.
    """
    if name.lower() in PUBLISHED or not (os.path.splitext(name)[1] or os.path.exists(name)):
        network = counted(name.lower(), (published(name),), PUBLISHED_CLASSES)
    else:
        network = load(name)
    if classes is None:
        return network
    check_integer("--classes", classes, 1, MAX_CHANNELS)
    return counted(network.name, network.members, classes, network.target_macs, network.origin, network.offsets)


def variant_of(network: Network, stream: bool) -> Variant:
    """Return the described variant: base, or the published stream variant."""
    return released_stream(network.name) if stream else BASE


def describe_json(network: Network, variant: Variant = BASE) -> dict[str, Any]:
    """Return one object: name, classes, all costs of `search_space.cost.counting` and the architectures."""
    return {
        "name": network.name,
        "classes": network.classes,
        **network_cost(network.members, network.classes, variant),
        "members": [to_dict(member) for member in network.members],
    }


def describe_text(network: Network, variant: Variant = BASE) -> str:
    """Return costs and a row for each operation, as text."""
    cost = network_cost(network.members, network.classes, variant)
    form = "stream" if variant.causal else "base"
    lines = [
        f"{network.name}, {form}, {network.classes} classes; one multiply-add counts as one",
        f"  multiply-adds per clip      {cost['macs']:>18,}",
        f"  multiply-adds per frame     {cost['macs_per_frame']:>18,}  (causal stream)",
        f"  trainable parameters        {cost['trainable_parameters']:>18,}",
        f"  total parameters            {cost['total_parameters']:>18,}",
        f"  stream state                {cost['state_bytes']:>18,}  bytes (float32, batch 1)",
        f"  peak activations            {cost['activation_bytes']:>18,}  bytes (float32, batch 1, whole clip)",
    ]
    for member in network.members:
        lines += ["", *_operations(member, network.classes, variant)]
    return "\n".join(lines)


def _operations(member: Architecture, classes: int, variant: Variant) -> list[str]:
    clip, rows = member.clip, breakdown(member, classes, variant)
    wide = max(len(row.name) for row in rows)
    head = f"{'operation':<{wide}}  {'class':<9}  {'output T H W C':<15}  {'multiply-adds':>14}  {'parameters':>10}"
    lines = [f"clip: {clip.frames} frames of {clip.resolution} x {clip.resolution}, {_every(clip.frame_stride)}", head]
    for row in rows:
        shape = " ".join(map(str, row.shape))
        sizes = f"{row.macs:>14,}  {row.trainable_parameters:>10,}"
        lines.append(f"{row.name:<{wide}}  {row.op_class:<9}  {shape:<15}  {sizes}")
    return lines


def _every(stride: int) -> str:
    """Describe a frame stride in words."""
    if stride == 1:
        return "every one of the source"
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(stride % 10, "th") if stride % 100 not in (11, 12, 13) else "th"
    return f"every {stride}{suffix} of the source"
