"""A trained network for inference only: norms are folded into kernels once, so a call runs convolutions only.

Stream sessions, exported models and latency measurements use it. It holds a copy of the weights at creation.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from movinet.model.keras_layers import Bottleneck, Head, MemberClip, States, Stem
from movinet.model.keras_model import prefixed_layers
from movinet.model.ops import Tensor
from movinet.model.stream_ops import Memory


class Folded:
    """A MoViNet for clips and, if causal, for streams; see `fold`."""

    def __init__(self, model: keras.Model) -> None:
        self._layers = [(prefix, layer, *layer.folded()) for prefix, layer in prefixed_layers(model)]

    def __call__(self, clips: Tensor) -> Tensor:
        """Return logits B classes of clips B T H W 3, float32 in 0..1."""
        return self._run(clips, None)[0]

    def step(self, image: Tensor, states: States) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits B classes of all frames so far and the new states, from B T H W 3 and the old states."""
        return self._run(image, states)

    def _run(self, clips: Tensor, states: States | None) -> tuple[Tensor, dict[str, Tensor]]:
        x: Tensor = tf.cast(clips, tf.float32)
        after: dict[str, Tensor] = {}
        for prefix, layer, run, weights in self._layers:
            memory = None if states is None else Memory(_own(states, prefix))
            if isinstance(layer, Stem):
                x = layer.apply(run, weights, x)
            elif isinstance(layer, Bottleneck):
                x = layer.apply(run, weights, x, memory or Memory())
            elif isinstance(layer, Head):
                x = layer.apply(run, weights, x, memory)
            after |= {f"{prefix}_{name}": value for name, value in memory.kept.items()} if memory else {}
        return x, after


def _own(states: States, prefix: str) -> Mapping[str, Tensor]:
    """Return the states of one layer by their short names."""
    return {name.removeprefix(f"{prefix}_"): value for name, value in states.items() if name.startswith(f"{prefix}_")}


class FoldedEnsemble:
    """The mean of the logits of folded members, each with its view of the common clip."""

    def __init__(self, members: list[tuple[MemberClip, Folded]]) -> None:
        self._members = members

    def __call__(self, clips: Tensor) -> Tensor:
        """Return logits B classes of clips B T H W 3, float32 in 0..1."""
        logits = [member(view(tf.cast(clips, tf.float32))) for view, member in self._members]
        return tf.add_n(logits) / len(logits)


def fold(model: keras.Model) -> Folded | FoldedEnsemble:
    """Return the folded form of a model that `movinet.model.keras_model` built.

    Raises:
      InputError: the model was not built by it.
    """
    views = [layer for layer in model.layers if isinstance(layer, MemberClip)]
    members = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if views and len(views) == len(members):
        return FoldedEnsemble([(view, Folded(member)) for view, member in zip(views, members, strict=True)])
    return Folded(model)
