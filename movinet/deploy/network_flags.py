"""Flags by which `movinet.export` and `movinet.latency` select a network.

Flags that the TF Model Garden's export has keep their names.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from movinet.model.keras_layers import Shape
from movinet.model.keras_model import build_network
from movinet.training import task
from movinet.training.config import experiment_file
from movinet.weights import checkpoint
from search_space import network
from search_space.architecture import MAX_CHANNELS, MAX_FRAMES, MAX_RESOLUTION, Clip
from search_space.base.checks import check_integer
from search_space.base.command_line import print_escaped
from search_space.base.errors import InputError
from search_space.base.names import check_choice
from search_space.base.yaml_file import read_yaml
from search_space.network import Network, common_clip
from search_space.published import published
from search_space.variant import BASE, POSITIONED, STREAM, Variant

EXPERIMENT = "movinet_kinetics600"  # the experiment whose defaults a file overrides
VARIANTS = {"base": BASE, "stream": STREAM}
CLASSES = 600  # of the Model Garden's models


@dataclass(frozen=True)
class Subject:
    """A network with weights, and its clip."""

    name: str
    model: keras.Model
    clip: Clip
    causal: bool
    single: bool

    def shape(self, batch: int | None, frames: int | None, size: int | None) -> Shape:
        """Return B T H W 3, by default with the sizes of the network's clip; a causal network takes single frames."""
        size = size or self.clip.resolution
        return (batch or 1, frames or (1 if self.causal else self.clip.frames), size, size, 3)


def boolean(text: str) -> bool:
    """Parse true or false as the Model Garden's flags do."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} must be true or false")
    return known[text.lower()]


def add_flags(top: argparse.ArgumentParser) -> None:
    """Add the flags of network, variant and weights. None stands for the variant's default."""
    switch: dict[str, Any] = {"type": boolean, "nargs": "?", "const": True}
    top.add_argument("--config", "--model_id", default="a0", help="network or experiment: YAML, preset, a0 ... a5, t0")
    top.add_argument("--variant", default="base", help="base or stream; the flags from --causal on change parts of it")
    top.add_argument("--causal", help="true or false", **switch)
    top.add_argument("--conv_type", help="3d, 2plus1d or 3d_2plus1d")
    top.add_argument("--se_type", help="3d, 2d, 2plus3d or none")
    top.add_argument("--activation", help="swish, hard_swish, relu or relu6")
    top.add_argument("--classifier_activation", help="activation of the head's dense layer")
    top.add_argument("--gating_activation", help="sigmoid or hard_sigmoid")
    top.add_argument("--use_positional_encoding", help="default true for the stream variant of a3, a4, a5", **switch)
    top.add_argument("--num_classes", type=int, help=f"if the network's file has none; default {CLASSES}")
    top.add_argument("--batch_size", type=int, help="clips per batch")
    top.add_argument("--num_frames", type=int, help="frames per call")
    top.add_argument("--image_size", type=int, help="height and width")
    top.add_argument(
        "--checkpoint_path",
        "--checkpoint",
        default="",
        help="weights; for an ensemble also one checkpoint per member, separated by commas",
    )


def read_subject(flags: argparse.Namespace) -> Subject:
    """Return the network that the flags select, in float32, with its weights.

    Raises:
      InputError: a flag, a file or a checkpoint is wrong, or they do not fit together.
    """
    check_integer("--num_classes", flags.num_classes or 1, 1, MAX_CHANNELS)
    for flag, most in (("batch_size", 4096), ("num_frames", MAX_FRAMES), ("image_size", MAX_RESOLUTION)):
        check_integer(f"--{flag}", 1 if getattr(flags, flag) is None else getattr(flags, flag), 1, most)
    if _is_experiment(flags.config):
        subject = _of_experiment(flags)
    else:
        found = _network(flags.config, flags.num_classes)
        variant = variant_of(flags)
        size = None if len(found.members) > 1 else {"input_shape": (None, None, None)}
        model = build_network(found, variant=variant, **(size or {}))
        single = len(found.members) == 1
        clip = common_clip(found.members, found.offsets)
        subject = Subject(found.name, model, clip, variant.causal and single, single)
    if not subject.single and (flags.num_frames or flags.image_size):
        raise InputError("--num_frames", flags.num_frames, "and --image_size cannot be set for an ensemble")
    _load(subject.model, flags.checkpoint_path)
    return subject


def _is_experiment(config: str) -> bool:
    path = experiment_file.file_of(config)
    return path.suffix in (".yaml", ".yml", ".json") and "schema" not in (read_yaml(path, "--config") or {})


def _network(config: str, classes: int | None) -> Network:
    """Return the network of a file, or a published one."""
    if Path(config).suffix:
        found = network.load(config, classes or CLASSES)
        if classes not in (None, found.classes):
            raise InputError("--num_classes", classes, f"must be that of the file, {found.classes}")
        return found
    return network.counted(config.lower(), (published(config),), classes or CLASSES)


def variant_of(flags: argparse.Namespace) -> Variant:
    """Return the variant that the flags describe."""
    check_choice("--variant", flags.variant, VARIANTS)
    named = VARIANTS[flags.variant]
    if flags.variant == "stream":
        named = replace(named, use_positional_encoding=flags.config.lower() in POSITIONED)
    return replace(named, **_given(flags))


def _given(flags: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(flags, name) for name in asdict(BASE) if getattr(flags, name) is not None}


def _of_experiment(flags: argparse.Namespace) -> Subject:
    """Return the network and variant of an experiment; classes and clip are those of its validation data."""
    if given := _given(flags):
        raise InputError(f"--{min(given)}", given[min(given)], "is for networks; an experiment file sets the variant")
    experiment, ignored = experiment_file.load(EXPERIMENT, [flags.config])
    for line in experiment_file.notes(ignored):
        print_escaped(line, sys.stderr)
    experiment = replace(experiment, runtime=replace(experiment.runtime, mixed_precision_dtype="float32"))
    single = experiment.task.model.ensemble is None
    model = task.build_model(experiment)
    causal = single and experiment.task.model.backbone.movinet.causal
    return Subject(Path(flags.config).stem, model, task.clip_of(experiment.task.validation_data), causal, single)


def _load(model: keras.Model, paths: str) -> None:
    """Load weights from one file into the model, or from one file per member."""
    files = [path for path in paths.split(",") if path]
    members = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if len(files) == 1:
        checkpoint.load_weights(model, files[0])
    elif files:
        if len(files) != len(members):
            raise InputError("--checkpoint_path", paths, f"must be one checkpoint, or one per member, {len(members)}")
        for member, file in zip(members, files, strict=True):
            checkpoint.load_weights(member, file)
