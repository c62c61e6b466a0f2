"""Read an experiment as the TF Model Garden's command line does: its defaults, then files, then overrides."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from movinet.training.config.experiment import ExperimentConfig
from movinet.training.config.fields import Ignored, merge, select
from search_space.base.configuration import made_from
from search_space.base.errors import InputError
from search_space.base.names import check_choice, hint
from search_space.base.yaml_file import line_of, parse_yaml, read_yaml

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
    """Return the experiment, changed by the files and then by `override`, and the keys that are ignored.

    Args:
      name: movinet_kinetics600.
      files: YAML or JSON files, or names of presets; later files override earlier ones.
      override: YAML or JSON text, `key.path=value,...`, or a file.
      tpu, tf_data_service: addresses, as in the Model Garden's flags of these names.

    Raises:
      InputError: a file cannot be read, or a key or value is invalid; names the file.
    """
    check_choice("--experiment", name, EXPERIMENTS)
    merged: dict[str, Any] = {}
    ignored: list[Ignored] = []
    sources = list(_sources(files, override, tpu, tf_data_service))
    for source in sources:
        with source.named():
            found, more = select(ExperimentConfig, {} if source.data is None else source.data)
        merged = merge(merged, _located(found, source.folder))
        ignored += [Ignored(f"{source.name}: {each.place}", each.why) for each in more]
    try:
        return made_from(ExperimentConfig, _as_experiment(merged), ""), ignored
    except InputError as error:
        with next((source.named() for source in reversed(sources) if source.sets(error.place)), nullcontext()):
            raise error


@dataclass(frozen=True)
class _Source:
    """A file, or a command line option in its place."""

    name: str
    data: Any
    folder: Path = Path()
    path: Path | None = None

    def sets(self, place: str) -> bool:
        """Return whether this source sets the value at a place such as `task.model.dropout_rate`, or its section."""
        data = self.data
        for key in re.split(r"[.\[]", place):
            if not isinstance(data, Mapping):
                return True
            if key not in data:
                return False
            data = data[key]
        return True

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the file and the line, or the option, in errors about its data."""
        try:
            yield
        except InputError as error:
            line = line_of(self.path, f".{error.place}", error.value) if self.path else None
            place = f"{self.name}:{line}" if line else self.name
            place = f"{place}: {error.place}" if error.place else place
            raise InputError(place, error.value, error.rule) from None


def _sources(
    files: Sequence[str | Path], override: str, tpu: str | None, tf_data_service: str | None
) -> Iterator[_Source]:
    for given in files:
        path = file_of(given)
        yield _Source(str(given), read_yaml(path, "--config_file"), path.parent, path)
    if tpu:
        yield _Source("--tpu", {"runtime": {"tpu": tpu}})
    if tf_data_service:
        address = {"tf_data_service_address": tf_data_service}
        yield _Source("--tf_data_service", {"task": {"train_data": address, "validation_data": address}})
    if override.strip():
        yield _Source(OVERRIDE, parse_override(override))


def presets() -> list[str]:
    """Return the names of the bundled experiments."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def file_of(given: str | Path) -> Path:
    """Return the file of a preset, or the given path.

    Raises:
      InputError: `given` is neither a preset nor a file.
    """
    name = str(given)
    if name in presets():
        return PRESETS / f"{name}.yaml"
    if name.isidentifier() and not Path(name).exists() and (meant := hint(name, presets())):
        raise InputError("--config_file", name, f"is neither a preset ({', '.join(presets())}) nor a file{meant}")
    return Path(given)


def _located(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Resolve files of an ensemble's members relative to the file that names them."""
    ensemble: Any = found
    for key in ("task", "model", "ensemble"):
        ensemble = ensemble.get(key) if isinstance(ensemble, Mapping) else None
    members = ensemble.get("members") if isinstance(ensemble, Mapping) else None
    if not isinstance(members, list):
        return found
    files = [_member(member, folder.resolve()) for member in members]
    return merge(found, {"task": {"model": {"ensemble": {"members": files}}}})


def _member(member: Any, folder: Path) -> Any:
    if not isinstance(member, Mapping):
        return member
    named = {key: member[key] for key in ("network", "checkpoint") if isinstance(member.get(key), str) and member[key]}
    return {**member, **{key: str(folder / name) for key, name in named.items()}}


def _as_experiment(merged: dict[str, Any]) -> dict[str, Any]:
    """Merge into the defaults, which come from the classes."""
    defaults = to_dict(ExperimentConfig())
    full = merge(defaults, merged)
    task = full["task"] if isinstance(full["task"], Mapping) else {}
    for data in (task.get("train_data"), task.get("validation_data")):
        # the Model Garden implementation has only these two
        if isinstance(data, dict) and data.get("tfds_name") and data.get("file_type") == "tfrecord":
            data["file_type"] = "tfds"
    return full


def to_dict(experiment: ExperimentConfig) -> dict[str, Any]:
    """Return plain data; the inverse of `made_from`."""
    return _plain(dataclasses.asdict(experiment))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def dump(experiment: ExperimentConfig) -> str:
    """Return YAML that `load` accepts as a file."""
    return yaml.safe_dump(to_dict(experiment), sort_keys=False, width=120)


def notes(ignored: Sequence[Ignored]) -> list[str]:
    """Return a line for each reason, with the keys."""
    keys: dict[tuple[str, str], list[str]] = {}
    for each in ignored:
        source, _, key = each.place.rpartition(": ")
        keys.setdefault((source, each.why), []).append(key)
    return [f"{source}: ignored {', '.join(names)} ({why})" for (source, why), names in keys.items()]


def parse_override(text: str) -> Any:
    """Parse an override: `key.path=value,...` (values as in YAML, lists in brackets), YAML, JSON, or a file of one.

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
            raise InputError(f"{OVERRIDE}: {key}", sorted(items), "must set all entries, from [0] on")
        result = merge(result, _nest(key, [items[i] for i in range(len(items))]))
    return result


def _nest(key: str, value: Any) -> dict[str, Any]:
    """Return {a: {b: value}} for the key a.b."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def _split(text: str) -> Iterator[str]:
    """Yield the parts between commas outside of brackets and quotes."""
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
