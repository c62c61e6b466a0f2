"""The documentation as a site, and the links of its pages."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/published/**/*.md")})
FENCE = re.compile(r"^(```+).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)\)")


def links(page: Path) -> Iterator[str]:
    """Yield the targets of the links of a page, outside of its code."""
    text = re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    yield from LINK.findall(text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as links use them."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            assert urlsplit(link).scheme == "https" and urlsplit(link).hostname, link  # no request: no network here
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.slow
def test_the_pages_can_be_made_a_site_without_a_warning(tmp_path: Path) -> None:
    """Read all pages and resolve every reference, as `make docs` does; only the slow writing is left out."""
    program = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--builder", "dummy"]
    places = ["-c", str(ROOT / "docs"), "-d", str(tmp_path / "trees"), str(ROOT), str(tmp_path / "site")]
    made = subprocess.run([*program, *places], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    pages = {path.relative_to(tmp_path / "trees").as_posix() for path in (tmp_path / "trees").rglob("*.doctree")}
    expected = ("README", "docs/how_to/troubleshooting", "docs/api/search_space", "docs/api/nas")
    assert {f"{page}.doctree" for page in expected} <= pages


def test_the_citation_and_the_changelog_are_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert citation["license"] == project["license"]
    papers = {identifier["value"] for paper in citation["references"] for identifier in paper["identifiers"]}
    assert papers == {"arXiv:2103.11511", "arXiv:2008.06120"}
    versions = re.findall(r"^## (\S+) - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == project["version"]
