"""JSON Schema of a kind of configuration file, for editors, or its reference page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

from search_space.base import schemas
from search_space.base.names import check_choice

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def _space() -> dict[str, Any]:
    from search_space.space import movinet

    schema = schemas.explained(movinet.SpaceConfig)
    schema["$defs"]["BlockConfig"]["required"].remove("widths")
    return _with_schema(schema, movinet.SCHEMA)


def _family() -> dict[str, Any]:
    from results.family.growth import FamilyConfig

    return schemas.explained(FamilyConfig)


def _search() -> dict[str, Any]:
    from nas.config import search_config

    schema = schemas.explained(search_config.SearchConfig)
    family, space = _family(), _space()
    schema["$defs"] |= family.pop("$defs") | space.pop("$defs")
    schema["$defs"] |= {"FamilyConfig": family, "SpaceConfig": space}
    schema["properties"]["family"] = {
        "$ref": "#/$defs/FamilyConfig",
        "description": schema["properties"]["family"]["description"],
    }
    schema["properties"]["limits"]["default"] = {}
    schema = _with_schema(schema, search_config.SCHEMA)
    extends = {"enum": search_config.presets(), "description": "preset with the values of all other settings"}
    schema["properties"] = {"extends": extends, **schema["properties"]}
    # A file that extends a preset contains only differences, also inside sections.
    whole = schema.pop("required")
    space_required = space.pop("required")
    schema["anyOf"] = [
        {"required": ["extends"]},
        {"required": ["schema", "task", "training"]},
        {"required": whole, "properties": {"space": {"required": space_required}}},
    ]
    costs = search_config.COST.json_schema
    schema["if"] = {"not": {"required": ["task"]}}
    schema["then"] = {"properties": {"costs": {"items": costs}, "limits": {"propertyNames": costs}}}
    del schema["$defs"]["Recipe"]["required"]
    return schema


def _training() -> dict[str, Any]:
    from movinet.training.config.experiment import ExperimentConfig
    from movinet.training.config.fields import other_keys

    schema = schemas.explained(ExperimentConfig)
    aug_type = schema["$defs"]["DataConfig"]["properties"]["aug_type"]
    aug_type["anyOf"].append(schema["$defs"]["Augmentation"]["properties"]["type"])  # short form of a section
    for kind in schemas.classes(ExperimentConfig):
        part = schema if kind is ExperimentConfig else schema["$defs"][kind.__name__]
        for name, other in other_keys(kind).items():
            only = (
                {"enum": [list(each) if isinstance(each, tuple) else each for each in other.only]} if other.only else {}
            )
            part["properties"][name] = {**only, "description": f"no effect: {other.why}", "deprecated": True}
    return schema


def _with_schema(schema: dict[str, Any], name: str) -> dict[str, Any]:
    key = {"const": name, "description": "kind and version of the file"}
    schema["properties"] = {"schema": key, **schema["properties"]}
    schema["required"] = ["schema", *schema["required"]]
    return schema


KINDS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "search": _search,
    "space": _space,
    "family": _family,
    "training": _training,
}


TITLES: Mapping[str, str] = {
    "search": "Keys of a search",
    "space": "Keys of a search space",
    "family": "Keys of a family",
    "training": "Keys of a training experiment",
}


def schema(options: argparse.Namespace) -> str:
    """Return the JSON Schema of a kind of file as text, or its reference page as Markdown."""
    check_choice("kind", options.kind, KINDS)
    made = KINDS[options.kind]()
    if options.markdown:
        origin = f"Made by `run_search.py schema {options.kind} --markdown`."
        return f"# {TITLES[options.kind]}\n\n{origin}\n\n{schemas.page(made).rstrip()}"
    return json.dumps({"$schema": DRAFT, **made}, indent=2)
