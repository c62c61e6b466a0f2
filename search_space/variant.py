"""Variants of a network, for whole clips or streams. Field names are those of the TF Model Garden's `Movinet` config.

An `Architecture` defines the layers; a variant defines how each layer works. The same architecture has other weights
in another variant (a separate temporal kernel in `2plus1d`, a wider squeeze-excite in `2plus3d`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from search_space.base.configuration import configuration, made_from

# `3d_2plus1d` computes the same as `2plus1d`, with the same weights: the Model Garden uses it for training.
ConvType = Literal["3d", "2plus1d", "3d_2plus1d"]
SeType = Literal["3d", "2d", "2plus3d", "none"]
Activation = Literal["swish", "hard_swish", "relu", "relu6"]
Gate = Literal["sigmoid", "hard_sigmoid"]


@configuration
class Variant:
    """Form of the layers of a network.

    Attributes:
      causal: outputs depend on past frames only, so that the network can run on a stream.
      conv_type: "3d": a depthwise kernel over time and space; "2plus1d": one over space, norm and activation, then one
        over time with separate norm and activation (none if the kernel has one frame).
      se_type: statistics that squeeze-excite reads: "3d" the mean over the clip (of a causal network, over the frames
        so far), "2d" that of each frame, "2plus3d" both side by side; "none" switches squeeze-excite off in all layers.
      activation: activation of the layers.
      gating_activation: activation of squeeze-excite's gate.
      use_positional_encoding: add a sinusoidal code of the frame's number, times a learned scalar, to the input of
        squeeze-excite; causal networks only.
      classifier_activation: activation after the dense layer of the head. In the Model Garden implementation it
        belongs to the classifier, not to the backbone (`model.activation`; `--classifier_activation` of its export),
        and is swish in its stream models too.
    """

    causal: bool = False
    conv_type: ConvType = "3d"
    se_type: SeType = "3d"
    activation: Activation = "swish"
    gating_activation: Gate = "sigmoid"
    use_positional_encoding: bool = False
    classifier_activation: Activation = "swish"

    @property
    def factorised(self) -> bool:
        """True if depthwise kernels are split into one over space and one over time."""
        return self.conv_type != "3d"

    @property
    def encodes_position(self) -> bool:
        """True if there is a positional encoding; as in the Model Garden, only for causal networks."""
        return self.causal and self.use_positional_encoding and self.se_type != "none"

    @property
    def remembers_mean(self) -> bool:
        """True if squeeze-excite keeps the mean over the frames so far."""
        return "3d" in self.se_type


BASE = Variant()
STREAM = Variant(True, "2plus1d", "2plus3d", "hard_swish", "hard_sigmoid")
POSITIONED = ("a3", "a4", "a5")  # whose published stream models have a positional encoding


def released_stream(name: str) -> Variant:
    """Return the variant of the published stream model called `name`: a0 ... a5 or t0."""
    return replace(STREAM, use_positional_encoding=name.lower() in POSITIONED)


def from_dict(data: object, place: str = "variant") -> Variant:
    """Return the variant from plain data; absent fields are those of `BASE`.

    Raises:
      InputError: an unknown key or value.
    """
    return made_from(Variant, data, place)
