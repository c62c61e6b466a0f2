"""Network of an experiment, as plain data: a published one by name, one described layer by layer, or an ensemble.

Names and nesting are those of the TF Model Garden (official/projects/movinet/configs/movinet.py). The fields stem,
blocks and head of `MovinetConfig`, and num_classes and ensemble of `ModelConfig`, are ours; `results.family.experiment`
emits them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from movinet.training.config.fields import Other
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.base.configuration import configuration, within
from search_space.base.errors import InputError
from search_space.base.names import check_choice
from search_space.published import PUBLISHED
from search_space.variant import Activation, ConvType, Gate, SeType, Variant


@configuration
class StemConfig:
    """Stem.

    Attributes:
      filters: output channels.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = {
        "kernel_size": Other("the stem's kernel is 1x3x3", ((1, 3, 3),)),
        "strides": Other("the stem's stride is 1x2x2", ((1, 2, 2),)),
    }
    filters: int = 0


@configuration
class BlockConfig:
    """Layers of a block; each list has one entry per layer.

    Attributes:
      base_filters: output channels of the block.
      expand_filters: channels of the expansion.
      kernel_sizes: frames, height and width of the depthwise convolution.
      strides: strides in time, height and width.
      squeeze_excite: ours; whether the layer has squeeze-excite. An empty list stands for all.
    """

    base_filters: int = 0
    expand_filters: tuple[int, ...] = ()
    kernel_sizes: tuple[tuple[int, ...], ...] = ()
    strides: tuple[tuple[int, ...], ...] = ()
    squeeze_excite: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        layers = len(self.expand_filters)
        for name in ("kernel_sizes", "strides"):
            if len(getattr(self, name)) != layers:
                raise InputError(name, getattr(self, name), f"must have an entry for each of the {layers} layers")
        if len(self.squeeze_excite) not in (0, layers):
            raise InputError("squeeze_excite", self.squeeze_excite, f"must have none or {layers} entries")
        first, rest = self.strides[:1], set(self.strides[1:])
        if (first and first[0] not in ((1, 1, 1), (1, 2, 2))) or rest - {(1, 1, 1)}:
            raise InputError("strides", self.strides, "must be [1, 1, 1], of the first layer also [1, 2, 2]")

    def block(self) -> Block:
        """Return the block as a value of `search_space`."""
        gates = self.squeeze_excite or (True,) * len(self.expand_filters)
        layers = zip(self.expand_filters, self.kernel_sizes, gates, strict=True)
        made = tuple(Layer(expand, kernel, gate) for expand, kernel, gate in layers)  # type: ignore[arg-type]
        return Block(self.base_filters, self.strides[0][1] if self.strides else 1, made)


@configuration
class HeadConfig:
    """Head.

    Attributes:
      project_filters: channels of the projection before the pool.
      head_filters: units of the dense layer before the classifier.
    """

    project_filters: int = 0
    head_filters: int = 2048


@configuration
class MovinetConfig:
    """MoViNet; `model_id` names a published one unless stem, blocks and head describe one layer by layer.

    Attributes:
      model_id: a0 to a5 or t0.
      causal: uses past frames only, as a stream requires.
      use_positional_encoding: adds the position of a frame to its features.
      conv_type: factorisation of the convolutions.
      se_type: statistics that squeeze-excite reads.
      activation: activation of all layers.
      gating_activation: activation of squeeze-excite.
      stochastic_depth_drop_rate: drop rate of the last layer's branch; grows linearly with depth.
      stem: ours; stem of a network described layer by layer.
      blocks: ours; its blocks.
      head: ours; its head.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = {
        "use_external_states": Other("states are inputs only of a streaming model", (False,)),
        "average_pooling_type": Other("the head pools over the clip", ("3d",)),
        "output_states": Other("states are outputs only of a streaming model"),
    }
    model_id: str = "a0"
    causal: bool = False
    use_positional_encoding: bool = False
    conv_type: ConvType = "3d"
    se_type: SeType = "3d"
    activation: Activation = "swish"
    gating_activation: Gate = "sigmoid"
    stochastic_depth_drop_rate: Annotated[float, within(0, 1 - 1e-6)] = 0.2
    stem: StemConfig | None = None
    blocks: tuple[BlockConfig, ...] | None = None
    head: HeadConfig | None = None

    def __post_init__(self) -> None:
        parts = (self.stem, self.blocks, self.head)
        if any(part is None for part in parts) and any(part is not None for part in parts):
            raise InputError("blocks", self.blocks, "must be given together with stem and head")
        if self.blocks is None:
            check_choice("model_id", self.model_id, PUBLISHED)
        else:
            self.architecture(Clip(1, 1, 1))

    def variant(self) -> Variant:
        """Return the variant of the network's layers."""
        return Variant(
            causal=self.causal,
            conv_type=self.conv_type,
            se_type=self.se_type,
            activation=self.activation,
            gating_activation=self.gating_activation,
            use_positional_encoding=self.use_positional_encoding,
        )

    def architecture(self, clip: Clip) -> Architecture:
        """Return the architecture for this clip."""
        if self.blocks is None or self.stem is None or self.head is None:
            published = PUBLISHED[self.model_id]
            return Architecture(clip, published.stem, published.blocks, published.head)
        blocks = tuple(block.block() for block in self.blocks)
        head = Head(self.head.project_filters, self.head.head_filters)
        return Architecture(clip, Stem(self.stem.filters), blocks, head)


