"""Mapping from objects of the TF Model Garden's checkpoints to weights of this project.

Kernels differ in their layout only by axes of length one: a 1x1x1 convolution is [1,1,1,C,D] or [1,1,C,D] there and
[C,D] here, a depthwise one [kT,k,k,1,C] there and [kT,k,k,C] here, its factorised parts [k,k,C,1] and [kT,1,C,1] or
[1,k,k,1,C] and [kT,1,1,1,C] there. So only names have to be mapped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from movinet.weights.object_graph import Node

# A kernel, its bias and its norm: our suffix, and the possible paths from the Model Garden's `ConvBlock`.
# `{}` is empty, or `_temporal` for the second kernel of a factorised block. In 2plus1d a layer
# wraps the convolution.
_CONVOLUTION = {
    "": ("_conv{}/kernel", "_conv{}/depthwise_kernel", "_conv{}/_conv/kernel", "_conv{}/_conv/depthwise_kernel"),
    "_bias": ("_conv{}/bias", "_conv{}/_conv/bias"),
    "_gamma": ("_batch_norm{}/gamma",),
    "_beta": ("_batch_norm{}/beta",),
    "_moving_mean": ("_batch_norm{}/moving_mean",),
    "_moving_variance": ("_batch_norm{}/moving_variance",),
}


def _convolution(ours: str, block: str, which: str = "") -> dict[str, tuple[str, ...]]:
    return {
        f"{ours}{suffix}": tuple(f"{block}/{path.format(which)}" for path in paths)
        for suffix, paths in _CONVOLUTION.items()
    }


# Our name of a weight: the possible paths from the Model Garden's layer.
STEM = _convolution("conv", "_stem")
BOTTLENECK = {
    **_convolution("expand", "_expansion"),
    **_convolution("depthwise", "_feature"),
    **_convolution("temporal", "_feature", "_temporal"),
    **_convolution("squeeze", "_attention/_se_reduce"),
    **_convolution("excite", "_attention/_se_expand"),
    "positional": ("_attention/_pos_encoding/_rezero/scale",),
    **_convolution("project", "_projection"),
    "rezero": ("_mobile_bottleneck/_rezero/scale",),
    **_convolution("skip", "_skip/_projection"),
}
HEAD = _convolution("project", "_project")
CLASSIFIER = {**_convolution("dense", "_head"), **_convolution("classifier", "_classifier")}


def release_variables(root: Node, bottlenecks: Sequence[str]) -> tuple[dict[str, Node], list[str]]:
    """Return the variables of a checkpoint's MoViNet by our names, and the keys of unknown ones.

    The backbone is the first object whose numbered layers begin with a stem: a classifier may hold it, or the file may
    hold a backbone only. A file has no names of layers, so the bottlenecks get the names `bottlenecks`, in order.
    """
    objects = list(root.walk())
    backbone = next((layers for layers in map(_numbered_layers, objects) if _holding(layers, "_stem")), [])
    inner = _holding(backbone, "_mobile_bottleneck")
    names = [*bottlenecks, *(f"layer{i}" for i in range(len(bottlenecks) + 1, len(inner) + 1))]
    layers = [
        *(("stem", layer, STEM) for layer in _holding(backbone, "_stem")),
        *((name, layer, BOTTLENECK) for name, layer in zip(names, inner, strict=False)),
        *(("head", layer, HEAD) for layer in _holding(backbone, "_project")),
        *(("head", layer, CLASSIFIER) for layer in _holding(objects, "_classifier")[:1]),
    ]
    found = {name: node for place, layer, table in layers for name, node in _named(place, layer, table)}
    held = {node for _, layer, _ in layers for node in layer.walk() if node.key}
    return found, sorted(node.key for node in held - set(found.values()))


def _named(place: str, layer: Node, table: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, Node]]:
    for name, paths in table.items():
        for node in filter(None, map(layer.child, paths)):
            yield f"{place}/{name}", node


def _numbered_layers(holder: Node) -> list[Node]:
    """Return the layers of a Keras 2 model in order: `layer-3`, those with weights also `layer_with_weights-2`."""
    numbered = [
        (match[1], int(match[2]), held)
        for name, held in holder.children()
        if (match := re.fullmatch(r"(layer|layer_with_weights)-(\d+)", name))
    ]
    return list(dict.fromkeys(held for *_, held in sorted(numbered, key=lambda entry: entry[:2])))


def _holding(objects: Sequence[Node], name: str) -> list[Node]:
    return [node for node in objects if node.child(name) is not None]
