"""YAML files written by hand, read as plain data."""

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

# Limits far above any configuration, for reading within seconds: PyYAML takes 8 s for a megabyte.
MAX_BYTES = 2**20
MAX_VALUES = 10**6  # references count each time: ten nested lists of ten references are 1e10
MAX_DEPTH = 50
MAX_NUMBER = (
    2**14
)  # characters; 1:1:1... is a number in base 60, whose parsing time grows with the square of its length


def read_yaml(path: Path | str, place: str) -> Any:
    """Return the plain data in the YAML file `path`, limited to the types of JSON.

    Raises:
      InputError: at `place`: the file cannot be read, is not YAML, has a duplicate key, contains itself, or contains a
        date, a set, bytes or a Python object.
    """
    return parse_yaml(_content(path, place), place, str(path))


@contextmanager
def located(path: Path | str, root: str) -> Iterator[None]:
    """Add the file and the line of the key to errors about data of a file.

    Args:
      path: of the YAML file.
      root: first part of the fields in those errors, such as "search" in "search.training.steps".

    Raises:
      InputError: the error raised inside, with file and line added.
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
    """Return the line, from 1, of the last key of `.training.steps` in a YAML file, or of the key `value` below it.

    None if the file lacks the first key, or is not YAML.
    """
    try:
        node = yaml.compose(_content(path, ""), _Loader)
    except (yaml.YAMLError, InputError, RecursionError):  # already reported when it was read
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
    """Return the node of the first key or index of `keys`, the node below it, and the rest of `keys`."""
    if isinstance(node, yaml.SequenceNode) and (at := re.match(r"\[(\d+)\]", keys)) and int(at[1]) < len(node.value):
        item = node.value[int(at[1])]
        return item, item, keys[at.end() :]
    for key, below in node.value if isinstance(node, yaml.MappingNode) else ():
        rest = keys.removeprefix(f".{key.value}") if isinstance(key.value, str) else keys
        if rest != keys and rest[:1] in ("", ".", "["):
            return key, below, rest
    return None, None, keys


def parse_yaml(content: bytes | str, place: str, shown: str) -> Any:
    """Return the plain data in YAML text; errors name `shown`.

    Raises:
      InputError: see `read_yaml`.
    """
    try:
        data = _loaded(content if isinstance(content, str) else content.decode("utf-8"))
    # PyYAML itself raises the latter three, for a date that does not exist, `!!bool 3`, `!!int ''`, ...
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError) as error:
        raise InputError(place, shown, f"is not YAML: {_reason(error)}") from None
    try:
        json.dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(place, shown, f"contains values that are not plain data: {error}") from None
    return data


def _loaded(text: str) -> Any:
    """Compose the nodes first, whose memory is proportional to the text; construct values only within the limits."""
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
    """Return the number of values of a node, with references counted as often as they are used."""
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
    """Loader that rejects duplicate keys, and reads 8e6 as a number, as YAML 1.2 but not PyYAML does."""

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


# Model Garden files write the shape of a clip as a Python tuple.
_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
