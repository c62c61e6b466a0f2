"""Test the files of a family: every config loads, has its recorded cost and round-trips; none is half written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from synthetic_run import run

from results.family.emit import emit
from results.family.experiment import experiment, short_side, train_frames
from results.family.growth import Family, FamilyConfig, scale_family
from results.family.parents import of_run
from search_space.architecture import Clip
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.network import common_clip, counted, dump, load
from search_space.published import A0, PUBLISHED
from search_space.scaling.compound import Factors

MODELS = [f"movinet_a{i}" for i in range(7)]
FILES = sorted([f"{name}.yaml" for name in MODELS] + [f"{name}.experiment.yaml" for name in MODELS] + ["family.json"])


@pytest.fixture(scope="module")
def family(tmp_path_factory) -> Family:
    candidates = of_run(run(tmp_path_factory.mktemp("run")))
    return scale_family(candidates, FamilyConfig(lift=Factors(depth=1.5, width=2, resolution=7, frames=1.6)))


@pytest.fixture
def folder(family, tmp_path) -> Path:
    emit(family, tmp_path / "configs")
    return tmp_path / "configs"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_config_loads_and_costs_what_it_says(family, folder):
    assert names(folder) == FILES and names(folder.parent) == ["configs"]
    last = 0
    for member, name in zip(family.models, MODELS, strict=True):
        path = folder / f"{name}.yaml"
        network = load(path)
        assert network == member.network and network.name == name
        assert network.cost["macs"] == sum(count(each, 600).macs for each in network.members)
        assert abs(network.cost["macs"] / network.target_macs - 1) <= 0.02
        assert network.cost["macs"] >= last
        last = network.cost["macs"]
        title, text = path.read_text().split("\n", 1)
        assert title == f"# {name}: {last / 1e9:.2f} G multiply-adds per clip, " + title.partition("clip, ")[2]
        assert dump(network) == text  # round trip, to the byte


def layers(backbone: dict) -> list[tuple]:
    return [
        (block["base_filters"], *layer)
        for block in backbone["blocks"]
        for layer in zip(
            block["expand_filters"], block["kernel_sizes"], block["strides"], block["squeeze_excite"], strict=True
        )
    ]


@pytest.mark.parametrize("name", MODELS[:6])
def test_the_experiment_spells_out_the_same_network(folder, name):
    text = (folder / f"{name}.experiment.yaml").read_text()
    data, (network,) = yaml.safe_load(text), load(folder / f"{name}.yaml").members
    assert "!!" not in text and "&" not in text
    assert set(data) == {"runtime", "task", "trainer"}
    assert set(data["task"]) == {"losses", "model", "train_data", "validation_data"}
    backbone = data["task"]["model"]["backbone"]["movinet"]
    assert data["task"]["model"]["backbone"]["type"] == "movinet" and backbone["model_id"] == name
    assert backbone["stem"] == {"filters": network.stem.width, "kernel_size": [1, 3, 3], "strides": [1, 2, 2]}
    assert backbone["head"] == {"project_filters": network.head.project, "head_filters": network.head.dense}
    expected = [
        (block.width, layer.expand, list(layer.kernel), [1, *2 * [1 if j else block.stride]], layer.squeeze_excite)
        for block in network.blocks
        for j, layer in enumerate(block.layers)
    ]
    assert layers(backbone) == expected and [len(b["strides"]) for b in backbone["blocks"]] == [
        len(block.layers) for block in network.blocks
    ]
    clip, validation, train = network.clip, data["task"]["validation_data"], data["task"]["train_data"]
    assert validation["feature_shape"] == [clip.frames, clip.resolution, clip.resolution, 3]
    assert train["feature_shape"][1:] == validation["feature_shape"][1:]
    assert train["temporal_stride"] == validation["temporal_stride"] == clip.frame_stride
    assert data["task"]["model"]["num_classes"] == train["num_classes"] == 600


def test_the_recipe_is_that_of_the_release():
    data = experiment(counted("movinet_a0", (A0,), 600))
    task, trainer = data["task"], data["trainer"]
    optimizer = trainer["optimizer_config"]
    assert task["losses"] == {"l2_weight_decay": 3e-5, "label_smoothing": 0.1}
    assert optimizer["optimizer"]["rmsprop"] == {"rho": 0.9, "momentum": 0.9, "epsilon": 1.0, "clipnorm": 1.0}
    assert optimizer["learning_rate"]["cosine"] == {"initial_learning_rate": 1.8, "decay_steps": 85785}
    assert optimizer["warmup"]["linear"] == {"warmup_steps": 2145} and trainer["train_steps"] == 85785
    assert task["train_data"]["global_batch_size"] == 1024 and task["train_data"]["aug_type"] == "autoaug"
    assert task["train_data"]["feature_shape"] == [50, 172, 172, 3] and task["train_data"]["temporal_stride"] == 5


# Model Garden experiment files: dropout, frames of a training clip, short side before the crop.
RELEASED = {
    "a0": (0.2, 50, 192),
    "a1": (0.5, 50, 192),
    "a2": (0.5, 50, 256),
    "a3": (0.5, 64, 288),
    "a4": (0.5, 32, 320),
    "a5": (0.5, 32, 368),
    "t0": (0.2, 25, 176),
}


@pytest.mark.parametrize("name", RELEASED)
def test_what_depends_on_the_network_agrees_with_the_released_experiments(name):
    task = experiment(counted(name, (PUBLISHED[name],), 600))["task"]
    found = task["model"]["dropout_rate"], task["train_data"]["feature_shape"][0], task["train_data"]["min_image_size"]
    assert found == RELEASED[name]
    assert task["validation_data"]["min_image_size"] == RELEASED[name][2]


def test_a_clip_is_never_longer_in_training_nor_larger_than_its_frame():
    assert train_frames(Clip(20, 224, 1), 10**12) == 20
    assert all(short_side(size) >= size for size in range(24, 600))


def test_the_ensemble_lists_its_members_files(folder):
    data = yaml.safe_load((folder / "movinet_a6.experiment.yaml").read_text())
    members = data["task"]["model"]["ensemble"]["members"]
    assert [member["network"] for member in members] == ["movinet_a4.yaml", "movinet_a5.yaml"]
    networks = load(folder / "movinet_a6.yaml").members
    for member, network in zip(members, networks, strict=True):
        assert load(folder / member["network"]).members == (network,)
        experiment_of_member = yaml.safe_load((folder / member["experiment"]).read_text())
        assert experiment_of_member["task"]["validation_data"]["feature_shape"] == member["clip"]
    clip, validation = common_clip(networks), data["task"]["validation_data"]
    assert validation["feature_shape"] == [clip.frames, clip.resolution, clip.resolution, 3]
    assert validation["temporal_stride"] == clip.frame_stride


def test_the_record_lies_beside_the_configs(family, folder):
    record = json.loads((folder / "family.json").read_text())
    assert sorted(record.pop("files")) == FILES
    assert record == family.record()


def smaller(family: Family) -> Family:
    targets = {"a0": 2.7e9, "a1": 6e9}
    return replace(family, models=family.models[:2], config=replace(family.config, targets=targets, ensemble={}))


def test_an_earlier_family_is_replaced_and_nothing_else(family, folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "movinet_mine.yaml").write_text("mine")
    paths = emit(smaller(family), folder)
    assert [path.name for path in paths] == [
        "movinet_a0.yaml",
        "movinet_a0.experiment.yaml",
        "movinet_a1.yaml",
        "movinet_a1.experiment.yaml",
        "family.json",
    ]
    assert names(folder) == sorted([path.name for path in paths] + ["notes.txt", "movinet_mine.yaml"])
    assert emit(family, folder) and set(FILES) < set(names(folder))


def test_repeating_changes_nothing(family, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    emit(family, folder)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_failure_leaves_everything_as_it_was(family, folder, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    odd = replace(family, candidates=replace(family.candidates, chance=float("nan")))  # not JSON, after 14 other files
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit(odd, folder)
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit(odd, tmp_path / "new")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert names(tmp_path) == ["configs"]


def test_folders_that_cannot_be_written_are_refused(family, tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "configs", Path("/proc/configs")):
        with pytest.raises(InputError, match="prevented writing the family") as caught:
            emit(family, folder)
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"files": 3}', '{"files": [1]}'])
def test_a_foreign_record_is_left_alone(family, folder, content):
    (folder / "family.json").write_text(content)
    (folder / "movinet_a0.yaml").write_text("theirs")
    with pytest.raises(InputError, match="is not the record of a family"):
        emit(family, folder)
    assert (folder / "movinet_a0.yaml").read_text() == "theirs"


def test_a_relative_folder(family, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    emit(smaller(family), ".")
    assert "movinet_a0.yaml" in names(tmp_path) and not list(tmp_path.parent.glob(f".{tmp_path.name}*"))
