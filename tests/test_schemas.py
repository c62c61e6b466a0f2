"""JSON Schemas and reference pages of configuration files, against the rules of the classes."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import run_search
from cli import schemas
from movinet.training.config import experiment_file
from nas.config import search_config
from search_space.base.errors import InputError
from search_space.space import movinet

DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED = Path(__file__).parents[1] / "results" / "published" / "frontier" / "configs"
FILES = [
    *(("search", path) for path in sorted(search_config.PRESETS.glob("*.yaml"))),
    *(("training", path) for path in sorted(experiment_file.PRESETS.glob("*.yaml"))),
    *(("training", path) for path in sorted(PUBLISHED.glob("*.experiment.yaml"))),
]


@functools.cache
def schema_of(kind: str) -> dict[str, Any]:
    schema = schemas.KINDS[kind]()
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_search.main(["schema", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda each: getattr(each, "name", each))
def test_our_own_files_are_valid(kind: str, path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema_of(kind))


def test_a_space_is_valid_alone(capsys: pytest.CaptureFixture[str]) -> None:
    space = movinet.to_dict(movinet.base_config())
    schema = json.loads(printed(capsys, "space"))
    jsonschema.validate(space, schema)
    jsonschema.validate({**space, "blocks": [{"base_width": 8, "stride": 1, "depths": [1]}]}, schema)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("trials",), 0),
        (("trials",), "48"),
        (("trails",), 48),
        (("statistic",), "acuracy"),
        (("costs",), []),
        (("costs",), ["flops"]),
        (("limits",), {"macs": 0}),
        (("limits",), {"flops": 1}),
        (("training", "warmup"), 2),
        (("finals", "repeats"), True),
        (("space", "blocks", 0, "kernels"), [[3, 3]]),
        (("space", "resolutions"), ["24"]),
        (("family", "lift"), {"depht": 2}),
        (("tracking", "wandb"), {}),
        (("algorithm", "name"), "frontier"),
        (("data", "source"), "digits"),
    ],
)
def test_schema_and_classes_refuse_alike(place: tuple[Any, ...], value: object) -> None:
    data = copy.deepcopy(search_config.to_dict(search_config.load("default")))
    schema = schema_of("search")
    jsonschema.validate(data, schema)
    *way, last = place
    inner = data
    for key in way:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema)
    if place[0] != "family":  # the results package reads it with the same class
        with pytest.raises(InputError):
            search_config.from_dict(data)


@pytest.mark.parametrize("kind", ["search", "training"])
def test_the_reference_pages_are_of_these_classes(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, kind, "--markdown")
    assert page == (DOCS / "reference" / f"{kind}_keys.md").read_text(encoding="utf-8")
    assert "|  |\n" not in page  # every key has a description


def test_an_unknown_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_search.main(["schema", "serch"]) == 2
    assert capsys.readouterr().err.endswith("did you mean 'search'?\n")
