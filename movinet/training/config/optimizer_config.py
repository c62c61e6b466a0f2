"""Update of weights, as plain data: optimizer, learning rate, warm-up and moving average of weights.

Names, nesting and defaults are those of the TF Model Garden (official/modeling/optimization/configs). Where there is a
choice, `type` names one option and the field of that name holds its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, ClassVar, Literal

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
class Clipped:
    """Clipping of gradients, in one way at most.

    Attributes:
      clipnorm: norm to which the gradient of each weight is clipped; null does not clip.
      clipvalue: absolute value to which each element of a gradient is clipped; null does not clip.
      global_clipnorm: norm to which all gradients together are clipped; null does not clip.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    clipnorm: Norm | None = None
    clipvalue: Norm | None = None
    global_clipnorm: Norm | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(given[1], getattr(self, given[1]), f"cannot be given together with {given[0]}")


@configuration
class Sgd(Clipped):
    """Stochastic gradient descent with momentum.

    Attributes:
      nesterov: uses Nesterov's momentum.
      momentum: momentum; 0 has none.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME | {"decay": Other("the schedule sets the learning rate", (0,))}
    nesterov: bool = False
    momentum: Share = 0.0


@configuration
class RmsProp(Clipped):
    """RMSProp: the gradient over the root of `epsilon` plus the moving mean of its square, with momentum.

    Attributes:
      rho: decay of the moving mean of the square.
      momentum: momentum; 0 has none.
      epsilon: number added under the root, against a division by zero.
      centered: subtracts the square of the moving mean of the gradient.
    """

    rho: Share = 0.9
    momentum: Share = 0.0
    epsilon: Rate = 1e-7
    centered: bool = False


@configuration
class Adam(Clipped):
    """Adam: moving means of the gradient and of its square, corrected for their start at zero.

    Attributes:
      beta_1: decay of the moving mean of the gradient.
      beta_2: decay of the moving mean of its square.
      epsilon: number added to the root, against a division by zero.
      amsgrad: uses the largest moving mean of the square so far.
    """

    beta_1: Beta = 0.9
    beta_2: Beta = 0.999
    epsilon: Rate = 1e-7
    amsgrad: bool = False


@configuration
class AdamW(Adam):
    """AdamW: Adam with decoupled weight decay, w -= rate·weight_decay_rate·w.

    Attributes:
      weight_decay_rate: weight decay.
      include_in_weight_decay: regular expressions; weights with a matching name are decayed.
      exclude_from_weight_decay: regular expressions; all other weights are decayed unless their name matches.
      gradient_clip_norm: norm to which all gradients together are clipped.
    """

    weight_decay_rate: Rate = 0.0
    include_in_weight_decay: tuple[str, ...] | None = None
    exclude_from_weight_decay: tuple[str, ...] | None = None
    gradient_clip_norm: Rate = 1.0


@configuration
class Optimizer:
    """Optimizer; `type` selects the section that counts.

    Attributes:
      type: section that counts.
      sgd: settings of stochastic gradient descent.
      rmsprop: settings of RMSProp.
      adam: settings of Adam.
      adamw: settings of AdamW.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = dict.fromkeys(
        ("sgd_experimental", "adam_experimental", "adamw_experimental", "lamb", "lars", "adagrad", "slide")
        + ("adafactor", "adafactor_keras"),
        Other("the optimizers are sgd, rmsprop, adam and adamw", ({}, None)),
    )
    type: Literal["sgd", "rmsprop", "adam", "adamw"] = "sgd"
    sgd: Sgd = field(
        default_factory=lambda: Sgd(momentum=0.9, nesterov=True)
    )  # as in the experiment movinet_kinetics600
    rmsprop: RmsProp = field(default_factory=RmsProp)
    adam: Adam = field(default_factory=Adam)
    adamw: AdamW = field(default_factory=AdamW)


@configuration
class Constant:
    """Constant learning rate.

    Attributes:
      learning_rate: learning rate.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    learning_rate: Rate = 0.1


@configuration
class Stepwise:
    """Piecewise constant learning rate.

    Attributes:
      boundaries: last step of each piece but the last one.
      values: learning rate of each piece, one more than boundaries.
      offset: steps by which the schedule starts later.
    """

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
    """Exponential decay: initial·decay_rate^(step / decay_steps).

    Attributes:
      initial_learning_rate: learning rate at the start.
      decay_steps: steps of the decay.
      decay_rate: factor per `decay_steps`.
      staircase: decays at whole multiples of `decay_steps` only.
      offset: steps by which the schedule starts later.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    initial_learning_rate: Rate | None = None
    decay_steps: SomeSteps | None = None
    decay_rate: Rate | None = None
    staircase: bool | None = None
    offset: Steps = 0


