"""How weights are updated, as plain data: optimizer, learning rate, warm-up and moving average of weights.

Names, nesting and defaults are those of the release (official/modeling/optimization/configs). Where one of several
can be chosen, `type` names it and the field of that name holds its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

from movinet.training.config.fields import Other
from search_space.base.configuration import configuration, within
from search_space.base.errors import InputError

NAME = {"name": Other("only a label")}
MAX_STEPS = 10**12
Steps = Annotated[int, within(0, MAX_STEPS)]
SomeSteps = Annotated[int, within(1, MAX_STEPS)]
Rate = Annotated[float, within(0, 1e6)]
Share = Annotated[float, within(0, 1)]
Norm = Annotated[float, within(1e-30, 1e30)]
Beta = Annotated[float, within(0, 1 - 1e-9)]


@configuration
class Sgd:
    """w -= rate·(momentum·v + g), with Nesterov's look ahead or without."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME | {"decay": Other("a schedule says it", (0,))}
    clipnorm: Norm | None = None
    clipvalue: Norm | None = None
    global_clipnorm: Norm | None = None
    nesterov: bool = False
    momentum: Share = 0.0

    def __post_init__(self) -> None:
        _check_clips(self)


@configuration
class RmsProp:
    """A gradient over the root of `epsilon` plus the moving mean of its square, with momentum."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    clipnorm: Norm | None = None
    clipvalue: Norm | None = None
    global_clipnorm: Norm | None = None
    rho: Share = 0.9
    momentum: Share = 0.0
    epsilon: Rate = 1e-7
    centered: bool = False

    def __post_init__(self) -> None:
        _check_clips(self)


@configuration
class Adam:
    """Moving means of gradient and square, free of their start at zero."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    clipnorm: Norm | None = None
    clipvalue: Norm | None = None
    global_clipnorm: Norm | None = None
    beta_1: Beta = 0.9
    beta_2: Beta = 0.999
    epsilon: Rate = 1e-7
    amsgrad: bool = False

    def __post_init__(self) -> None:
        _check_clips(self)


@configuration
class AdamW:
    """Adam on gradients clipped to `gradient_clip_norm` together, and w -= rate·weight_decay_rate·w.

    The decay is of the weights whose names one of `include_in_weight_decay` finds, and of all others that none of
    `exclude_from_weight_decay` finds; both are regular expressions.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    clipnorm: Norm | None = None
    clipvalue: Norm | None = None
    global_clipnorm: Norm | None = None
    beta_1: Beta = 0.9
    beta_2: Beta = 0.999
    epsilon: Rate = 1e-7
    amsgrad: bool = False
    weight_decay_rate: Rate = 0.0
    include_in_weight_decay: tuple[str, ...] | None = None
    exclude_from_weight_decay: tuple[str, ...] | None = None
    gradient_clip_norm: Rate = 1.0

    def __post_init__(self) -> None:
        _check_clips(self)


def _check_clips(config: Any) -> None:
    clips = ("clipnorm", "clipvalue", "global_clipnorm")
    given = [name for name in clips if getattr(config, name) is not None]
    if len(given) > 1:
        raise InputError(given[1], getattr(config, given[1]), f"cannot be given together with {given[0]}")


@configuration
class Optimizer:
    """One of these."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = dict.fromkeys(
        ("sgd_experimental", "adam_experimental", "adamw_experimental", "lamb", "lars", "adagrad", "slide")
        + ("adafactor", "adafactor_keras"),
        Other("the optimizers are sgd, rmsprop, adam and adamw", ({}, None)),
    )
    type: Literal["sgd", "rmsprop", "adam", "adamw"] = "sgd"
    sgd: Sgd = field(
        default_factory=lambda: Sgd(momentum=0.9, nesterov=True)
    )  # so in the experiment movinet_kinetics600
    rmsprop: RmsProp = field(default_factory=RmsProp)
    adam: Adam = field(default_factory=Adam)
    adamw: AdamW = field(default_factory=AdamW)


