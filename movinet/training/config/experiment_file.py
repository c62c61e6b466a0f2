"""Reads an experiment as the release's command line does: its defaults, then files, then overrides."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from movinet.training.config.experiment import ExperimentConfig
from movinet.training.config.fields import Ignored, build, merge, select
from search_space.base.errors import InputError
from search_space.base.names import check_choice, hint
from search_space.base.yaml_file import parse_yaml, read_yaml

EXPERIMENTS = ("movinet_kinetics600",)
PRESETS = Path(__file__).parent / "presets"
OVERRIDE = "--params_override"

_ASSIGNMENT = re.compile(r"\s*([A-Za-z_][\w.]*)(?:\[(\d{1,4})\])?\s*=(.*)", re.DOTALL)


def load(
    name: str,
    files: Sequence[str | Path] = (),
    override: str = "",
    *,
    tpu: str | None = None,
    tf_data_service: str | None = None,
) -> tuple[ExperimentConfig, list[Ignored]]:
    """The experiment of this name with what the files and then `override` say instead, and the keys that are ignored.

    Args:
      name: movinet_kinetics600.
      files: YAML or JSON files, or names of presets; later ones count more.
      override: YAML or JSON text, `key.path=value,...`, or a file.
      tpu, tf_data_service: addresses, as the release's flags of these names.

    Raises:
      InputError: a file cannot be read, or a key or value is not understood; says in which file.
    """
    check_choice("--experiment", name, EXPERIMENTS)
    merged: dict[str, Any] = {}
    ignored: list[Ignored] = []
    for place, data, folder in _sources(files, override, tpu, tf_data_service):
        found, more = select(ExperimentConfig, {} if data is None else data, f"{place}: ")
        merged = merge(merged, _located(found, folder))
        ignored += more
    experiment = build(ExperimentConfig, _as_experiment(merged), "")
    return experiment, ignored


def _sources(
    files: Sequence[str | Path], override: str, tpu: str | None, tf_data_service: str | None
) -> Iterator[tuple[str, Any, Path]]:
    """Place, data and folder of each."""
    for given in files:
        path = file_of(given)
        yield str(given), read_yaml(path, "--config_file"), path.parent
    if tpu:
        yield "--tpu", {"runtime": {"tpu": tpu}}, Path()
    if tf_data_service:
        address = {"tf_data_service_address": tf_data_service}
        yield "--tf_data_service", {"task": {"train_data": address, "validation_data": address}}, Path()
    if override.strip():
        yield OVERRIDE, parse_override(override), Path()


def presets() -> list[str]:
    """The names of the experiments that come with the project."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def file_of(given: str | Path) -> Path:
    """The file of a preset, or what is given.

    Raises:
      InputError: a name that is neither a preset's nor a file's, where one is near.
    """
    name = str(given)
    if name in presets():
        return PRESETS / f"{name}.yaml"
    if name.isidentifier() and not Path(name).exists() and (meant := hint(name, presets())):
        raise InputError("--config_file", name, f"is neither a preset ({', '.join(presets())}) nor a file{meant}")
    return Path(given)


def _located(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With the files of an ensemble's members relative to the file that names them."""
    model = found.get("task", {}).get("model", {})
    if not model.get("ensemble"):
        return found
    members = [dict(member) for member in model["ensemble"].get("members", ())]
    for member in members:
        for key in ("network", "checkpoint"):
            if member.get(key):
                member[key] = str(folder.resolve() / member[key])
    return merge(found, {"task": {"model": {"ensemble": {"members": members}}}})


def _as_experiment(merged: dict[str, Any]) -> dict[str, Any]:
    """Merged into the defaults, which come from the classes."""
    defaults = to_dict(ExperimentConfig())
    full = merge(defaults, merged)
    for data in (full["task"]["train_data"], full["task"]["validation_data"]):
        if data["tfds_name"] and data["file_type"] == "tfrecord":  # the release has only these two, told apart so
            data["file_type"] = "tfds"
    return full


def to_dict(experiment: ExperimentConfig) -> dict[str, Any]:
    """Plain data; the inverse of `build`."""
    return _plain(dataclasses.asdict(experiment))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def dump(experiment: ExperimentConfig) -> str:
    """As YAML that `load` reads as a file."""
    return yaml.safe_dump(to_dict(experiment), sort_keys=False, width=120)


def notes(ignored: Sequence[Ignored]) -> list[str]:
    """A line for each reason, with the keys."""
    keys: dict[tuple[str, str], list[str]] = {}
    for each in ignored:
        source, _, key = each.place.rpartition(": ")
        keys.setdefault((source, each.why), []).append(key)
    return [f"{source}: ignored {', '.join(names)} ({why})" for (source, why), names in keys.items()]


def parse_override(text: str) -> Any:
    """What an override says: `key.path=value,...` (values as in YAML, lists in brackets), YAML, JSON, or a file of it.

    Raises:
      InputError: none of these.
    """
    if _ASSIGNMENT.match(text) and not text.lstrip().startswith(("{", "[")):
        return _assignments(text)
    data = parse_yaml(text, OVERRIDE, text)
    return read_yaml(data, OVERRIDE) if isinstance(data, str) else data


def _assignments(text: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    entries: dict[str, dict[int, Any]] = {}
    for part in _split(text):
        match = _ASSIGNMENT.fullmatch(part)
        if match is None:
            raise InputError(OVERRIDE, part.strip(), "must be key.path=value")
        key, index, value = match[1], match[2], parse_yaml(match[3].strip(), f"{OVERRIDE}: {match[1]}", match[3])
        if index is not None:
            entries.setdefault(key, {})[int(index)] = value
        else:
            result = merge(result, _nest(key, value))
    for key, items in entries.items():
        if sorted(items) != list(range(len(items))):
            raise InputError(f"{OVERRIDE}: {key}", sorted(items), "must be all entries, from [0] on")
        result = merge(result, _nest(key, [items[i] for i in range(len(items))]))
    return result


def _nest(key: str, value: Any) -> dict[str, Any]:
    """{a: {b: value}} for the key a.b."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def _split(text: str) -> Iterator[str]:
    """The parts between commas that are in no bracket and no quotes."""
    depth, quote, start = 0, "", 0
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth <= 0:
            yield text[start:i]
            start = i + 1
    if text[start:].strip():
        yield text[start:]
