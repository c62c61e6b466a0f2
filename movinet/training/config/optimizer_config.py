"""How weights are updated, as plain data: optimizer, learning rate, warm-up and moving average of weights.

Names, nesting and defaults are those of the release (official/modeling/optimization/configs). Where one of several
can be chosen, `type` names it and the field of that name holds its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from movinet.training.config.fields import Other, check_range, check_types
from search_space.base.errors import InputError
from search_space.base.names import check_choice

NAME = {"name": Other("only a label")}
MAX_STEPS = 10**12


@dataclass(frozen=True)
class Sgd:
    """w -= rate·(momentum·v + g), with Nesterov's look ahead or without."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME | {"decay": Other("a schedule says it", (0,))}
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    nesterov: bool = False
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _check_clips(self)
        check_range(self, 0, 1, "momentum")


@dataclass(frozen=True)
class RmsProp:
    """A gradient over the root of `epsilon` plus the moving mean of its square, with momentum."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False

    def __post_init__(self) -> None:
        _check_clips(self)
        check_range(self, 0, 1, "rho", "momentum")
        check_range(self, 0, 1e6, "epsilon")


@dataclass(frozen=True)
class Adam:
    """Moving means of gradient and square, free of their start at zero."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False

    def __post_init__(self) -> None:
        _check_clips(self)
        _check_betas(self)


@dataclass(frozen=True)
class AdamW:
    """Adam on gradients clipped to `gradient_clip_norm` together, and w -= rate·weight_decay_rate·w.

    The decay is of the weights whose names one of `include_in_weight_decay` finds, and of all others that none of
    `exclude_from_weight_decay` finds; both are regular expressions.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False
    weight_decay_rate: float = 0.0
    include_in_weight_decay: tuple[str, ...] | None = None
    exclude_from_weight_decay: tuple[str, ...] | None = None
    gradient_clip_norm: float = 1.0

    def __post_init__(self) -> None:
        _check_clips(self)
        _check_betas(self)
        check_range(self, 0, 1e6, "weight_decay_rate", "gradient_clip_norm")


def _check_clips(config: Any) -> None:
    check_types(config)
    clips = ("clipnorm", "clipvalue", "global_clipnorm")
    check_range(config, 1e-30, 1e30, *clips)
    given = [name for name in clips if getattr(config, name) is not None]
    if len(given) > 1:
        raise InputError(given[1], getattr(config, given[1]), f"cannot be given together with {given[0]}")


def _check_betas(config: Any) -> None:
    check_range(config, 0, 1 - 1e-9, "beta_1", "beta_2")
    check_range(config, 0, 1e6, "epsilon")


@dataclass(frozen=True)
class Optimizer:
    """One of these."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = dict.fromkeys(
        ("sgd_experimental", "adam_experimental", "adamw_experimental", "lamb", "lars", "adagrad", "slide")
        + ("adafactor", "adafactor_keras"),
        Other("the optimizers are sgd, rmsprop, adam and adamw", ({}, None)),
    )
    type: str = "sgd"
    sgd: Sgd = field(
        default_factory=lambda: Sgd(momentum=0.9, nesterov=True)
    )  # so in the experiment movinet_kinetics600
    rmsprop: RmsProp = field(default_factory=RmsProp)
    adam: Adam = field(default_factory=Adam)
    adamw: AdamW = field(default_factory=AdamW)

    def __post_init__(self) -> None:
        check_types(self)
        check_choice("type", self.type, ("sgd", "rmsprop", "adam", "adamw"))


@dataclass(frozen=True)
class Constant:
    """`learning_rate` all along."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, 0, 1e6, "learning_rate")


@dataclass(frozen=True)
class Stepwise:
    """values[0] up to and with step boundaries[0], then values[1], ..."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    boundaries: tuple[int, ...] | None = None
    values: tuple[float, ...] | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        boundaries = self.boundaries or ()
        if any(a >= b for a, b in zip(boundaries, boundaries[1:], strict=False)):
            raise InputError("boundaries", self.boundaries, "must increase")
        if self.values is not None and len(self.values) != len(boundaries) + 1:
            raise InputError("values", self.values, "must be one more than boundaries")


