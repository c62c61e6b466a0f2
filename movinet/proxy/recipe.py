"""Training recipe of a candidate: budget, learning rate and regularisation. Needs no TensorFlow."""

from __future__ import annotations

import math
from typing import Annotated

from search_space.base.checks import check_number
from search_space.base.configuration import configuration, within

# Decay of the two moments of AdamW (Loshchilov and Hutter, arXiv 1711.05101). The first is Muon's momentum too.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7
ADAM_SHARE = 0.125  # AdamW's learning rate, as a share of Muon's
# Norm of Nesterov's momentum for gradients of pure noise, as a fraction of the gradients' norm.
NOISE_SHARE = math.sqrt((1 - BETA1**2) ** 2 + BETA1**4 * (1 - BETA1) / (1 + BETA1))

# Iteration x -> a x + b x^3 + c x^5, which moves singular values towards 1 (Jordan et al., Muon, 2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


@configuration
class Recipe:
    """Budget and recipe of proxy training.

    Kernels are trained by Muon (Jordan et al., 2024; Liu et al., arXiv 2502.16982), which replaces the momentum of a
    matrix by the nearest orthogonal one; the classifier, squeeze-excite and all vectors by AdamW. Muon learns rare
    directions of the gradient as fast as dominant ones. Accuracy then depends less on the seed (results/published).

    An orthogonal step has the same length when the gradient has all but vanished, and then noise drives the weights
    away from where a network could begin to learn. So the step of a kernel is shortened when its momentum falls below
    `NOISE_SHARE` of the root mean square of its gradient's norm so far: below what noise of that size would leave.

    Attributes:
      steps: optimiser steps of the full budget.
      batch_size: clips per step.
      learning_rate: peak learning rate of Muon, after the warm-up: the largest singular value of a step. That of AdamW
        is an eighth of it.
      warmup: share of the steps at the start in which the rate rises linearly to its peak.
      decay: share of the steps at the end in which the rate falls linearly to 0; in between it stays at its peak.
        Final accuracies are higher and vary less than with cosine decay (results/published).
      weight_decay: decoupled weight decay, on kernels only.
      label_smoothing: fraction of the label that is spread over all classes; 0.1 in MoViNet's recipe.
      stochastic_depth: drop rate of the last layer's branch; grows linearly with depth. 0.2 in MoViNet's recipe.
      norm_momentum: momentum of the moving statistics of batch norms. 0.99 in MoViNet's recipe; a proxy has too few
        steps for that.
      rezero: initial value of the ReZero scalars. 0 in MoViNet's recipe; then a network starts with its skip
        connections only and hardly uses its layers within a few hundred steps. With 1, one training in twenty stays at
        chance for hundreds of steps (results/published).

    Raises:
      InputError: a value out of range.
    """

    steps: Annotated[int, within(1, 100_000_000)]
    batch_size: Annotated[int, within(2, 65536)] = 32
    learning_rate: Annotated[float, within(1e-8, 10.0)] = 0.08
    warmup: Annotated[float, within(0.0, 1.0)] = 0.1
    decay: Annotated[float, within(0.0, 1.0)] = 0.4
    weight_decay: Annotated[float, within(0.0, 10.0)] = 0.001
    label_smoothing: Annotated[float, within(0.0, 0.99)] = 0.0
    stochastic_depth: Annotated[float, within(0.0, 0.99)] = 0.0
    norm_momentum: Annotated[float, within(0.0, 1.0)] = 0.9
    rezero: Annotated[float, within(0.0, 10.0)] = 0.3

    def __post_init__(self) -> None:
        check_number("decay", self.decay, 0.0, 1.0 - self.warmup, ", the steps after the warm-up")

    def rate(self, step: int) -> float:
        """Learning rate of `step` (from 0): warm-up, peak and decay (Haegele et al., arXiv 2405.18392)."""
        rise = (step + 1) / (self.warmup * self.steps + 1)
        fall = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.learning_rate * min(rise, 1.0, max(fall, 0.0))
