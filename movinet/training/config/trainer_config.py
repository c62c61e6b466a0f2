"""Devices of an experiment and schedule of its trainer, as plain data. Names are those of the TF Model Garden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from movinet.training.config.fields import Other
from movinet.training.config.optimizer_config import MAX_STEPS, OptimizationConfig, SomeSteps, Steps
from search_space.base.configuration import configuration, within
from search_space.base.errors import InputError

Dtype = Literal["float32", "float16", "bfloat16"]
Strategy = Literal["off", "one_device", "mirrored", "multi_worker_mirrored", "tpu"]
Metric = Literal["", "accuracy", "top_1_accuracy", "top_5_accuracy", "validation_loss"]


def _lower(name: Any) -> Any:
    return name.lower() if isinstance(name, str) else name


_SPEED = Other("it affects only the speed of the Model Garden's loops")


@configuration
class RuntimeConfig:
    """Devices and precision.

    Attributes:
      distribution_strategy: strategy of TensorFlow by which devices share the training.
      mixed_precision_dtype: type of activations; weights are float32. Null computes in float32.
      loss_scale: factor of the loss against underflow in float16; dynamic adapts it, null has none.
      tpu: address of a TPU; null uses none.
      num_gpus: GPUs to use.
      worker_hosts: addresses of all workers, host:port separated by commas; null trains on one.
      task_index: place of this worker among them, from 0.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = dict.fromkeys(
        ("enable_xla", "gpu_thread_mode", "dataset_num_private_threads", "per_gpu_thread_count", "num_packs")
        + ("all_reduce_alg", "run_eagerly", "batchnorm_spatial_persistent", "tpu_enable_xla_dynamic_padder"),
        Other("it affects only the speed; the devices' default is used"),
    ) | {
        "num_cores_per_replica": Other("a replica has one device", (1,)),
        "default_shard_dim": Other("a replica has one device", (-1,)),
        "use_tpu_mp_strategy": Other("a replica has one device", (False,)),
    }
    distribution_strategy: Annotated[Strategy, BeforeValidator(_lower)] = "mirrored"
    mixed_precision_dtype: Dtype | None = "bfloat16"
    loss_scale: Literal["dynamic"] | Annotated[float, within(1e-30, 2**60)] | None = None
    tpu: str | None = None
    num_gpus: Annotated[int, within(0, 2**16)] = 0
    worker_hosts: str | None = None
    task_index: Annotated[int, within(-1, 2**16)] = -1


@configuration
class TrainerConfig:
    """Length of the training, and intervals in steps.

    Attributes:
      optimizer_config: how weights are updated.
      steps_per_loop: steps between lines of progress.
      summary_interval: steps between TensorBoard summaries.
      checkpoint_interval: steps between checkpoints.
      max_to_keep: number of latest checkpoints that are kept.
      continuous_eval_timeout: seconds for which the mode eval waits for the next checkpoint.
      train_steps: steps of the training.
      validation_steps: batches of an evaluation at most; -1 evaluates all. (The experiment of the Model Garden has 434,
        which is all of Kinetics-600 in batches of 64.)
      validation_interval: steps between evaluations.
      best_checkpoint_export_subdir: folder in that of the model for the best checkpoint; '' keeps none.
      best_checkpoint_eval_metric: metric by which the best checkpoint is chosen.
      best_checkpoint_metric_comp: whether a higher or a lower value of it is better.
      loss_upper_bound: training ends with a message when the loss is larger after `recovery_begin_steps`.
      recovery_begin_steps: step from which `loss_upper_bound` counts.
      validation_summary_subdir: folder in that of the model for summaries of evaluations.
      preemption_on_demand_checkpoint: saves a checkpoint when the system ends the program.
      seed: ours; seed of the initial weights, dropout and stochastic depth, and of the data where it has none.
    """

    OTHER_KEYS: ClassVar[Mapping[str, Other]] = {
        "train_tf_while_loop": _SPEED,
        "train_tf_function": _SPEED,
        "eval_tf_function": _SPEED,
        "eval_tf_while_loop": _SPEED,
        "allow_tpu_summary": _SPEED,
        "recovery_max_trials": Other("the same clips would follow, with the same result", (0,)),
    }
    optimizer_config: OptimizationConfig = field(default_factory=OptimizationConfig)
    steps_per_loop: SomeSteps = 357  # an epoch of Kinetics-600: 366 016 clips in batches of 1 024
    summary_interval: SomeSteps = 357
    checkpoint_interval: SomeSteps = 357
    max_to_keep: SomeSteps = 5
    continuous_eval_timeout: Steps = 60 * 60
    train_steps: Steps = 44 * 357
    validation_steps: Annotated[int, within(-1, MAX_STEPS)] = -1
    validation_interval: SomeSteps = 357
    best_checkpoint_export_subdir: str = ""
    best_checkpoint_eval_metric: Metric = ""
    best_checkpoint_metric_comp: Literal["higher", "lower"] = "higher"
    loss_upper_bound: float = 1e6
    recovery_begin_steps: Steps = 0
    validation_summary_subdir: str = "validation"
    preemption_on_demand_checkpoint: bool = True
    seed: Annotated[int, within(0, 2**31 - 1)] = 0

    def __post_init__(self) -> None:
        if self.validation_steps == 0:
            raise InputError("validation_steps", 0, "must be at least 1, or -1 for the whole")
