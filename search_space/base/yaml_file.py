"""YAML as people write it, read as plain data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from search_space.base import untrusted_files
from search_space.base.errors import InputError

# All far above any configuration, and low enough to be read within seconds: PyYAML takes 8 for a megabyte.
MAX_BYTES = 2**20
MAX_VALUES = 10**6  # counted where they are used: ten lists of ten references each to the last are 1e10
MAX_DEPTH = 50
MAX_NUMBER = 2**14  # characters; 1:1:1... is a number in base 60, and takes time with the square of its length


def read_yaml(path: Path | str, place: str) -> Any:
    """The plain data in the YAML file `path`: what JSON can hold too.

    Raises:
      InputError: at `place`: the file cannot be read, is not YAML, has a key twice, contains itself, or holds a
        date, a set, bytes or an object of Python.
    """
    return parse_yaml(_content(path, place), place, str(path))


@contextmanager
def located(path: Path | str, root: str) -> Iterator[None]:
    """Name the file, and the line of the key, in errors about data that was read from it.

    Args:
      path: of the YAML file.
      root: what the places of those errors begin with, such as "search" in "search.training.steps".

    Raises:
      InputError: the one that was raised inside, with the file and the line in its place.
    """
    try:
        yield
    except InputError as error:
        if not error.place.startswith(root):
            raise
        line = line_of(path, error.place[len(root) :], error.value)
        place = f"{path}:{line}: {error.place}" if line else f"{path}: {error.place}"
        raise InputError(place, error.value, error.rule) from None


def line_of(path: Path | str, keys: str, value: object) -> int | None:
    """Line of the last key of `.training.steps` that a YAML file has, or of the key `value` below it; from 1.

    None where the file has not even the first key, or is no YAML.
    """
    try:
        node = yaml.compose(_content(path, ""), _Loader)
    except (yaml.YAMLError, InputError, RecursionError):  # reading it has said so
        return None
    line = None
    while node is not None:
        key, below, rest = _step(node, keys)
        if key is None:
            break
        line, node, keys = key.start_mark.line + 1, below, rest
    if not keys and isinstance(node, yaml.MappingNode):
        line = next((key.start_mark.line + 1 for key, _ in node.value if key.value == str(value)), line)
    return line


def _step(node: yaml.Node, keys: str) -> tuple[yaml.Node | None, yaml.Node | None, str]:
    """The node of the first key or place of `keys`, the node below it, and what is left of `keys`."""
    if isinstance(node, yaml.SequenceNode) and (at := re.match(r"\[(\d+)\]", keys)) and int(at[1]) < len(node.value):
        item = node.value[int(at[1])]
        return item, item, keys[at.end() :]
    for key, below in node.value if isinstance(node, yaml.MappingNode) else ():
        rest = keys.removeprefix(f".{key.value}") if isinstance(key.value, str) else keys
        if rest != keys and rest[:1] in ("", ".", "["):
            return key, below, rest
    return None, None, keys


def parse_yaml(content: bytes | str, place: str, shown: str) -> Any:
    """The plain data in YAML text; what is wrong with it is said of `shown`.

    Raises:
      InputError: as `read_yaml`.
    """
    try:
        data = _loaded(content if isinstance(content, str) else content.decode("utf-8"))
    # PyYAML itself raises the latter three, for a date that does not exist, `!!bool 3`, `!!int ''`, ...
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError) as error:
        raise InputError(place, shown, f"is not YAML: {_reason(error)}") from None
    try:
        json.dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(place, shown, f"holds what is not plain data: {error}") from None
    return data


def _loaded(text: str) -> Any:
    """Composes first, which takes no more than the text does, and constructs what is not too much."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {}, 0)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_size(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """How many values a node stands for, with each reference to another as often as it is used."""
    if depth > MAX_DEPTH:
        raise yaml.constructor.ConstructorError(None, None, f"deeper than {MAX_DEPTH} levels", node.start_mark)
    if id(node) in known:
        return known[id(node)]
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > MAX_NUMBER and node.tag.endswith((":int", ":float")):
            raise yaml.constructor.ConstructorError(None, None, "an integer or number too long", node.start_mark)
        return 1
    parts = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
    count = 1 + sum(_check_size(part, known, depth + 1) for part in parts)
    if count > MAX_VALUES:
        raise yaml.constructor.ConstructorError(None, None, f"more than {MAX_VALUES} values", node.start_mark)
    known[id(node)] = count
    return count


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())


def _content(path: Path | str, place: str) -> bytes:
    try:
        return untrusted_files.content(path, MAX_BYTES)
    except OSError as error:
        raise InputError(place, str(path), f"cannot be read: {error.strerror}") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, and takes 8e6 for a number, as YAML 1.2 does and PyYAML does not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} again", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _tuple(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    return list(loader.construct_sequence(node, deep=True))


# The release's files write the shape of a clip as a tuple of Python.
_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