@configuration
class Polynomial:
    """Polynomial decay from the initial to the end rate, as (1 - step / decay_steps)^power.

    Attributes:
      initial_learning_rate: learning rate at the start.
      decay_steps: steps of the decay.
      end_learning_rate: learning rate at the end.
      power: exponent.
      cycle: starts again after `decay_steps`.
      offset: steps by which the schedule starts later.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    initial_learning_rate: Rate | None = None
    decay_steps: SomeSteps | None = None
    end_learning_rate: Rate = 0.0001
    power: Rate = 1.0
    cycle: bool = False
    offset: Steps = 0


@configuration
class Cosine:
    """Cosine decay.

    Attributes:
      initial_learning_rate: learning rate at the start.
      decay_steps: steps of the decay.
      alpha: learning rate at the end, as a fraction of the initial one.
      offset: steps by which the schedule starts later.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    initial_learning_rate: Rate | None = 1.6  # the three numbers of the experiment movinet_kinetics600
    decay_steps: SomeSteps | None = 44 * 357
    alpha: Share = 0.0
    offset: Steps = 0


_SCHEDULES = ("constant", "stepwise", "exponential", "polynomial", "cosine")


@configuration
class LearningRate:
    """Learning rate schedule; `type` selects the section that counts.

    Attributes:
      type: section that counts.
      constant: settings of a constant learning rate.
      stepwise: settings of a piecewise constant one.
      exponential: settings of exponential decay.
      polynomial: settings of polynomial decay.
      cosine: settings of cosine decay.
    """

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
    """Linear warm-up to the learning rate that the schedule has at step `warmup_steps`.

    Attributes:
      warmup_learning_rate: learning rate at the start.
      warmup_steps: steps of the warm-up.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    warmup_learning_rate: Rate = 0.0
    warmup_steps: SomeSteps | None = 5 * 357  # of the experiment movinet_kinetics600


@configuration
class PolynomialWarmup:
    """Polynomial warm-up: (step / warmup_steps)^power of the rate that the schedule has at step `warmup_steps`.

    Attributes:
      power: exponent.
      warmup_steps: steps of the warm-up.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    power: Rate = 1.0
    warmup_steps: SomeSteps | None = None


@configuration
class Warmup:
    """Warm-up of the learning rate; `type` selects the section that counts.

    Attributes:
      type: section that counts; null has no warm-up.
      linear: settings of linear warm-up.
      polynomial: settings of polynomial warm-up.
    """

    type: Literal["linear", "polynomial"] | None = "linear"
    linear: LinearWarmup = field(default_factory=LinearWarmup)
    polynomial: PolynomialWarmup = field(default_factory=PolynomialWarmup)

    def __post_init__(self) -> None:
        if self.type is not None and getattr(self, self.type).warmup_steps is None:
            raise InputError(f"{self.type}.warmup_steps", None, "must be given")


@configuration
class Ema:
    """Moving average of the weights, which evaluation and the best checkpoint then use.

    Attributes:
      trainable_weights_only: excludes the moving statistics of norms.
      average_decay: decay of the average.
      start_step: step at which averaging starts.
      dynamic_decay: raises the decay from 0.1 at the start to `average_decay`.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = NAME
    trainable_weights_only: bool = True
    average_decay: Share = 0.99
    start_step: Steps = 0
    dynamic_decay: bool = True


@configuration
class OptimizationConfig:
    """Optimizer, learning rate schedule, warm-up and moving average.

    Attributes:
      optimizer: optimizer and its settings.
      ema: moving average of the weights; null has none.
      learning_rate: learning rate schedule.
      warmup: warm-up of the learning rate.
    """

    optimizer: Optimizer = field(default_factory=Optimizer)
    ema: Ema | None = None
    learning_rate: LearningRate = field(default_factory=LearningRate)
    warmup: Warmup = field(default_factory=Warmup)
