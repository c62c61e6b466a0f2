"""The training command: emitted experiments, gin, one-line errors, continuous evaluation."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import tensorflow as tf
import yaml
from small_experiment import DATA, small, written

from movinet import train
from movinet.training.config.experiment_file import load
from movinet.training.loop import Run
from movinet.training.task import architecture_of
from movinet.training.trainer import Trainer
from results.family.experiment import experiment
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.network import counted, dump, yaml_text

CONFIGS = Path(__file__).parents[1] / "results" / "published" / "frontier" / "configs"
NAME = "movinet_kinetics600"


def command(mode: str, folder: Path, *more: str) -> list[str]:
    return [f"--experiment={NAME}", f"--mode={mode}", "--model_dir", str(folder), *more]


def metrics(folder: Path, step: int) -> dict[str, float]:
    return json.loads((folder / "validation" / f"metrics-{step}.json").read_text())


def on_digits(clip: list[int], stride: int) -> dict:
    """Return overrides for an experiment of some seconds: bundled example data set, small clips, two steps."""
    data = DATA | {"feature_shape": clip, "temporal_stride": stride, "num_examples": 12, "global_batch_size": 4}
    data["min_image_size"] = clip[1]
    return {
        "runtime": {"distribution_strategy": "off", "mixed_precision_dtype": "float32"},
        "task": {
            "model": {"num_classes": 12},
            "train_data": data | {"aug_flip": False, "aug_type": None},
            "validation_data": data,
        },
        "trainer": {"train_steps": 2, "steps_per_loop": 2},
    }


def check_emitted(emitted: Path, folder: Path) -> Path:
    """Train the emitted experiment for two steps and evaluate it; return the folder of the run."""
    override = json.dumps(on_digits([4, 32, 32, 3], 4))
    arguments = [f"--config_file={emitted}", f"--params_override={override}"]
    assert train.main(command("train_and_eval", folder, *arguments)) == 0
    assert metrics(folder, 2)["examples"] == 12
    assert load(NAME, [folder / "params.yaml"]) == (load(NAME, [emitted], override)[0], [])
    return folder


def test_an_emitted_experiment_trains_and_evaluates(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Use a small network; those of the published family take minutes."""
    blocks = (Block(8, 2, (Layer(16, (3, 3, 3)),)), Block(16, 2, (Layer(24, (1, 5, 5)), Layer(24, (3, 3, 3)))))
    network = Architecture(Clip(8, 64, 4), Stem(8), blocks, Head(project=24, dense=32))
    emitted = tmp_path / "movinet_small.experiment.yaml"
    emitted.write_text(yaml_text(experiment(counted("movinet_small", (network,), 600))))
    check_emitted(emitted, tmp_path / "run")
    output = capsys.readouterr().out
    assert "ignored task.train_data.name, task.train_data.variant_name" in output
    assert "train | step 2/2" in output and "eval  | step 2" in output


@pytest.mark.slow
def test_every_emitted_experiment_trains_and_evaluates(tmp_path: Path) -> None:
    names = [f"movinet_a{i}" for i in range(6)]
    folders = [check_emitted(CONFIGS / f"{name}.experiment.yaml", tmp_path / name) for name in names]
    clips = ([4, 32, 32, 3], [8, 32, 32, 3])  # at the strides 2 and 1 of A4 and A5
    members = [
        {"network": str(CONFIGS / f"{folder.name}.yaml"), "clip": clip, "checkpoint": str(folder)}
        for folder, clip in zip(folders[4:], clips, strict=True)
    ]
    override = on_digits([8, 32, 32, 3], 1)
    override["task"]["model"]["ensemble"] = {"members": members}
    config = f"--config_file={CONFIGS / 'movinet_a6'}.experiment.yaml"
    ensemble = tmp_path / "movinet_a6"
    arguments = [config, f"--params_override={json.dumps(override)}"]
    assert train.main(command("eval", ensemble, *arguments)) == 0
    assert metrics(ensemble, 0)["examples"] == 12
    assert train.main(command("train_and_eval", ensemble, *arguments)) == 0  # as one model
    assert metrics(ensemble, 2)["examples"] == 12


def small_member(folder: Path, name: str) -> Path:
    """Write a network of the small experiment as an emitted file."""
    path = folder / f"{name}.yaml"
    path.write_text(dump(counted(name, (architecture_of(small(folder).task),), 12)))
    return path


def test_an_ensemble_is_evaluated_by_its_members_checkpoints(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        small_member(tmp_path, name)
        running = Trainer(small(tmp_path, f"trainer.seed={seed}"), tmp_path / f"run-{name}", _ONE, print)
        running.save()
    members = [{"network": f"{name}.yaml", "checkpoint": f"run-{name}"} for name in ("one", "two")]
    ensemble = {"task": {"model": {"ensemble": {"members": members}, "num_classes": 12}}}
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(ensemble))
    files = [f"--config_file={path}" for path in (written(tmp_path), tmp_path / "both.yaml")]
    assert train.main(command("eval", tmp_path / "both", *files)) == 0
    assert metrics(tmp_path / "both", 0)["examples"] == 48
    wrong = "--params_override=task.validation_data.feature_shape=[5,16,16,3]"
    assert train.main(command("eval", tmp_path / "both", *files, wrong)) == 2


