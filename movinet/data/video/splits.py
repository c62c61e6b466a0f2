"""Divides labelled videos into train, validation and test, so that all videos of a group are in one split."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search_space.base.checks import check_pattern, check_shares


@dataclass(frozen=True)
class SplitRule:
    """Division of videos whose splits neither folders nor a list name.

    Attributes:
      validation: share of each class's files.
      test: share of each class's files.
      group_pattern: regular expression; files in whose names it finds the same text are a group. If it has a
        parenthesised part, the text of the first one counts. '' makes every file its own group.

    Raises:
      InputError: shares that leave nothing to train on, or not a regular expression.
    """

    validation: float = 0.15
    test: float = 0.15
    group_pattern: str = ""

    def __post_init__(self) -> None:
        check_shares("split_shares", (self.validation, self.test))
        check_pattern("group_pattern", self.group_pattern)

    def group(self, name: str) -> str:
        """Return the group of a file of that name."""
        found = re.search(self.group_pattern, name) if self.group_pattern else None
        if found is None:
            return name
        return (found[1] if found.re.groups else None) or found[0]


BY_SHARES = SplitRule()  # every file by itself, 70 % for training


def divide(labels: Sequence[Any], groups: Sequence[str], rule: SplitRule) -> list[str]:
    """Return the split of each file, by the hash of its group.

    Every class is divided by the shares of its files. One with three or more groups is in every split, unless other
    classes share these groups; one with fewer is in train alone.

    Args:
      labels: class of each file; sortable.
      groups: group of each file.
      rule: shares.
    """
    of_label: dict[Any, Counter[str]] = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        of_label[label][group] += 1
    splits: dict[str, str] = {}
    for label in sorted(of_label):
        sizes = of_label[label]
        wanted = _shares(sizes.total(), rule.test, rule.validation) if len(sizes) > 2 else (0, 0)
        free = sorted(sizes.keys() - splits.keys(), key=lambda group: hashlib.sha256(group.encode()).digest())
        for split, files, spare in zip(("test", "validation"), wanted, (2, 1), strict=True):
            held = sum(size for group, size in sizes.items() if splits.get(group) == split)
            chosen = _held_out(free, sizes, files - held, spare, bool(held))
            splits |= dict.fromkeys(chosen, split)
            free = [group for group in free if group not in chosen]
        splits |= dict.fromkeys(free, "train")
    return [splits[group] for group in groups]


def _held_out(free: Sequence[str], sizes: Counter[str], files: int, spare: int, some: bool) -> set[str]:
    """Choose groups of at most `files` files together, and leave `spare`; the smallest one where none is so small."""
    chosen: set[str] = set()
    for group in free:
        if len(free) - len(chosen) > spare and sizes[group] <= files:
            chosen.add(group)
            files -= sizes[group]
    if files > 0 and not (chosen or some) and len(free) > spare:
        chosen.add(min(free, key=sizes.__getitem__))
    return chosen


def _shares(count: int, first: float, second: float) -> tuple[int, int]:
    """Number of `count` files to hold out for each share: at least one each, and at least one left to train on."""
    ahead = min(max(1, round(count * first)), count - 2)
    return ahead, min(max(1, round(count * second)), count - 1 - ahead)