@dataclass(frozen=True)
class Exponential:
    """initial·decay_rate^(step / decay_steps), in stairs or not."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    initial_learning_rate: float | None = None
    decay_steps: int | None = None
    decay_rate: float | None = None
    staircase: bool | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        _check_decay(self)
        check_range(self, 0, 1e6, "decay_rate")


@dataclass(frozen=True)
class Polynomial:
    """From initial to end, as (1 - step / decay_steps)^power."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    initial_learning_rate: float | None = None
    decay_steps: int | None = None
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    offset: int = 0

    def __post_init__(self) -> None:
        _check_decay(self)
        check_range(self, 0, 1e6, "end_learning_rate", "power")


@dataclass(frozen=True)
class Cosine:
    """From initial to `alpha` of it, along half a cosine of `decay_steps` steps."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    initial_learning_rate: float | None = 1.6  # the three numbers of the experiment movinet_kinetics600
    decay_steps: int | None = 44 * 357
    alpha: float = 0.0
    offset: int = 0

    def __post_init__(self) -> None:
        _check_decay(self)
        check_range(self, 0, 1, "alpha")


def _check_decay(config: Any) -> None:
    check_types(config)
    check_range(config, 0, 1e6, "initial_learning_rate")
    check_range(config, 1, MAX_STEPS, "decay_steps")
    check_range(config, 0, MAX_STEPS, "offset")


_SCHEDULES = ("constant", "stepwise", "exponential", "polynomial", "cosine")


@dataclass(frozen=True)
class LearningRate:
    """One of these."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = dict.fromkeys(
        ("power", "power_linear", "power_with_offset", "step_cosine_with_offset"),
        Other(f"the schedules are {', '.join(_SCHEDULES)}", ({}, None)),
    )
    type: str = "cosine"
    constant: Constant = field(default_factory=Constant)
    stepwise: Stepwise = field(default_factory=Stepwise)
    exponential: Exponential = field(default_factory=Exponential)
    polynomial: Polynomial = field(default_factory=Polynomial)
    cosine: Cosine = field(default_factory=Cosine)

    def __post_init__(self) -> None:
        check_types(self)
        check_choice("type", self.type, _SCHEDULES)
        chosen = getattr(self, self.type)
        for name in ("initial_learning_rate", "decay_steps", "decay_rate", "values"):
            if getattr(chosen, name, 0) is None:
                raise InputError(f"{self.type}.{name}", None, "must be given")


@dataclass(frozen=True)
class LinearWarmup:
    """In a straight line from `warmup_learning_rate` to what the schedule has at step `warmup_steps`."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    warmup_learning_rate: float = 0.0
    warmup_steps: int | None = 5 * 357  # of the experiment movinet_kinetics600

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, 0, 1e6, "warmup_learning_rate")
        check_range(self, 1, MAX_STEPS, "warmup_steps")


@dataclass(frozen=True)
class PolynomialWarmup:
    """(step / warmup_steps)^power of what the schedule has at step `warmup_steps`."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    power: float = 1.0
    warmup_steps: int | None = None

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, 0, 1e6, "power")
        check_range(self, 1, MAX_STEPS, "warmup_steps")


@dataclass(frozen=True)
class Warmup:
    """One of these, or none."""

    type: str | None = "linear"
    linear: LinearWarmup = field(default_factory=LinearWarmup)
    polynomial: PolynomialWarmup = field(default_factory=PolynomialWarmup)

    def __post_init__(self) -> None:
        check_types(self)
        if self.type is not None:
            check_choice("type", self.type, ("linear", "polynomial"))
            if getattr(self, self.type).warmup_steps is None:
                raise InputError(f"{self.type}.warmup_steps", None, "must be given")


@dataclass(frozen=True)
class Ema:
    """The moving average of the weights, which evaluation and the best checkpoint then use."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    trainable_weights_only: bool = True
    average_decay: float = 0.99
    start_step: int = 0
    dynamic_decay: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, 0, 1, "average_decay")
        check_range(self, 0, MAX_STEPS, "start_step")


@dataclass(frozen=True)
class OptimizationConfig:
    """All of it."""

    optimizer: Optimizer = field(default_factory=Optimizer)
    ema: Ema | None = None
    learning_rate: LearningRate = field(default_factory=LearningRate)
    warmup: Warmup = field(default_factory=Warmup)

    def __post_init__(self) -> None:
        check_types(self)
