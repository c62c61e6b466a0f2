"""How a network is carried out: a whole clip, or a stream. Field names are those of the release's `Movinet` config.

An `Architecture` says what the layers are; a variant says how each of them works. The same architecture has other
weights in another variant (a temporal kernel of its own in `2plus1d`, a wider squeeze-excite in `2plus3d`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from search_space.base.configuration import configuration, made_from

# `3d_2plus1d` computes what `2plus1d` does, with the same weights: in the release it is the form for training.
ConvType = Literal["3d", "2plus1d", "3d_2plus1d"]
SeType = Literal["3d", "2d", "2plus3d", "none"]
Activation = Literal["swish", "hard_swish", "relu", "relu6"]
Gate = Literal["sigmoid", "hard_sigmoid"]


@configuration
class Variant:
    """Form of the layers of a network.

    Attributes:
      causal: no frame sees a later one, so that the network can run on a stream.
      conv_type: "3d": a depthwise kernel over time and space; "2plus1d": one over space, norm and activation, then one
        over time with norm and activation of its own (none where the kernel has one frame).
      se_type: statistics that squeeze-excite reads: "3d" the mean over the clip (of a causal network, over the frames
        so far), "2d" that of each frame, "2plus3d" both side by side; "none" switches squeeze-excite off in all layers.
      activation: activation of the layers.
      gating_activation: activation of squeeze-excite's gate.
      use_positional_encoding: add a sinusoidal code of the frame's number to what squeeze-excite sees, times a learned
        scalar; causal networks only.
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
        """Whether depthwise kernels are split into one over space and one over time."""
        return self.conv_type != "3d"

    @property
    def encodes_position(self) -> bool:
        """Whether there is a positional encoding; as in the release, only where the network is causal."""
        return self.causal and self.use_positional_encoding and self.se_type != "none"

    @property
    def remembers_mean(self) -> bool:
        """Whether squeeze-excite carries the mean over the frames so far."""
        return "3d" in self.se_type


BASE = Variant()
STREAM = Variant(True, "2plus1d", "2plus3d", "hard_swish", "hard_sigmoid")
POSITIONED = ("a3", "a4", "a5")  # whose released stream models have a positional encoding


def released_stream(name: str) -> Variant:
    """The variant of the released stream model called `name`: a0 ... a5 or t0."""
    return replace(STREAM, use_positional_encoding=name.lower() in POSITIONED)


def from_dict(data: object, place: str = "variant") -> Variant:
    """The variant written as plain data; absent fields are those of `BASE`.

    Raises:
      InputError: an unknown key or a value that is not one of the known.
    """
    return made_from(Variant, data, place)
