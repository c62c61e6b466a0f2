"""An experiment of seconds: a network of three layers on the bundled moving digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from movinet.training.config.experiment import ExperimentConfig
from movinet.training.config.experiment_file import load

NAME = "movinet_kinetics600"
DATA: dict[str, Any] = {
    "file_type": "moving_digits",
    "input_path": "tiny",
    "num_classes": 12,
    "num_examples": 96,
    "feature_shape": [4, 16, 16, 3],
    "temporal_stride": 4,
    "dtype": "float32",
    "global_batch_size": 8,
    "min_image_size": 16,
}
BLOCKS = [
    {"base_filters": 8, "expand_filters": [16], "kernel_sizes": [[3, 3, 3]], "strides": [[1, 2, 2]]},
    {
        "base_filters": 16,
        "expand_filters": [24, 24],
        "kernel_sizes": [[1, 3, 3], [3, 3, 3]],
        "strides": [[1, 2, 2], [1, 1, 1]],
    },
]
NETWORK = {"stem": {"filters": 8}, "blocks": BLOCKS, "head": {"project_filters": 24, "head_filters": 32}}
EXPERIMENT: dict[str, Any] = {
    "runtime": {"distribution_strategy": "off", "mixed_precision_dtype": "float32"},
    "task": {
        "losses": {"label_smoothing": 0.1, "l2_weight_decay": 3e-5},
        "model": {
            "backbone": {"movinet": {"model_id": "small", "stochastic_depth_drop_rate": 0.2, **NETWORK}},
            "dropout_rate": 0.2,
        },
        "train_data": DATA | {"aug_flip": False, "random_stride_range": 1},
        "validation_data": DATA | {"num_examples": 48, "global_batch_size": 20},
    },
    "trainer": {
        "optimizer_config": {
            "learning_rate": {"cosine": {"initial_learning_rate": 0.3, "decay_steps": 12}},
            "warmup": {"linear": {"warmup_steps": 2}},
            "optimizer": {"type": "rmsprop", "rmsprop": {"momentum": 0.9, "epsilon": 1.0, "clipnorm": 1.0}},
        },
        "train_steps": 6,
        "steps_per_loop": 2,
        "summary_interval": 2,
        "checkpoint_interval": 2,
        "validation_interval": 4,
    },
}  # fmt: skip


def written(folder: Path) -> Path:
    """Write the experiment to a file in the folder."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    return path


def small(folder: Path, override: str = "") -> ExperimentConfig:
    """Return the experiment with the changes of `override`."""
    return load(NAME, [written(folder)], override)[0]