@configuration
class BackboneConfig:
    """Backbone; the Model Garden has others, this project has MoViNet.

    Attributes:
      type: kind of network.
      movinet: settings of MoViNet.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = dict.fromkeys(
        ("resnet_3d", "resnet_3d_rs"), Other("the backbone is movinet", ({}, None))
    )
    type: Literal["movinet"] = "movinet"
    movinet: MovinetConfig = field(default_factory=MovinetConfig)


@configuration
class NormConfig:
    """Batch norm.

    Attributes:
      use_sync_bn: takes the statistics over all replicas together.
      norm_momentum: momentum of the moving statistics.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = {
        "activation": Other("it has no effect, as in the Model Garden"),
        "norm_epsilon": Other("it is part of the network", (0.001,)),
    }
    use_sync_bn: bool = True
    norm_momentum: Annotated[float, within(0, 1 - 1e-9)] = 0.99


@configuration
class MemberConfig:
    """One network of an ensemble.

    Attributes:
      network: YAML file of the network, relative to the folder of the experiment's file.
      experiment: file of the experiment that trains it; for information only.
      clip: frames, height, width and channels of its clip; an empty list takes those of its file.
      frame_stride: distance in source frames between frames of its clip; null uses that of its file.
      offset: frames of the source by which its clip starts later.
      checkpoint: folder or checkpoint of its weights, relative to the folder of the experiment's file.
    """

    network: Annotated[str, Field(min_length=1, validate_default=True)] = ""
    experiment: str = ""
    clip: tuple[int, ...] = ()
    frame_stride: int | None = None
    offset: int = 0
    checkpoint: str = ""


@configuration
class EnsembleConfig:
    """Ensemble of networks that see one clip, `search_space.network.common_clip`, and average their logits.

    Members are trained by separate experiments, or together as one model. Two members of one network at half its frame
    rate, the second with an offset of one frame of the full rate, are a temporal ensemble.

    Attributes:
      combine: how outputs are combined.
      members: networks of the ensemble.
    """

    combine: Literal["mean_logits"] = "mean_logits"
    members: Annotated[tuple[MemberConfig, ...], Field(min_length=1, validate_default=True)] = ()


@configuration
class ModelConfig:
    """Backbone and the dense layers after its pool, or an ensemble.

    Attributes:
      model_type: kind of model.
      backbone: network before the pool.
      norm_activation: settings of batch norms.
      activation: activation of the dense layer of the head.
      dropout_rate: dropout before the classifier.
      num_classes: ours; outputs of the classifier. Null takes those of the data.
      ensemble: ours; networks whose logits are averaged, in place of the backbone.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = {
        "aggregate_endpoints": Other("the head reads the last features", (False,)),
        "require_endpoints": Other("the head reads the last features", (None,)),
        "output_states": Other("states are outputs only of a streaming model", (False,)),
    }
    model_type: Literal["movinet"] = "movinet"
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    norm_activation: NormConfig = field(default_factory=NormConfig)
    activation: Activation = "swish"
    dropout_rate: Annotated[float, within(0, 1 - 1e-6)] = 0.2
    num_classes: int | None = None
    ensemble: EnsembleConfig | None = None