@configuration
class Constant:
    """`learning_rate` all along."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    learning_rate: Rate = 0.1


@configuration
class Stepwise:
    """values[0] up to and with step boundaries[0], then values[1], ..."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    boundaries: tuple[int, ...] | None = None
    values: tuple[float, ...] | None = None
    offset: Steps = 0

    def __post_init__(self) -> None:
        boundaries = self.boundaries or ()
        if any(a >= b for a, b in zip(boundaries, boundaries[1:], strict=False)):
            raise InputError("boundaries", self.boundaries, "must increase")
        if self.values is not None and len(self.values) != len(boundaries) + 1:
            raise InputError("values", self.values, "must be one more than boundaries")


@configuration
class Exponential:
    """initial·decay_rate^(step / decay_steps), in stairs or not."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    initial_learning_rate: Rate | None = None
    decay_steps: SomeSteps | None = None
    decay_rate: Rate | None = None
    staircase: bool | None = None
    offset: Steps = 0


@configuration
class Polynomial:
    """From initial to end, as (1 - step / decay_steps)^power."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    initial_learning_rate: Rate | None = None
    decay_steps: SomeSteps | None = None
    end_learning_rate: Rate = 0.0001
    power: Rate = 1.0
    cycle: bool = False
    offset: Steps = 0


@configuration
class Cosine:
    """From initial to `alpha` of it, along half a cosine of `decay_steps` steps."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    initial_learning_rate: Rate | None = 1.6  # the three numbers of the experiment movinet_kinetics600
    decay_steps: SomeSteps | None = 44 * 357
    alpha: Share = 0.0
    offset: Steps = 0


_SCHEDULES = ("constant", "stepwise", "exponential", "polynomial", "cosine")


@configuration
class LearningRate:
    """One of these."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = dict.fromkeys(
        ("power", "power_linear", "power_with_offset", "step_cosine_with_offset"),
        Other(f"the schedules are {', '.join(_SCHEDULES)}", ({}, None)),
    )
    type: Literal["constant", "stepwise", "exponential", "polynomial", "cosine"] = "cosine"
    constant: Constant = field(default_factory=Constant)
    stepwise: Stepwise = field(default_factory=Stepwise)
    exponential: Exponential = field(default_factory=Exponential)
    polynomial: Polynomial = field(default_factory=Polynomial)
    cosine: Cosine = field(default_factory=Cosine)

    def __post_init__(self) -> None:
        chosen = getattr(self, self.type)
        for name in ("initial_learning_rate", "decay_steps", "decay_rate", "values"):
            if getattr(chosen, name, 0) is None:
                raise InputError(f"{self.type}.{name}", None, "must be given")


@configuration
class LinearWarmup:
    """In a straight line from `warmup_learning_rate` to what the schedule has at step `warmup_steps`."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    warmup_learning_rate: Rate = 0.0
    warmup_steps: SomeSteps | None = 5 * 357  # of the experiment movinet_kinetics600


@configuration
class PolynomialWarmup:
    """(step / warmup_steps)^power of what the schedule has at step `warmup_steps`."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    power: Rate = 1.0
    warmup_steps: SomeSteps | None = None


@configuration
class Warmup:
    """One of these, or none."""

    type: Literal["linear", "polynomial"] | None = "linear"
    linear: LinearWarmup = field(default_factory=LinearWarmup)
    polynomial: PolynomialWarmup = field(default_factory=PolynomialWarmup)

    def __post_init__(self) -> None:
        if self.type is not None and getattr(self, self.type).warmup_steps is None:
            raise InputError(f"{self.type}.warmup_steps", None, "must be given")


@configuration
class Ema:
    """The moving average of the weights, which evaluation and the best checkpoint then use."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    trainable_weights_only: bool = True
    average_decay: Share = 0.99
    start_step: Steps = 0
    dynamic_decay: bool = True


@configuration
class OptimizationConfig:
    """All of it."""

    optimizer: Optimizer = field(default_factory=Optimizer)
    ema: Ema | None = None
    learning_rate: LearningRate = field(default_factory=LearningRate)
    warmup: Warmup = field(default_factory=Warmup)
