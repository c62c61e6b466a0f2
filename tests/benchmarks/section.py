"""Writes the results of a benchmark into its section of a document, with the machine's name at every table."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "benchmarks.md"


def machine() -> str:
    """Return processor, cores and library versions in one line."""
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    name = found.group(1) if found else "unknown processor"
    avx512 = " with AVX-512" if "avx512f" in Path("/proc/cpuinfo").read_text() else ""
    versions = ", ".join(f"{package} {version(package)}" for package in ("tensorflow", "keras", "numpy"))
    return f"{name}{avx512}, {os.cpu_count()} cores; {versions}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, its first column aligned left, the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(name: str, text: str, document: Path = DOCUMENT) -> None:
    """Replace the section between `<!-- name -->` and `<!-- /name -->`.

    Raises:
      SystemExit: the document has no such section.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, opened, rest = document.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        raise SystemExit(f"{document}: has no section {name!r}")
    document.write_text(f"{before}{begin}{text.strip()}\n{end}{after}", encoding="utf-8")
