"""Run the notebooks from top to bottom, each in a separate kernel; with --write, store their output.

python tests/run_notebooks.py [--write] [NAME ...]
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
MARK = "movinet_nas"  # metadata key of a notebook that Jupyter leaves unchanged


def notebooks() -> list[Path]:
    """Return all notebooks in reading order."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """Return a notebook as stored in the repository."""
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def sources_sha256(notebook: NotebookNode) -> str:
    """Return the hash of the code, which ties stored output to this code."""
    return hashlib.sha256("\0".join(cell.source for cell in code_cells(notebook)).encode()).hexdigest()


def executed(path: Path, changes: Mapping[str, str] | None = None) -> NotebookNode:
    """Return the notebook with new output. It runs in a new folder beside the published results, as in the repository.

    Args:
      path: of the notebook.
      changes: text of its code, and the replacement of this text.

    Raises:
      CellExecutionError: a cell failed.
      ValueError: a text to replace is not in the code.
    """
    notebook = read(path)
    for old, new in (changes or {}).items():
        cells = [cell for cell in code_cells(notebook) if old in cell.source]
        if not cells:
            raise ValueError(f"{path.name} has no {old!r}")
        for cell in cells:
            cell.source = cell.source.replace(old, new)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "notebooks")
        place.mkdir()
        Path(folder, "results").symlink_to(ROOT / "results")
        # Leave out start-up files and history of the user.
        own = os.environ | {"IPYTHONDIR": str(Path(folder, "ipython"))}
        # Use sockets in this folder: other users of the machine could reach ports.
        pipes = Config(KernelManager={"transport": "ipc", "ip": str(Path(folder, "kernel"))})
        options = {"timeout": None, "startup_timeout": 300, "record_timing": False, "coalesce_streams": True}
        client = NotebookClient(notebook, config=pipes, **options)
        client.execute(cwd=str(place), env=own)
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    notebook.metadata[MARK] = {"ran": sources_sha256(notebook)}
    return notebook


def main(arguments: Sequence[str]) -> int:
    """Run the notebooks whose names begin with an argument, or all; return 0."""
    names = tuple(word for word in arguments if word != "--write")
    for path in notebooks():
        if not names or path.name.startswith(names):
            start = time.monotonic()
            notebook = executed(path)
            print(f"{path.name}: {time.monotonic() - start:.0f} s")
            if "--write" in arguments:
                nbformat.write(notebook, path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
