"""Files of a family: YAML of each model, an experiment for the TF Model Garden's trainer, and the decisions."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from results.family.experiment import ensemble_experiment, experiment
from results.family.growth import Family, Member
from search_space.base import untrusted_files
from search_space.base.errors import InputError
from search_space.cost.counting import in_unit
from search_space.network import dump, yaml_text

RECORD = "family.json"
MAX_RECORD = 2**24  # bytes


def emit(family: Family, folder: str | Path) -> list[Path]:
    """Write the family into `folder` and return the paths: movinet_<model>.yaml and .experiment.yaml, family.json.

    All files are first written to a temporary folder beside it, so that no file is incomplete. A new folder appears
    whole. In an existing one the files replace those of an earlier family, the record last; other models of the
    earlier family are deleted.

    Raises:
      InputError: the folder cannot be written.
    """
    folder = Path(folder).absolute()
    new = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    try:
        new.mkdir(parents=True)
        names = [_write(new / name, text) for name, text in _files(family)]
        if not folder.exists():
            os.replace(new, folder)
        else:
            _move(new, folder, names)
    except OSError as error:
        raise InputError(str(folder), error.strerror, "prevented writing the family") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return [folder / name for name in names]


def _files(family: Family) -> Iterator[tuple[str, str]]:
    """Yield name and text of every file, the record last."""
    files = []
    for member in family.models:
        for name, text in (
            (f"movinet_{member.name}.yaml", _network(member)),
            (_experiment_name(member.name), _text(member)),
        ):
            files.append(name)
            yield name, text
    yield RECORD, json.dumps({**family.record(), "files": [*files, RECORD]}, indent=2, allow_nan=False) + "\n"


def _experiment_name(model: str) -> str:
    return f"movinet_{model}.experiment.yaml"


def _network(member: Member) -> str:
    return f"{_title(member)}{dump(member.network)}"


def _text(member: Member) -> str:
    names = member.decision.get("members")
    if not names:
        return f"{_title(member)}{yaml_text(experiment(member.network))}"
    data = ensemble_experiment(
        member.network, [_experiment_name(name) for name in names], [f"movinet_{name}.yaml" for name in names]
    )
    return f"{_title(member)}{yaml_text(data)}"


def _title(member: Member) -> str:
    cost = member.network.cost
    macs, million = in_unit(cost["macs"]), cost["trainable_parameters"] / 1e6
    return f"# {member.network.name}: {macs} multiply-adds per clip, {million:.2f} M parameters\n"


def _write(path: Path, text: str) -> str:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return path.name


def _move(new: Path, folder: Path, names: list[str]) -> None:
    before = _recorded(folder / RECORD)
    for name in names:
        os.replace(new / name, folder / name)
    for name in set(before) - set(names):
        (folder / name).unlink(missing_ok=True)


def _recorded(path: Path) -> list[str]:
    """Return the files of the family that is already in the folder."""
    if not path.exists():
        return []
    try:
        record: Mapping[str, Any] = untrusted_files.parsed_json(untrusted_files.content(path, MAX_RECORD))
        return [Path(name).name for name in record["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(str(path), "contents", "is not the record of a family; choose another folder") from None
