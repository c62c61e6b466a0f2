"""Every notebook runs from top to bottom on files of the project, and its stored output is the output of such a run."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbformat import NotebookNode
from run_notebooks import FOLDER, MARK, code_cells, executed, notebooks, read, sources_sha256

NOTEBOOKS = pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Notebooks that train, whose accuracies differ a little between machines, and the changes that shorten their trainings.
TRAINING = {
    "1_search_and_frontier": {
        "train: 1200, validation: 360, test: 360": "train: 180, validation: 72, test: 72",
        "steps: 120": "steps: 8",
        "trials: 8": "trials: 5",
        "repeats: 3": "repeats: 2",
    },
    "3_streaming": {"Counts(2000, 360, 360)": "Counts(96, 72, 72)", "epochs=5": "epochs=1"},
    "4_your_own": {
        "write_class_folders(folder, 300,": "write_class_folders(folder, 100,",
        "steps: 80": "steps: 4",
        "trials: 6": "trials: 4",
    },
}
MAX_BYTES = 100_000  # per figure
MACHINE = re.compile(  # paths, days and hours of the machine that ran it
    rf"/(work|tmp|home|root|Users|private|var)/|{re.escape(socket.gethostname())}|20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d"
)


def shown(notebook: NotebookNode) -> list[list[str]]:
    """Return the kinds of the outputs of each cell."""
    return [
        [" ".join([each.output_type, each.get("name", ""), *sorted(each.get("data", {}))]) for each in cell.outputs]
        for cell in code_cells(notebook)
    ]


def texts(notebook: NotebookNode) -> Iterator[str]:
    for cell in code_cells(notebook):
        for each in cell.outputs:
            yield each.get("text", "")
            yield from (text for kind, text in sorted(each.get("data", {}).items()) if kind.startswith("text/"))


def short(text: str) -> str:
    """Cut numbers after six decimals."""
    return re.sub(r"(\.\d{6})\d+", r"\1", text)


def pictures(notebook: NotebookNode) -> Iterator[bytes]:
    for cell in code_cells(notebook):
        for each in cell.outputs:
            for kind, data in each.get("data", {}).items():
                if kind.startswith("image/"):
                    yield base64.b64decode(data)


def test_there_are_notebooks() -> None:
    assert [path.name[:2] for path in notebooks()] == [f"{number + 1}_" for number in range(len(notebooks()))]
    assert notebooks()


def test_the_page_names_all_of_them() -> None:
    text = (FOLDER.parent / "docs/getting_started/notebooks.md").read_text(encoding="utf-8")
    assert all(f"notebooks/{path.name})" in text for path in notebooks())


@NOTEBOOKS
def test_what_it_links_to_is_there(path: Path) -> None:
    for cell in read(path).cells:
        for link in LINK.findall(cell.source) if cell.cell_type == "markdown" else ():
            assert link.startswith("runs/") or (FOLDER / link.partition("#")[0]).exists(), link


@NOTEBOOKS
def test_it_is_kept_as_it_ran(path: Path) -> None:
    kept = read(path)
    assert kept.metadata.get(MARK) == {"ran": sources_sha256(kept)}, "run: python tests/run_notebooks.py --write"
    cells = code_cells(kept)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@NOTEBOOKS
def test_what_it_shows_is_of_no_machine_and_small(path: Path) -> None:
    kept = read(path)
    for text in texts(kept):
        assert not MACHINE.search(text), MACHINE.search(text)
    assert all(len(picture) < MAX_BYTES for picture in pictures(kept))
    assert not [kind for cell in shown(kept) for kind in cell if kind.startswith(("error", "stream stderr"))]


@NOTEBOOKS
def test_it_runs_and_shows_what_it_is_kept_with(path: Path) -> None:
    ran, kept = executed(path, TRAINING.get(path.stem)), read(path)
    assert shown(ran) == shown(kept)
    if path.stem not in TRAINING:
        assert [short(text) for text in texts(ran)] == [short(text) for text in texts(kept)]
