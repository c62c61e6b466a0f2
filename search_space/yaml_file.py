"""YAML as people write it, read as plain data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from search_space.errors import InputError

MAX_BYTES = 2**24  # far above any configuration: a video given by mistake is refused before it is read whole


def read_yaml(path: Path | str, place: str) -> Any:
    """The plain data in the YAML file `path`: what JSON can hold too.

    Raises:
      InputError: at `place`: the file cannot be read, is not YAML, has a key twice, contains itself, or holds a
        date, a set, bytes or an object of Python.
    """
    return parse_yaml(_content(path, place), place, str(path))


def parse_yaml(content: bytes | str, place: str, shown: str) -> Any:
    """The plain data in YAML text; what is wrong with it is said of `shown`, as `read_yaml` does."""
    try:
        data = yaml.load(content if isinstance(content, str) else content.decode("utf-8"), _Loader)
    # PyYAML itself raises the latter three, for a date that does not exist, `!!bool 3`, `!!int ''`, ...
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError) as error:
        raise InputError(place, shown, f"is not YAML: {_reason(error)}") from None
    try:
        json.dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(place, shown, f"holds what is not plain data: {error}") from None
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())


def _content(path: Path | str, place: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(place, str(path), f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise InputError(place, str(path), f"is larger than {MAX_BYTES} bytes, which no configuration is")
    return content


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
