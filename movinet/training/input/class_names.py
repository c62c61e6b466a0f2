"""Names of the classes, stored with data and checkpoints: label 3 must mean the same class in both.

A list or folder that lacks a class renumbers the others, so correct predictions would count as wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from movinet.data.video.csv_list import read_classes
from movinet.training.config.experiment import DataConfig
from movinet.training.input.batches import open_examples
from search_space.base.errors import InputError

FILE = "classes.txt"  # in the folder of a run: one name per line, by label


def class_names(data: DataConfig) -> tuple[str, ...]:
    """Return the class names of an input, by label; empty if the input has none.

    Raises:
      InputError: the data cannot be read.
    """
    return open_examples(data, training=False, seed=0).classes


def check_same(place: str, names: Sequence[str], other_place: str, others: Sequence[str]) -> None:
    """Check that two lists give every label the same name; one may be the beginning of the other.

    Raises:
      InputError: a label has two names.
    """
    for label, (name, other) in enumerate(zip(names, others, strict=False)):
        if name != other:
            rule = (
                f"is class {label}, which is {other!r} in {other_place}: a folder or list that lacks a class renumbers"
                f" the others. Name all {max(len(names), len(others))} classes in a classes.txt beside each list"
            )
            raise InputError(place, name, rule)


def beside(checkpoint: str) -> tuple[str, ...]:
    """Return the names kept in the folder of a run, given the folder or a checkpoint in it; empty if there are none."""
    for folder in (Path(checkpoint), Path(checkpoint).parent):
        if (folder / FILE).is_file():
            return read_classes(folder / FILE)
    return ()
