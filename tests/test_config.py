"""Test configurations: conversion to and from plain data, presets, defaults, and errors at construction."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from movinet.proxy.recipe import Recipe
from nas.algorithms.base import Algorithm
from nas.algorithms.registry import ALGORITHMS
from nas.config import search_config
from nas.config.search_config import SearchConfig, from_dict, load, to_dict
from nas.config.sections import AlgorithmConfig, DataConfig, EarlyStopping, Finals, ResourcesConfig, SimulationConfig
from results.family import growth
from search_space.base.errors import InputError
from search_space.cost.counting import COST_NAMES
from search_space.network import yaml_text
from search_space.published import PUBLISHED
from search_space.space.movinet import KERNELS, BlockConfig, SpaceConfig
from search_space.space.sampling import Limit

CLASSES = (DataConfig, Recipe, EarlyStopping, Finals, AlgorithmConfig, SimulationConfig, SearchConfig)


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


def some(options: Any, most: int = 4) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(options, min_size=1, max_size=most, unique=True).map(tuple)


PRINTABLE = st.characters(codec="utf-8", exclude_categories=["Cc"])  # PyYAML itself loses U+0085
BLOCKS = st.builds(
    BlockConfig,
    base_width=st.integers(1, 1024),
    widths=some(st.integers(1, 2048)),
    stride=st.integers(1, 2),
    depths=some(st.integers(1, 256)),
    kernels=some(st.sampled_from(KERNELS)),
    expansions=some(numbers(0.1, 64)),
    squeeze_excite=some(st.booleans(), 2),
)
SPACES = st.builds(
    SpaceConfig,
    name=st.text(PRINTABLE, min_size=1, max_size=20),
    classes=st.integers(1, 65536),
    frames=st.just(64),
    frame_strides=some(st.integers(1, 64)),
    resolutions=some(st.integers(1, 4096)),
    stem_widths=some(st.integers(1, 64)),
    blocks=st.lists(BLOCKS, min_size=1, max_size=3).map(tuple),
    project=some(st.integers(1, 4096)),
    dense=st.integers(1, 65536),
)
TRAININGS = st.builds(
    Recipe,
    steps=st.integers(1, 10**8),
    batch_size=st.integers(2, 65536),
    learning_rate=numbers(1e-8, 10),
    warmup=numbers(0, 0.5),
    decay=numbers(0, 0.5),
    label_smoothing=numbers(0, 0.99),
    rezero=numbers(0, 10),
)
DATA = st.one_of(
    st.builds(DataConfig, level=st.sampled_from(("tiny", "default")), train=st.integers(1, 10**7)),
    st.builds(
        DataConfig,
        source=st.just("video_folder"),
        path=st.text(PRINTABLE, min_size=1, max_size=30),
        clips_per_video=st.integers(1, 9),
    ),
)
ALGORITHM_CONFIGS = st.one_of(
    st.builds(
        AlgorithmConfig, st.just("stratified_random"), st.fixed_dictionaries({}, optional={"strata": st.integers()})
    ),
    st.builds(AlgorithmConfig, st.just("ageing_evolution"), st.fixed_dictionaries({"crossover": numbers(0, 1)})),
    st.just(AlgorithmConfig("random")),
)
STOPPINGS = st.builds(
    lambda dominators, dominating, **others: EarlyStopping(
        dominators=dominators, dominating=dominating if dominators else 0.0, **others
    ),
    rungs=st.lists(numbers(1e-6, 1 - 1e-6), max_size=4, unique=True).map(lambda shares: tuple(sorted(shares))),
    reduction=numbers(1.001, 1000),
    dominators=st.none() | st.integers(1, 10),
    dominating=st.floats(0, 0.99),
    bands=st.integers(1, 1000),
)
LIMITS = st.lists(
    st.builds(Limit, st.sampled_from(COST_NAMES), st.one_of(st.integers(1, 10**18), numbers(1e-3, 1e18))),
    max_size=3,
    unique_by=lambda limit: limit.name,
).map(tuple)
CONFIGS = st.builds(
    SearchConfig,
    space=SPACES,
    training=TRAININGS,
    data=DATA,
    trials=st.integers(1, 10**7),
    limits=LIMITS,
    costs=st.lists(st.sampled_from(COST_NAMES), min_size=1, max_size=3, unique=True).map(tuple),
    algorithm=ALGORITHM_CONFIGS,
    early_stopping=STOPPINGS,
    finals=st.builds(Finals, st.integers(0, 1000), st.integers(1, 10**5), some(st.sampled_from(sorted(PUBLISHED)))),
    family=st.fixed_dictionaries({}, optional={"classes": st.integers(1, 999), "targets": st.just({"a0": 1e9})}),
    seed=st.integers(0, 2**31 - 1),
    workers=st.integers(0, 10**5),
    resources=st.builds(ResourcesConfig, st.sampled_from([0.25, 1, 2.5, 8]), st.sampled_from([0, 0.5, 2])),
)


@given(CONFIGS)
def test_plain_data_and_files_hold_a_configuration_whole(chosen: SearchConfig) -> None:
    data = to_dict(chosen)
    assert from_dict(data) == chosen
    assert from_dict(json.loads(json.dumps(data, allow_nan=False))) == chosen
    assert from_dict(yaml.safe_load(yaml_text(data))) == chosen


@settings(max_examples=30)
@given(CONFIGS, st.data())
def test_any_key_too_many_is_refused_by_name(chosen: SearchConfig, data: st.DataObject) -> None:
    plain = copy.deepcopy(to_dict(chosen))
    places = [plain, *(plain[name] for name in ("data", "training", "early_stopping", "finals", "space", "limits"))]
    data.draw(st.sampled_from(places))["frobnicate"] = 1
    with pytest.raises(InputError, match="'frobnicate' (is an unknown key; known: |must be one of macs)"):
        from_dict(plain)


@pytest.mark.parametrize("name", search_config.presets())
def test_presets_are_whole_and_survive_yaml(name: str, tmp_path: Path) -> None:
    chosen = load(name)
    growth.from_dict(chosen.family)
    file = tmp_path / "again.yaml"
    file.write_text(yaml_text(to_dict(chosen)), encoding="utf-8")
    assert load(str(file)) == chosen


def test_the_presets_are_the_promised_ones() -> None:
    assert search_config.presets() == ["bench", "default", "one_shot", "pace", "quick", "thorough", "tiny"]


def test_a_file_that_extends_a_preset_holds_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "extends: default\ntraining: {steps: 7}\nspace: {dense: 64}\nalgorithm: {name: random}\n", encoding="utf-8"
    )
    found, base = load(str(file)), load("default")
    assert found.training == dataclasses.replace(base.training, steps=7)
    assert (found.algorithm.name, found.limits) == ("random", base.limits)
    assert found.space == dataclasses.replace(base.space, dense=64)
    file.write_text("extends: thorough\ntrials: 3\n", encoding="utf-8")
    assert load(str(file)).training.steps == load("thorough").training.steps > load("default").training.steps
    file.write_text("extends: defualt\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"extends: 'defualt' must be one of .*did you mean 'default'"):
        load(str(file))


def test_what_is_left_out_has_its_default() -> None:
    whole = to_dict(load("tiny"))
    short = {key: whole[key] for key in ("schema", "space")} | {"training": {"steps": 7}}
    assert from_dict(short) == SearchConfig(load("tiny").space, Recipe(7))


def test_a_file_needs_no_suffix_and_exponents_need_no_point(tmp_path: Path) -> None:
    file = tmp_path / "search"
    text = yaml_text(to_dict(load("tiny"))).replace("macs: 2000000", "macs: 2e6")
    file.write_text(
        text.replace("batch_size: 16", "batch_size: 16\n  weight_decay: 1e-3").replace("  weight_decay: 0.001\n", "")
    )
    chosen = load(str(file))
    assert chosen.limits == (Limit("macs", 2e6),)
    assert chosen.training.weight_decay == 1e-3


def test_a_folder_of_videos_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = to_dict(load("tiny"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for path, meant in (("videos", tmp_path / "videos"), ("~/videos", "/home/me/videos"), ("/videos", "/videos")):
        Path("my.yaml").write_text(yaml_text(data | {"data": {"source": "video_folder", "path": path}}))
        assert load("my.yaml").data.path == str(meant)


@pytest.mark.parametrize(
    ("steps", "rungs", "expected"),
    [
        (100, (0.25, 0.5), (25, 50)),
        (12, (0.5,), (6,)),
        (12, (), ()),
        (3, (0.1, 0.2, 0.9), (1,)),  # never 0, never the last step, never twice
        (1, (0.5,), ()),
    ],
)
def test_rungs_in_steps(steps: int, rungs: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert EarlyStopping(rungs).steps(steps) == expected


@given(st.lists(numbers(1e-6, 1 - 1e-6), max_size=5, unique=True), st.integers(1, 10**6))
def test_rungs_rise_and_stay_inside_the_training(shares: list[float], steps: int) -> None:
    rungs = EarlyStopping(tuple(sorted(shares))).steps(steps)
    assert list(rungs) == sorted(set(rungs))
    assert all(1 <= rung < steps for rung in rungs)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_options_of_an_algorithm_are_its_own_arguments(name: str) -> None:
    own = inspect.signature(ALGORITHMS[name]).parameters.keys() - inspect.signature(Algorithm).parameters.keys()
    AlgorithmConfig(name, dict.fromkeys(own, 1))
    for shared in ("space", "limits", "planned"):
        with pytest.raises(InputError, match=f"options: '{shared}' is an unknown key"):
            AlgorithmConfig(name, {shared: 1})


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_field_is_explained(kind: type) -> None:
    explained = inspect.getdoc(kind) or ""
    assert len(explained.splitlines()[0].split()) >= 3
    for each in dataclasses.fields(kind):
        assert re.search(rf"\b{each.name}\b.*:", explained), each.name


def test_a_share_of_dominators_needs_their_number():
    with pytest.raises(InputError, match=r"dominating: 0\.2 requires 'dominators'"):
        EarlyStopping(dominating=0.2)
