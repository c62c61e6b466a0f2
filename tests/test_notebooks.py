"""Every notebook runs from top to bottom, in its folder, on what the project ships."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(notebook: Path) -> list[str]:
    return [
        "".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_something_in_every_cell(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    names: dict[str, object] = {}
    for number, cell in enumerate(cells(notebook)):
        *statements, last = ast.parse(cell, f"{notebook.name}[{number}]").body
        exec(compile(ast.Module(statements, []), notebook.name, "exec"), names)
        assert isinstance(last, ast.Expr), cell
        shown = eval(compile(ast.Expression(last.value), notebook.name, "eval"), names)
        assert shown is not None and len(repr(shown)) > 10
