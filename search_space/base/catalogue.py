"""Objects that a configuration names: built-in ones, entry points, and any import path `module:name`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, Generic, TypeVar

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler

from search_space.base.checks import check_keys
from search_space.base.errors import InputError
from search_space.base.names import check_choice
from search_space.base.quiet_tensorflow import quiet_start

T = TypeVar("T")


class Catalogue(Mapping[str, T], Generic[T]):
    """Built-in objects by name; `find` also finds those of users.

    An object is imported when it is looked up, so that libraries of the others are not imported.

    Args:
      group: entry points of installed packages that add names.
      places: "module:name" of each built-in object.
      rule: "must be ...", for the error about an object of the wrong kind.
      fits: whether an object is of the right kind.
    """

    def __init__(self, group: str, places: Mapping[str, str], rule: str, fits: Callable[[Any], bool]) -> None:
        self.group, self._places, self._rule, self._fits = group, places, rule, fits

    def __getitem__(self, name: str) -> T:
        module, _, attribute = self._places[name].partition(":")
        with quiet_start():  # Keras Tuner imports TensorFlow
            found: T = getattr(importlib.import_module(module), attribute)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def find(self, place: str, name: object) -> T:
        """Return the object called `name`: a built-in name, that of an entry point, or an import path `module:name`.

        A module may be in the working directory.

        Raises:
          InputError: unknown name, failed import, or an object of the wrong kind.
        """
        if name in self:
            return self[str(name)]
        if isinstance(name, str) and ":" in name:
            found = _imported(place, name, name)
        else:
            entries = {entry.name: entry.value for entry in metadata.entry_points(group=self.group)}
            check_choice(place, name, [*self, *entries])
            found = _imported(place, str(name), entries[str(name)])
        if not self._fits(found):
            raise InputError(place, name, self._rule)
        return found  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True)
class Named:
    """Annotation of a text that names a part of a catalogue."""

    catalogue: Catalogue[Any]

    @property
    def json_schema(self) -> dict[str, Any]:
        """Return a JSON Schema: a built-in name or an import path; names of entry points are not in it."""
        path = {"type": "string", "pattern": ".:.", "allowed": "your own module:name"}
        return {"anyOf": [{"enum": [*self.catalogue]}, path]}

    def check(self, name: str, place: str = "") -> str:
        """Return `name`; raise `InputError` if it is neither built in nor can be imported."""
        if name not in self.catalogue:  # importing a built-in part would import its libraries
            self.catalogue.find(place, name)
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return AfterValidator(self.check).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.json_schema


def _imported(place: str, name: str, path: str) -> Any:
    module, _, attribute = path.partition(":")
    folder = os.getcwd()
    make_importable(folder)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            rule = f"names a module that is neither in the working directory, {folder}, nor installed: {error.name}"
            raise InputError(place, name, rule) from error
        raise InputError(place, name, f"cannot be imported: {error}") from error
    except AttributeError as error:
        if module not in sys.modules or error.obj is None or traceback.extract_tb(error.__traceback__)[1:]:
            raise InputError(place, name, f"cannot be imported: {reason(error)}") from error
        file = getattr(sys.modules[module], "__file__", module)
        raise InputError(place, name, f"does not exist: {file} defines no {attribute!r}") from error
    except Exception as error:  # a user's code may raise anything
        raise InputError(place, name, f"cannot be imported: {reason(error)}") from error
    return found


def reason(error: Exception, file: str = "") -> str:
    """Return an error of a user's code in one line, with the last line of `file`, if any, that led to it."""
    lines = traceback.extract_tb(error.__traceback__)
    at = next((line for line in reversed(lines) if line.filename == file), lines[-1])
    return f"{type(error).__name__}: {error} ({os.path.basename(at.filename)}, line {at.lineno})"


def make_importable(folder: str) -> None:
    """Let this process import modules from a folder, after all others, so that no file in it hides a library."""
    if folder not in sys.path:
        sys.path.append(folder)


def check_options(kind: Callable[..., Any], options: object, given: Sequence[str], place: str = "options") -> None:
    """Check options against the parameters of a class or function, except the parameters `given`.

    Raises:
      InputError: an unknown option, or a missing one without a default.
    """
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if name not in given and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    check_keys(place, options, sorted(parameters), required)
