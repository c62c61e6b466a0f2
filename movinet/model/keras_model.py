"""Keras models of any architecture, and of an ensemble, made of `keras_layers`.

A model takes `B T H W C` clips in 0..1 and returns `B classes` logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import keras

from movinet.model.keras_layers import Bottleneck, Head, MemberClip, Stem
from movinet.model.specs import bottlenecks, head_spec, layer_seeds
from search_space.architecture import Architecture, Clip
from search_space.base.errors import InputError
from search_space.network import Network, common_clip
from search_space.variant import BASE, Variant


def build(
    architecture: Architecture,
    classes: int,
    *,
    variant: Variant = BASE,
    input_shape: tuple[int | None, int | None, int | None] | None = None,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    norm_momentum: float = 0.99,
    seed: int = 0,
    name: str = "movinet",
) -> keras.Model:
    """Build the Keras model of an architecture for whole clips; `stream.streaming` builds its frame-by-frame model.

    Args:
      architecture: the network.
      classes: number of classes.
      variant: variant of its layers; a causal network starts every clip with empty states.
      input_shape: frames, height and width if not those of the architecture's clip; None for a size that varies.
      dropout: before the classifier; the TF Model Garden trains A0 with 0.2, A1 to A5 with 0.5.
      stochastic_depth: drop rate of the last layer, growing linearly with depth; 0.2 in the Model Garden's recipe.
      norm_momentum: of the moving statistics; 0.99 in the Model Garden.
      seed: of the initial weights, dropout and stochastic depth.
      name: of the model.

    Returns:
      A model from clips `B T H W 3` in 0..1 to logits `B classes`, float32.

    Raises:
      InputError: `classes` is not a positive integer, or a rate is not a number from 0 to less than 1.
    """
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise InputError("classes", classes, "must be an integer of at least 1")
    rates = {"dropout": dropout, "stochastic_depth": stochastic_depth, "norm_momentum": norm_momentum}
    for place, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise InputError(place, rate, "must be a number from 0 to less than 1")
    named = list(bottlenecks(architecture, variant))
    seeds = layer_seeds(seed, len(named) + 2)
    clips = keras.Input((*(input_shape or _shape(architecture.clip)), 3), name="clips")
    x = Stem(architecture.stem.width, seeds[0], norm_momentum, variant, name="stem")(clips)
    for i, (layer_name, spec) in enumerate(named, 1):
        drop_rate = stochastic_depth * i / len(named)
        x = Bottleneck(
            **asdict(spec), seed=seeds[i], norm_momentum=norm_momentum, drop_rate=drop_rate, name=layer_name
        )(x)
    head = head_spec(architecture, classes, variant)
    logits = Head(**asdict(head), seed=seeds[-1], norm_momentum=norm_momentum, dropout=dropout, name="head")(x)
    return keras.Model(clips, logits, name=name)


def _shape(clip: Clip) -> tuple[int, int, int]:
    return clip.frames, clip.resolution, clip.resolution


def build_ensemble(
    architectures: Sequence[Architecture],
    classes: int,
    *,
    offsets: Sequence[int] = (),
    variant: Variant = BASE,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    norm_momentum: float = 0.99,
    seed: int = 0,
    name: str = "ensemble",
) -> keras.Model:
    """Build one model that averages the logits of several networks on one clip.

    The clip is `search_space.network.common_clip`: the members' common frame rate and their largest resolution. Each
    member takes frames of it at its own rate, offset and resolution. Two copies of a network at half the frame rate,
    the
    second offset by one frame of the full rate, are a temporal ensemble.

    Args:
      architectures: the members.
      offsets: source frames by which each member's clip starts later; empty: all start together.
      classes, variant, dropout, stochastic_depth, norm_momentum, name: see `build`; the same for all members.
      seed: of the first member; the next members have the following seeds, as equal members would be identical.

    Raises:
      InputError: `architectures` is empty, or `offsets` has another length.
    """
    clip = common_clip(tuple(architectures), tuple(offsets))
    image = keras.Input((*_shape(clip), 3), name="clips")
    logits = []
    for i, architecture in enumerate(architectures):
        own = architecture.clip
        member = build(
            architecture,
            classes,
            variant=variant,
            dropout=dropout,
            stochastic_depth=stochastic_depth,
            norm_momentum=norm_momentum,
            seed=seed + i,
            name=f"member{i + 1}",
        )
        offset = offsets[i] // clip.frame_stride if offsets else 0
        stride = own.frame_stride // clip.frame_stride
        view = MemberClip(offset, stride, own.frames, own.resolution, name=f"clip{i + 1}")
        logits.append(member(view(image)))
    # Logits are float32 at any precision of the members.
    mean = keras.layers.Average(dtype="float32", name="mean")(logits) if len(logits) > 1 else logits[0]
    return keras.Model(image, mean, name=name)


def build_network(network: Network, **options: Any) -> keras.Model:
    """Build the model of a network file: one network or an ensemble; `options` are those of `build`."""
    if len(network.members) == 1:
        return build(network.members[0], network.classes, **options)
    return build_ensemble(network.members, network.classes, offsets=network.offsets, **options)


def prefixed_layers(model: keras.Model) -> list[tuple[str, Any]]:
    """Return stem, bottlenecks and head in order, each with the Model Garden's prefix of its states, counted from 0.

    Raises:
      InputError: the model is not a single MoViNet.
    """
    found = []
    for layer in model.layers:
        if isinstance(layer, Bottleneck):
            block, place = layer.name.removeprefix("block").split("_layer")
            found.append((f"state_block{int(block) - 1}_layer{int(place) - 1}", layer))
        elif isinstance(layer, Stem | Head):
            found.append((f"state_{layer.name}", layer))
    if not found or len(found) != len(model.layers) - 1 or not isinstance(found[-1][1], Head):
        raise InputError("model", model.name, "must be a single MoViNet, not an ensemble or another model")
    return found