def test_a_temporal_ensemble_trains_as_one_model(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    small_member(tmp_path, "full")
    clip, stride = DATA["feature_shape"], DATA["temporal_stride"]
    half = {"network": "full.yaml", "clip": [clip[0] // 2, *clip[1:]], "frame_stride": 2 * stride}
    ensemble = {"task": {"model": {"ensemble": {"members": [half, half | {"offset": stride}]}, "num_classes": 12}}}
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump(ensemble))
    files = [f"--config_file={path}" for path in (written(tmp_path), tmp_path / "twice.yaml")]
    assert train.main(command("train_and_eval", tmp_path / "twice", *files)) == 0
    assert metrics(tmp_path / "twice", 6)["examples"] == 48
    shorter = f"--params_override=task.train_data.feature_shape={[clip[0] - 1, *clip[1:]]}".replace(" ", "")
    assert train.main(command("train", tmp_path / "other", *files, shorter)) == 2
    assert "must be the members' common clip" in capsys.readouterr().err


_ONE = tf.distribute.get_strategy()


def test_continuous_evaluation_takes_every_checkpoint_and_ends_with_the_last(tmp_path: Path) -> None:
    experiment = small(tmp_path, "trainer.validation_interval=100")
    folder = tmp_path / "run"
    lines: list[str] = []
    evaluator = Run(experiment, folder, _ONE, lines.append)
    watching = threading.Thread(target=evaluator.evaluate_continuously, daemon=True)
    watching.start()
    training = Trainer(experiment, folder, _ONE, lines.append)
    iterator = training.batches()
    for step in (2, 4, 6):
        training.train(iterator, 2)
        training.save()
        while step < 6 and not (folder / "validation" / f"metrics-{step}.json").exists():
            watching.join(0.2)
            assert watching.is_alive()
    watching.join(120)
    assert not watching.is_alive()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("eval")] == ["step 2", "step 4", "step 6"]
    # A second call has nothing to evaluate and ends at once.
    assert evaluator.evaluate_continuously() == {} and len(lines) == 3
    # If the last checkpoint is missing it ends after the timeout.
    late = small(tmp_path, "trainer.train_steps=8,trainer.continuous_eval_timeout=0")
    Run(late, folder, _ONE, lines.append).evaluate_continuously()
    assert lines[-1] == "no new checkpoint for 0 s"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=train"], "the following arguments are required: --experiment, --model_dir"),
        (["--modell_dir=x"], "'--modell_dir=x' is not one of its options; did you mean '--model_dir'?"),
        (["--mode=evaluate"], "--mode: 'evaluate' must be one of train, train_and_eval"),
        (["--config_file=none.yaml"], "--config_file: 'none.yaml' cannot be read"),
        (["--params_override=task.train_data.batch=3"], "task.train_data: 'batch' is an unknown key"),
        (["--gin_params=trainer.seed=3"], "--gin_params"),
        (["--gin_file=none.gin"], "--gin_file: 'none.gin' is not a file"),
        (["--params_override=runtime.distribution_strategy=tpu"], "finds no TPU"),
        (["--params_override=runtime.num_gpus=64"], "runtime.num_gpus: 64 GPUs are requested"),
        (["--mode=eval"], "holds no checkpoint, and init_checkpoint names none"),
        (["--params_override=task.init_checkpoint=/nowhere"], "'/nowhere' is not a .keras or .weights.h5 file"),
        (
            ["--params_override=task.train_data.num_classes=9,task.validation_data.num_classes=9"],
            "must be those of the",
        ),
        (["--params_override=task.train_data.file_type=video_folder,task.train_data.input_path=/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = arguments if arguments == ["--mode=train"] else command("train", tmp_path / "run", *arguments)
    if "--mode=train" in given and len(given) > 1:
        given.append(f"--config_file={written(tmp_path)}")
        given = [f for f in given if f != "--mode=train" or not any(a.startswith("--mode=e") for a in arguments)]
    assert train.main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("x")
    assert train.main(command("train", tmp_path / "file" / "run", f"--config_file={written(tmp_path)}")) == 2
    assert "prevented writing" in capsys.readouterr().err


def test_divergence_ends_with_a_message_and_gin_binds_the_seed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "seed.gin"
    path.write_text("run.seed = 7\n")
    config = f"--config_file={written(tmp_path)}"
    arguments = [config, "--params_override=trainer.loss_upper_bound=0.1", f"--gin_file={path}"]
    assert train.main(command("train", tmp_path / "run", *arguments)) == 1
    assert "above trainer.loss_upper_bound, 0.1" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("ckpt*"))
    assert load(NAME, [tmp_path / "run" / "params.yaml"])[0].trainer.seed == 7


def test_the_flags_are_the_releases() -> None:
    """The flags are those of official/common/flags.py, without those for publishing."""
    flags = {action.option_strings[-1] for action in train.parser()._actions}
    names = ("experiment", "mode", "model_dir", "config_file", "params_override", "gin_file", "gin_params", "tpu")
    assert flags == {"--help", "--tf_data_service", *(f"--{name}" for name in names)}
