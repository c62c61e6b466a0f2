"""Test that public code has docstrings with the shapes of arrays and the errors for invalid input."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search_space", "nas", "movinet", "results", "movinet_nas")
FILES = [ROOT / "run_search.py", *(file for name in PACKAGES for file in sorted((ROOT / name).rglob("*.py")))]

# Names in annotations of arrays; a mapping of them contains weights by name, each with another shape.
ARRAY = re.compile(r"\b(ndarray|NDArray|Tensor|KerasTensor|Floats|Integers)\b")
BY_NAME = re.compile(r"\b(dict|Mapping)\[")
# Forms of a shape; it stands in the docstring, or once for all in that of the class or of the module.
SHAPE = re.compile(
    r"`[^`]*\b[A-Z](?:[*·]\w+)*(?: [\w*·+]+)*`"  # `B T H W C`, `N classes`, `T`
    r"|\b[TBHWCNMGDPK],? (?:[TBHWCNMGDPK3n]\b)"  # B T H W C, H W 3
    r"|\[[\w*·+\- ]+(?:, ?[\w*·+\- .]+)*\]"  # [n, G], [T*B, H, W, C], [R]
    r"|\((?:[a-zA-Z]\w?|\d), ?[\w., ]*\)"  # (n, k)
    r"|\b(?:elementwise|broadcast|scalars?|vectors?|matri(?:x|ces)|any shape|same shape)\b"
)


@dataclass(frozen=True)
class Public:
    """A public definition, its docstring, and the docstrings of its class and module."""

    place: str
    node: ast.FunctionDef | ast.ClassDef
    said: str
    around: str


def public(source: str, module: str) -> Iterator[Public]:
    """Yield functions and classes without a leading underscore, and the methods of such classes."""
    tree = ast.parse(source)
    yield from _public(tree.body, module, ast.get_docstring(tree) or "")


def _public(body: list[ast.stmt], place: str, around: str) -> Iterator[Public]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            said = ast.get_docstring(node) or ""
            yield Public(f"{place}.{node.name}", node, said, around)
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body, f"{place}.{node.name}", f"{around}\n{said}")


def own(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without those of functions in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from own(child)


def refuses(each: Public) -> bool:
    """Return whether a function itself raises `InputError`."""
    raised = (part.exc for part in own(each.node) if isinstance(part, ast.Raise))
    return isinstance(each.node, ast.FunctionDef) and any(
        isinstance(exc, ast.Call) and ast.unparse(exc.func) == "InputError" for exc in raised
    )


def handles_arrays(each: Public) -> bool:
    """Return whether a function takes or returns an array."""
    if not isinstance(each.node, ast.FunctionDef):
        return False
    arguments = each.node.args
    given = [argument.annotation for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    texts = [ast.unparse(annotation) for annotation in (*given, each.node.returns) if annotation]
    return any(ARRAY.search(text) and not BY_NAME.search(text) for text in texts)


def lacks(each: Public) -> str:
    """Return the missing part of the docstring."""
    if not each.said:
        return "a docstring"
    if refuses(each) and "InputError" not in each.said:
        return "Raises: InputError"
    if handles_arrays(each) and not SHAPE.search(f"{each.said}\n{each.around}"):
        return "shapes"
    return ""


def test_what_is_public_says_what_it_does_and_begins_with_a_line_of_its_own() -> None:
    for file in FILES:
        for each in public(file.read_text(encoding="utf-8"), file.stem):
            assert lacks(each) == "", (file, each.place)
            first, *more = each.said.split("\n")
            assert first == first.strip() and (not more or more[0] == ""), (file, each.place)


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("def f(): return 1", "a docstring"),
        ("class A:\n    'An A.'\n    def f(self): return 1", "a docstring"),
        ("def f():\n    'Does.'\n    raise InputError('a', 1, 'b')", "Raises: InputError"),
        (
            "def f():\n    'Does.\\n\\n    Raises:\\n      InputError: no.\\n    '\n    raise InputError('a', 1, 'b')",
            "",
        ),
        ("def f():\n    'Does.'\n    def g(): raise InputError('a', 1, 'b')\n    return g", ""),
        ("def f(x: np.ndarray) -> float:\n    'The mean of x.'", "shapes"),
        ("def f(x: np.ndarray) -> float:\n    'The mean of x, [n, G].'", ""),
        ("'Clips are `B T H W C`.'\ndef f(x: Tensor) -> float:\n    'The mean of x.'", ""),
        ("def f(x: Mapping[str, np.ndarray]) -> None:\n    'Takes weights.'", ""),
        ("def _f(): return 1", ""),
    ],
)
def test_what_is_missing_is_seen(source: str, missing: str) -> None:
    assert "".join(lacks(each) for each in public(source, "module")) == missing
