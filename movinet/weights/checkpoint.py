"""Weights between files and models: this project's own forms, and the checkpoints of the MoViNet release.

`load_weights` recognises what it is given:

- a TensorFlow checkpoint of the release, as published (`tf.train.Checkpoint(model=...)`), as its trainer writes it
  into a model_dir, or of Keras 2 `save_weights`; base and stream, factorised or not;
- a TensorFlow checkpoint of this project (`tf.train.Checkpoint(model=...)`, with or without optimiser);
- `.keras` and `.weights.h5` files of this project;
- an archive (`.tar.gz`, `.tar`) of the former, as the release publishes its checkpoints.

All weights of the part asked for are in the file, and none besides, or nothing is loaded and the lists of what
differs are in the error. Nothing is downloaded, nothing unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from movinet.weights import archive, h5_weights
from movinet.weights.object_graph import Node, open_checkpoint
from movinet.weights.release_names import release_variables
from search_space.base.atomic_files import replaced
from search_space.base.errors import InputError
from search_space.base.names import check_choice

# What stays as it is, by part of the model to load.
PARTS = {
    "all": (),
    "features": ("head/classifier",),  # for other classes
    "backbone": ("head/classifier", "head/dense"),  # the release's `init_checkpoint_modules: backbone`
}
LISTED = 6  # names of each kind in an error


@dataclass(frozen=True)
class Stored:
    """The weights in a file: arrays by this project's names, and what is there besides them."""

    arrays: Mapping[str, np.ndarray]
    unknown: tuple[str, ...] = ()


def load_weights(model: keras.Model, path: str | os.PathLike[str], part: str = "all") -> None:
    """Loads a file's weights into a model of the same architecture and variant.

    Args:
      model: of `movinet.model.keras_model.build` or `build_ensemble`, or a member of the latter.
      path: a `.keras` or `.weights.h5` file; or of a TensorFlow checkpoint its prefix (`ckpt-1`), one of its files, or
        the folder that holds it (its newest, if there are several), or an archive of that.
      part: "all"; "features", all but the classifier, for training on other classes; "backbone", what comes before
        the dense layers, as the release's `init_checkpoint_modules` means it.

    Raises:
      InputError: there is no such file, it cannot be read, or its weights are not exactly those of the part.
    """
    check_choice("part", part, PARTS)
    variables = named_variables(model)
    stored = read(path, list(variables))
    skipped = PARTS[part]
    wanted = {name: variable for name, variable in variables.items() if not _within(name, skipped)}
    arrays = {name: array for name, array in stored.arrays.items() if not _within(name, skipped)}
    _check(path, wanted, arrays, stored.unknown)
    for name, variable in wanted.items():
        variable.assign(arrays[name].reshape(variable.shape))


def save_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes `.keras` (the whole model), `.weights.h5`, or else a TensorFlow checkpoint of that prefix.

    A `.keras` or `.weights.h5` file appears complete or not at all.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix not in (".keras", ".h5"):
        tf.train.Checkpoint(model=model).write(str(path))
        return
    with replaced(path) as new:
        if path.suffix == ".keras":
            model.save(new)
        else:
            model.save_weights(new)


def named_variables(model: keras.Model, prefix: str = "") -> dict[str, Any]:
    """The weights and moving statistics of a model: `block1_layer1/expand`; of an ensemble `member1/block1_...`."""
    found: dict[str, Any] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= named_variables(layer, f"{prefix}{layer.name}/")
        else:
            found |= {f"{prefix}{layer.name}/{variable.name}": variable for variable in layer.weights}
    return found


def read(path: str | os.PathLike[str], names: list[str]) -> Stored:
    """The weights in a file. `names` are those of the model they are for: the release's files count layers only.

    Raises:
      InputError: it cannot be read as weights.
    """
    path = Path(path)
    if path.suffix in (".keras", ".h5") and path.is_file():
        return Stored(h5_weights.read(path))
    if archive.is_archive(path):
        with archive.unpacked(path) as folder:
            return read(archive.checkpoint_in(folder, path), names)
    prefix = checkpoint_prefix(path)
    try:
        return _read_checkpoint(open_checkpoint(prefix), names)
    except (tf.errors.OpError, OSError, ValueError, IndexError, RuntimeError) as error:  # from the readers
        why = " ".join(str(error).split())
        raise InputError("weights", str(path), f"cannot be read as a checkpoint: {why}") from None


