"""Path from video files to predictions by the documented commands: H.264, VP9, MJPEG at different rates."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from movinet import evaluate, train
from movinet.data.proxy.moving_digits import MovingDigitsConfig, motion_of, rendered

SIZE, TICKS, EACH = 48, 32, 2  # pixels of a side; frames; videos of a class
# Container, codec and frames per second; the rate at which clips are read fits them all.
FORMS = (("mp4", "libx264", 24), ("webm", "libvpx-vp9", 30), ("avi", "mjpeg", 12))
CLASSES = ("left", "right")


def _write(file: Path, codec: str, rate: int, clip: np.ndarray) -> None:
    """Write a clip of TICKS frames at 12 per second to a file of another rate."""
    times = np.arange(len(clip) * rate // 12) * 12 // rate
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for time in times:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(clip[time], format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `train` and `validation`, each with one folder per class that has all types of file."""
    root = tmp_path_factory.mktemp("videos")
    config = MovingDigitsConfig(motions=2, digits=3, ticks=TICKS, resolution=SIZE, difficulty=0)
    for split in ("train", "validation"):
        pieces = list(rendered(config, split, 36))
        all_clips, labels = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("clips", "labels"))
        for label, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            clips = all_clips[motion_of(labels, config.digits) == label][: EACH * len(FORMS)]
            for number, clip in enumerate(clips):
                suffix, codec, rate = FORMS[number % len(FORMS)]
                _write(root / split / name / f"{number}.{suffix}", codec, rate, clip)
    (root / "train" / "left" / "broken.mp4").write_bytes(b"not a video")
    return root


@pytest.fixture(scope="module")
def experiment(folder: Path) -> Path:
    """Write an experiment of a small causal network on the folder, two steps long."""
    data = {
        "file_type": "video_folder",
        "input_path": str(folder),
        "num_classes": len(CLASSES),
        "feature_shape": [8, 32, 32, 3],
        "temporal_stride": 1,
        "target_fps": 6.0,
        "min_image_size": 32,
        "global_batch_size": 4,
        "dtype": "float32",
    }
    backbone = {
        "causal": True,
        "conv_type": "2plus1d",
        "se_type": "2plus3d",
        "activation": "hard_swish",
        "gating_activation": "hard_sigmoid",
        "stem": {"filters": 8},
        "blocks": [
            {"base_filters": 8, "expand_filters": [16], "kernel_sizes": [[3, 3, 3]], "strides": [[1, 2, 2]]},
            {"base_filters": 16, "expand_filters": [24], "kernel_sizes": [[5, 3, 3]], "strides": [[1, 2, 2]]},
        ],
        "head": {"project_filters": 24, "head_filters": 32},
    }
    task = {
        "model": {"backbone": {"movinet": backbone}, "num_classes": len(CLASSES)},
        "train_data": {**data, "split": "train", "aug_flip": False},
        "validation_data": {**data, "split": "validation", "drop_remainder": False},
    }
    trainer = {"train_steps": 2, "steps_per_loop": 1, "validation_interval": 2, "checkpoint_interval": 2}
    file = folder / "experiment.yaml"
    runtime = {"distribution_strategy": "one_device", "mixed_precision_dtype": "float32"}
    file.write_text(json.dumps({"runtime": runtime, "task": task, "trainer": trainer}))  # JSON is YAML
    return file


@pytest.fixture(scope="module")
def trained(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run."""
    run = tmp_path_factory.mktemp("run")
    flags = ["--experiment=movinet_kinetics600", "--mode=train_and_eval"]
    assert train.main([*flags, f"--config_file={experiment}", f"--model_dir={run}"]) == 0
    return run


def test_trains_two_steps_and_evaluates(trained: Path) -> None:
    assert (trained / "ckpt-2.index").exists()
    metrics = json.loads((trained / "validation" / "metrics-2.json").read_text())
    assert metrics["examples"] == EACH * len(FORMS) * len(CLASSES)
    assert np.isfinite(metrics["validation_loss"])


def test_predicts_every_video_but_a_broken_one_which_it_names(experiment: Path, trained: Path, tmp_path: Path) -> None:
    override = "--params_override=task.validation_data.split=train"
    flags = [f"--config_file={experiment}", f"--checkpoint={trained}", f"--out={tmp_path}", "--mode=stream", override]
    assert evaluate.main(flags) == 0
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    names = {row["example"] for row in rows}
    assert len(names) == len(rows) == EACH * len(FORMS) * len(CLASSES)
    assert {Path(name).suffix for name in names} == {".mp4", ".webm", ".avi"}
    assert all(row["label"] in row["example"] and row["predicted"] in CLASSES for row in rows)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["examples"] == len(rows) and len(found["confusion"]) == len(CLASSES)
    assert list(found["unusable"]) == ["train/left/broken.mp4"]
