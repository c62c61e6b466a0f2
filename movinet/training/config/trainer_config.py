"""On which devices an experiment runs and what its trainer does when, as plain data. Names as in the release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from movinet.training.config.fields import Other, check_range, check_types
from movinet.training.config.optimizer_config import MAX_STEPS, OptimizationConfig
from search_space.base.errors import InputError
from search_space.base.names import check_choice

DTYPES = ("float32", "float16", "bfloat16")
STRATEGIES = ("off", "one_device", "mirrored", "multi_worker_mirrored", "tpu")
METRICS = ("accuracy", "top_1_accuracy", "top_5_accuracy", "validation_loss")
_SPEED = Other("it changes the speed, and only of the release's own loops")


@dataclass(frozen=True)
class RuntimeConfig:
    """On which devices, and how precisely."""

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = dict.fromkeys(
        ("enable_xla", "gpu_thread_mode", "dataset_num_private_threads", "per_gpu_thread_count", "num_packs")
        + ("all_reduce_alg", "run_eagerly", "batchnorm_spatial_persistent", "tpu_enable_xla_dynamic_padder"),
        Other("it changes the speed, and the devices' own choice is kept"),
    ) | {
        "num_cores_per_replica": Other("a replica has one device", (1,)),
        "default_shard_dim": Other("a replica has one device", (-1,)),
        "use_tpu_mp_strategy": Other("a replica has one device", (False,)),
    }
    distribution_strategy: str = "mirrored"
    mixed_precision_dtype: str | None = "bfloat16"
    loss_scale: str | float | None = None
    tpu: str | None = None
    num_gpus: int = 0
    worker_hosts: str | None = None
    task_index: int = -1

    def __post_init__(self) -> None:
        check_types(self)
        object.__setattr__(self, "distribution_strategy", self.distribution_strategy.lower())
        check_choice("distribution_strategy", self.distribution_strategy, STRATEGIES)
        if self.mixed_precision_dtype is not None:
            check_choice("mixed_precision_dtype", self.mixed_precision_dtype, DTYPES)
        if isinstance(self.loss_scale, str):
            check_choice("loss_scale", self.loss_scale, ("dynamic",))
        else:
            check_range(self, 1e-30, 2**60, "loss_scale")
        check_range(self, 0, 2**16, "num_gpus")
        check_range(self, -1, 2**16, "task_index")


@dataclass(frozen=True)
class TrainerConfig:
    """How long, and what happens when.

    Attributes:
      validation_steps: batches of an evaluation, at most; -1: the whole of it. (The release's experiment has 434, which
        is the whole of Kinetics-600 in batches of 64.)
      loss_upper_bound: training ends with a message when the loss is larger after `recovery_begin_steps`.
      seed: ours; of the initial weights, dropout and stochastic depth, and of the data where they have none.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = {
        "train_tf_while_loop": _SPEED,
        "train_tf_function": _SPEED,
        "eval_tf_function": _SPEED,
        "eval_tf_while_loop": _SPEED,
        "allow_tpu_summary": _SPEED,
        "recovery_max_trials": Other("the same clips follow again, so it would end the same way", (0,)),
    }
    optimizer_config: OptimizationConfig = field(default_factory=OptimizationConfig)
    steps_per_loop: int = 357  # an epoch of Kinetics-600: 366 016 clips in batches of 1 024
    summary_interval: int = 357
    checkpoint_interval: int = 357
    max_to_keep: int = 5
    continuous_eval_timeout: int = 60 * 60
    train_steps: int = 44 * 357
    validation_steps: int = -1
    validation_interval: int = 357
    best_checkpoint_export_subdir: str = ""
    best_checkpoint_eval_metric: str = ""
    best_checkpoint_metric_comp: str = "higher"
    loss_upper_bound: float = 1e6
    recovery_begin_steps: int = 0
    validation_summary_subdir: str = "validation"
    preemption_on_demand_checkpoint: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        intervals = ("steps_per_loop", "summary_interval", "checkpoint_interval", "validation_interval", "max_to_keep")
        check_range(self, 1, MAX_STEPS, *intervals)
        check_range(self, 0, MAX_STEPS, "train_steps", "recovery_begin_steps", "continuous_eval_timeout")
        check_range(self, -1, MAX_STEPS, "validation_steps")
        check_range(self, 0, 2**31 - 1, "seed")
        check_choice("best_checkpoint_metric_comp", self.best_checkpoint_metric_comp, ("higher", "lower"))
        if self.validation_steps == 0:
            raise InputError("validation_steps", 0, "must be at least 1, or -1 for the whole")
        if self.best_checkpoint_eval_metric:
            check_choice("best_checkpoint_eval_metric", self.best_checkpoint_eval_metric, METRICS)
