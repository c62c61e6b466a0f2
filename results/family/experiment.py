"""A network as an experiment of the TF Model Garden's trainer, official/projects/movinet.

The recipe is that of the published experiment files, movinet_a0_k600_8x8.yaml to movinet_a5_k600_8x8.yaml, which the
Model Garden uses for all of A0 to A5 except for dropout and clip. The backbone lists its layers instead of the name of
a published network, with the field names of the Model Garden's StemSpec, MovinetBlockSpec and HeadSpec, and
squeeze-excite by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search_space.architecture import Architecture, Block, Clip
from search_space.network import Network, common_clip

TRAIN_BATCH = 1024
TRAIN_STEPS = 85_785  # 240 epochs of the 366 016 clips of Kinetics-600
WARMUP_STEPS = 2_145
LEARNING_RATE = 1.8

# Between the multiply-adds of A0 and A1, A2 and A3, A3 and A4: where the Model Garden's settings change.
LOW_DROPOUT_MACS = 4e9
WHOLE_CLIP_MACS = 25e9
HALF_CLIP_MACS = 77e9


def experiment(network: Network) -> dict[str, Any]:
    """Return the experiment that trains a single network on Kinetics-600; the user adds the paths of the data."""
    (member,) = network.members
    return {
        "runtime": {"distribution_strategy": "mirrored", "mixed_precision_dtype": "bfloat16"},
        "task": {
            "losses": {"l2_weight_decay": 0.00003, "label_smoothing": 0.1},
            "model": _model(network, member),
            "train_data": _train_data(network, member.clip),
            "validation_data": _validation_data(network, member.clip),
        },
        "trainer": _trainer(),
    }


def ensemble_experiment(network: Network, files: Sequence[str], networks: Sequence[str]) -> dict[str, Any]:
    """Return the evaluation of an ensemble on the members' common clip; `files` has the members' experiments."""
    members = [
        {"network": name, "experiment": file, "clip": _shape(member.clip)}
        for name, file, member in zip(networks, files, network.members, strict=True)
    ]
    return {
        "runtime": {"distribution_strategy": "mirrored", "mixed_precision_dtype": "bfloat16"},
        "task": {
            "model": {"ensemble": {"combine": "mean_logits", "members": members}, "num_classes": network.classes},
            "validation_data": _validation_data(network, common_clip(network.members)),
        },
    }


def _model(network: Network, member: Architecture) -> dict[str, Any]:
    return {
        "model_type": "movinet",
        "backbone": {
            "type": "movinet",
            "movinet": {
                "model_id": network.name,
                "causal": False,
                "conv_type": "3d",
                "se_type": "3d",
                "activation": "swish",
                "gating_activation": "sigmoid",
                "stochastic_depth_drop_rate": 0.2,
                "stem": {"filters": member.stem.width, "kernel_size": [1, 3, 3], "strides": [1, 2, 2]},
                "blocks": [_block(block) for block in member.blocks],
                "head": {"project_filters": member.head.project, "head_filters": member.head.dense},
            },
        },
        "norm_activation": {"use_sync_bn": True, "norm_momentum": 0.99, "norm_epsilon": 0.001},
        "activation": "swish",
        "dropout_rate": 0.2 if network.cost["macs"] < LOW_DROPOUT_MACS else 0.5,
        "num_classes": network.classes,
    }


def _block(block: Block) -> dict[str, Any]:
    strides = [[1, block.stride, block.stride], *[[1, 1, 1]] * (len(block.layers) - 1)]
    return {
        "base_filters": block.width,
        "expand_filters": [layer.expand for layer in block.layers],
        "kernel_sizes": [list(layer.kernel) for layer in block.layers],
        "strides": strides,
        "squeeze_excite": [layer.squeeze_excite for layer in block.layers],
    }


def _shape(clip: Clip) -> list[int]:
    return [clip.frames, clip.resolution, clip.resolution, 3]


def short_side(resolution: int) -> int:
    """Return the short side before cropping in pixels: 9/8 of the crop, to 16, as for all published networks."""
    return max(16 * ((resolution * 9 + 64) // 128), 16 * -(-resolution // 16))


def train_frames(clip: Clip, macs: int) -> int:
    """Return the frames of a training clip: expensive networks train on shorter clips, as A3 (64), A4 and A5 (32)."""
    if macs < WHOLE_CLIP_MACS:
        return clip.frames
    return min(clip.frames, 64 if macs < HALF_CLIP_MACS else 32)


def _data(network: Network, clip: Clip, frames: int) -> dict[str, Any]:
    return {
        "name": "kinetics600",
        "variant_name": "rgb",
        "num_classes": network.classes,
        "feature_shape": [frames, *_shape(clip)[1:]],
        "temporal_stride": clip.frame_stride,
        "min_image_size": short_side(clip.resolution),
        "dtype": "bfloat16",
    }


def _train_data(network: Network, clip: Clip) -> dict[str, Any]:
    return {
        **_data(network, clip, train_frames(clip, network.cost["macs"])),
        "random_stride_range": 1,
        "global_batch_size": TRAIN_BATCH,
        "shuffle_buffer_size": 1024,
        "aug_type": "autoaug",
        "aug_min_area_ratio": 0.08,
        "aug_max_area_ratio": 1.0,
        "aug_min_aspect_ratio": 0.5,
        "aug_max_aspect_ratio": 2.0,
        "is_training": True,
    }


def _validation_data(network: Network, clip: Clip) -> dict[str, Any]:
    return {
        **_data(network, clip, clip.frames),
        "num_test_clips": 1,
        "num_test_crops": 1,
        "global_batch_size": 64,
        "drop_remainder": False,
        "is_training": False,
    }


def _trainer() -> dict[str, Any]:
    return {
        "optimizer_config": {
            "learning_rate": {
                "type": "cosine",
                "cosine": {"initial_learning_rate": LEARNING_RATE, "decay_steps": TRAIN_STEPS},
            },
            "warmup": {"type": "linear", "linear": {"warmup_steps": WARMUP_STEPS}},
            "optimizer": {
                "type": "rmsprop",
                "rmsprop": {"rho": 0.9, "momentum": 0.9, "epsilon": 1.0, "clipnorm": 1.0},
            },
        },
        "train_steps": TRAIN_STEPS,
        "steps_per_loop": 500,
        "summary_interval": 500,
        "validation_interval": 500,
    }