def checkpoint_prefix(path: str | os.PathLike[str]) -> str:
    """The prefix of the TensorFlow checkpoint that a prefix, one of its files or a folder names.

    Raises:
      InputError: there is none, or a folder holds several and no `checkpoint` file that says which is the newest.
    """
    given = str(path)
    for prefix in (given, given.removesuffix(".index"), given.rpartition(".data-")[0]):
        if prefix and Path(f"{prefix}.index").is_file():
            return prefix
    if not Path(path).is_dir():
        raise InputError("weights", given, "is not a .keras or .weights.h5 file, nor a TensorFlow checkpoint")
    state = tf.train.get_checkpoint_state(given)
    # By name, so that the file cannot lead elsewhere: to another folder, or to an address.
    newest = Path(path, Path(state.model_checkpoint_path).name) if state else Path(path)
    if Path(f"{newest}.index").is_file():
        return str(newest)
    found = sorted(Path(path).glob("*.index")) or sorted(Path(path).glob("variables/variables.index"))
    if len(found) != 1:
        held = ", ".join(index.stem for index in found) or "none"
        raise InputError("weights", given, f"must hold one TensorFlow checkpoint; it holds {held}")
    return str(found[0].with_suffix(""))


def _within(name: str, skipped: Iterable[str]) -> bool:
    """Whether a variable belongs to a skipped layer, its bias included, in whatever member."""
    layer, _, own = name.rpartition("/")
    plain = f"{layer.rpartition('/')[2]}/{own}"
    return plain.removesuffix("_bias") in skipped


# -- what differs ---------------------------------------------------------------------------------


def _check(path: Any, wanted: Mapping[str, Any], arrays: Mapping[str, np.ndarray], unknown: Iterable[str]) -> None:
    missing = sorted(wanted.keys() - arrays.keys())
    extra = sorted([*(arrays.keys() - wanted.keys()), *unknown])
    shapes = sorted(
        f"{name} {arrays[name].shape}, here {tuple(variable.shape)}"
        for name, variable in wanted.items()
        if name in arrays and _long(arrays[name].shape) != _long(variable.shape)
    )
    differing = [
        _listed(f"{len(names)} {what}", names)
        for what, names in (
            ("missing in the file", missing),
            ("only in the file", extra),
            ("of another shape", shapes),
        )
        if names
    ]
    if not differing:
        return
    hint = "; for other classes load part 'features'" if _only_classes(missing, extra, shapes) else ""
    raise InputError("weights", str(path), f"does not fit the model: {'; '.join(differing)}{hint}")


def _long(shape: Iterable[int]) -> list[int]:
    """A shape without its axes of length one: all that the layouts of a kernel differ in."""
    return [size for size in shape if size != 1]


def _listed(title: str, names: list[str]) -> str:
    shown = ", ".join(names[:LISTED])
    return f"{title} ({shown}{f', and {len(names) - LISTED} more' if len(names) > LISTED else ''})"


def _only_classes(missing: list[str], extra: list[str], shapes: list[str]) -> bool:
    return not missing and not extra and all("head/classifier" in line for line in shapes)


# -- reading --------------------------------------------------------------------------------------


def _read_checkpoint(root: Node, names: Iterable[str]) -> Stored:
    model = root.child("model") or root
    if model.child("_operations") is not None:
        return Stored({name: node.value() for name, node in _own_variables(model, _members(names))})
    layers = dict.fromkeys(name.rpartition("/")[0] for name in names)
    found, unknown = release_variables(root, [layer for layer in layers if layer not in ("stem", "head")])
    if not found:
        raise ValueError("it holds no MoViNet")
    return Stored({name: node.value() for name, node in found.items()}, tuple(unknown))


def _members(names: Iterable[str]) -> list[str]:
    """The members of an ensemble, in order; none of a single network."""
    return list(dict.fromkeys(name.partition("/")[0] for name in names if name.count("/") > 1))


def _own_variables(model: Node, members: list[str], inner: bool = False) -> Iterator[tuple[str, Node]]:
    """Keras 3 keeps the layers of a functional model in `_operations`; ours hold their variables by name."""
    waiting = iter(members)
    for _, layer in _children(model, "_operations"):
        if layer.child("_operations") is None:
            variables = [held for _, held in layer.children() if held.key]
            yield from (("/".join(variable.full_name.split("/")[-2:]), variable) for variable in variables)
        elif inner:
            raise ValueError("it holds models in models in models")
        else:
            member = next(waiting, "another member")
            yield from ((f"{member}/{name}", variable) for name, variable in _own_variables(layer, [], inner=True))


def _children(node: Node, path: str) -> list[tuple[str, Node]]:
    found = node.child(path)
    return found.children() if found else []
