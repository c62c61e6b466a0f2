"""Load and save weights: the formats of this project, and the checkpoints of the TF Model Garden.

`load_weights` recognises these formats:

- a TensorFlow checkpoint of the Model Garden, as published (`tf.train.Checkpoint(model=...)`), as its trainer
  writes it into a model_dir, or by `save_weights` of Keras 2; base and stream, factorised or not;
- a TensorFlow checkpoint of this project (`tf.train.Checkpoint(model=...)`, with or without optimiser);
- `.keras` and `.weights.h5` files of this project;
- an archive (`.tar.gz`, `.tar`) of a TensorFlow checkpoint, as the Model Garden publishes its checkpoints.

The file must contain exactly the weights of the requested part; otherwise nothing is loaded, and the error lists the
differences. Nothing is downloaded, nothing unpickled.
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

# Weights that are not loaded, by part of the model to load.
PARTS = {
    "all": (),
    "features": ("head/classifier",),  # for other classes
    "backbone": ("head/classifier", "head/dense"),  # the Model Garden's `init_checkpoint_modules: backbone`
}
LISTED = 6  # names of each kind in an error


@dataclass(frozen=True)
class Stored:
    """The weights in a file: arrays by this project's names, and the names of all others."""

    arrays: Mapping[str, np.ndarray]
    unknown: tuple[str, ...] = ()


def load_weights(model: keras.Model, path: str | os.PathLike[str], part: str = "all") -> None:
    """Load a file's weights into a model of the same architecture and variant.

    Args:
      model: of `movinet.model.keras_model.build` or `build_ensemble`, or a member of the latter.
      path: a `.keras` or `.weights.h5` file; or for a TensorFlow checkpoint its prefix (`ckpt-1`), one of its files,
        its folder (with several checkpoints the newest), or an archive of it.
      part: "all"; "features", all but the classifier, for training on other classes; "backbone", all before the dense
        layers, as in the Model Garden's `init_checkpoint_modules`.

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
    """Write `.keras` (the whole model), `.weights.h5`, or otherwise a TensorFlow checkpoint with that prefix.

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
    """Return weights and moving statistics of a model: `block1_layer1/expand`; of an ensemble `member1/block1_...`."""
    found: dict[str, Any] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= named_variables(layer, f"{prefix}{layer.name}/")
        else:
            found |= {f"{prefix}{layer.name}/{variable.name}": variable for variable in layer.weights}
    return found


def read(path: str | os.PathLike[str], names: list[str]) -> Stored:
    """Return the weights in a file. `names` are the model's names, as the Model Garden's files only number layers.

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
    except (tf.errors.OpError, OSError, ValueError, IndexError, RuntimeError) as error:  # raised by the readers
        why = " ".join(str(error).split())
        raise InputError("weights", str(path), f"cannot be read as a checkpoint: {why}") from None


def checkpoint_prefix(path: str | os.PathLike[str]) -> str:
    """Return the prefix of a TensorFlow checkpoint, from its prefix, one of its files or its folder.

    Raises:
      InputError: there is none, or a folder holds several and no `checkpoint` file that names the newest.
    """
    given = str(path)
    for prefix in (given, given.removesuffix(".index"), given.rpartition(".data-")[0]):
        if prefix and Path(f"{prefix}.index").is_file():
            return prefix
    if not Path(path).is_dir():
        raise InputError("weights", given, "is not a .keras or .weights.h5 file, nor a TensorFlow checkpoint")
    state = tf.train.get_checkpoint_state(given)
    # By name only, so that the file cannot point to another folder or to an address.
    newest = Path(path, Path(state.model_checkpoint_path).name) if state else Path(path)
    if Path(f"{newest}.index").is_file():
        return str(newest)
    found = sorted(Path(path).glob("*.index")) or sorted(Path(path).glob("variables/variables.index"))
    if len(found) != 1:
        held = ", ".join(index.stem for index in found) or "none"
        raise InputError("weights", given, f"must hold one TensorFlow checkpoint; it holds {held}")
    return str(found[0].with_suffix(""))


def _within(name: str, skipped: Iterable[str]) -> bool:
    """Return whether a variable belongs to a skipped layer, its bias included, in any member."""
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
    """Return a shape without axes of length one, the only difference between layouts of a kernel."""
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
    """Return the members of an ensemble in order; none for a single network."""
    return list(dict.fromkeys(name.partition("/")[0] for name in names if name.count("/") > 1))


def _own_variables(model: Node, members: list[str], inner: bool = False) -> Iterator[tuple[str, Node]]:
    """Yield variables: Keras 3 keeps layers of a functional model in `_operations`; ours hold variables by name."""
    waiting = iter(members)
    for _, layer in _children(model, "_operations"):
        if layer.child("_operations") is None:
            variables = [held for _, held in layer.children() if held.key]
            yield from (("/".join(variable.full_name.split("/")[-2:]), variable) for variable in variables)
        elif inner:
            raise ValueError("it holds nested models of three levels")
        else:
            member = next(waiting, "another member")
            yield from ((f"{member}/{name}", variable) for name, variable in _own_variables(layer, [], inner=True))


def _children(node: Node, path: str) -> list[tuple[str, Node]]:
    found = node.child(path)
    return found.children() if found else []
