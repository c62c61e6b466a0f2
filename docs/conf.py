"""Sphinx configuration of the documentation site (`make docs`): the Markdown files of the repository, and the API."""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

project = "movinet-nas"
author = "the movinet-nas authors"
release = version = metadata.version(project)

# Pages keep their paths, so that links work in the repository and on the site.
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "docs/api/*", "results/published/**.md"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
templates_path = ["templates"]
highlight_language = "none"  # commands, and listings
html_theme = "furo"
html_title = f"movinet-nas {release}"
html_copy_source = False
html_additional_pages = {"index": "index.html"}

myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # a type hint with a short name that two modules define, such as `Network`
myst_ref_domains = ["std"]  # not `arena`, the module, for a folder of that name
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
default_role = "literal"  # docstrings write `code`

PACKAGES = ("movinet_nas", "search_space", "movinet", "nas", "results", "cli")
CONTENTS = {
    "Getting started": ("getting_started", "installation first_search your_videos concepts notebooks"),
    "How to search": (
        "how_to/search",
        "propose space_and_budget plan time_and_disk algorithms monitor_and_resume report check_results family "
        "one_shot cluster extend compare_algorithms keras_tuner",
    ),
    "How to use networks": ("how_to/networks", "train evaluate export stream"),
    "If it fails": ("how_to", "troubleshooting"),
    "Reference": (
        "reference",
        "command_line search_keys training_keys files data checkpoints python json_output algorithms benchmark_tables "
        "proxy_statistics benchmarks",
    ),
    "Explanation": (
        "explanation",
        "design proxy hypervolume compound_scaling one_shot moving_digits faults security input_faults alternatives",
    ),
}
PUBLISHED = "README experiments arena/README movinet_bench/README one_shot/README coefficients/README"
PROJECT = ("docs/api", "CHANGELOG", "CONTRIBUTING", "SECURITY")


def _contents() -> str:
    parts = {name: [f"docs/{folder}/{page}" for page in pages.split()] for name, (folder, pages) in CONTENTS.items()}
    parts |= {"Published results": [f"results/published/{page}" for page in PUBLISHED.split()], "Project": [*PROJECT]}
    tree = "\n```{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n```\n"
    return "".join(tree.format(name, "\n".join(pages)) for name, pages in parts.items())


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the table of contents to the front page: the README has no directives."""
    if name == root_doc:
        source[0] += _contents()


def plain_text(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Escape reStructuredText markup in docstrings, which are plain text, and keep columns."""
    paragraphs = "\n".join(lines).split("\n\n")
    lines[:] = "\n\n".join(map(_columns if what == "module" else _escaped, paragraphs)).split("\n")


def _columns(paragraph: str) -> str:
    rows = paragraph.split("\n")
    if sum(bool(re.search(r"\S  +\S", row)) for row in rows) * 2 <= len(rows):
        return _escaped(paragraph)
    return "::\n\n" + "\n".join(f"    {row}" for row in rows)


def _escaped(paragraph: str) -> str:
    parts = re.split(r"(``[^`]+``|`[^`]+`|:\w+:)", paragraph)
    return "".join(part if i % 2 else re.sub(r"[*|]|(?<=\w)_(?!\w)", r"\\\g<0>", part) for i, part in enumerate(parts))


def without_folders(app: Sphinx, tree: nodes.document) -> None:
    """Replace links to folders of the repository, which are no pages, by text."""
    here = Path(tree["source"]).parent
    for node in list(tree.findall(addnodes.pending_xref)):
        if (here / node["reftarget"]).is_dir():
            node.replace_self(node.children)


def list_addresses(app: Sphinx, failure: Exception | None) -> None:
    """Write the external addresses to external_links.txt for manual checks, because a build uses no network."""
    if failure is None and app.builder.format == "html":
        trees = (app.env.get_doctree(name) for name in app.env.found_docs)
        found = {node["refuri"] for tree in trees for node in tree.findall(nodes.reference) if "refuri" in node}
        addresses = sorted(address for address in found if "://" in address)
        (Path(app.outdir) / "external_links.txt").write_text("".join(f"{each}\n" for each in addresses))


def write_api() -> None:
    """Write one page per package, with all of its modules."""
    folder = ROOT / "docs" / "api"
    folder.mkdir(exist_ok=True)
    for package in (each.parent for name in PACKAGES for each in (ROOT / name).rglob("__init__.py")):
        name = ".".join(package.relative_to(ROOT).parts)
        modules = [f"{name}.{each.stem}" for each in sorted(package.glob("*.py")) if each.stem != "__init__"]
        parts = [_part(name, "="), *(_part(module, "-") for module in modules)]
        page, text = folder / f"{name}.rst", "\n".join(parts)
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def _part(module: str, line: str) -> str:
    title = module.replace("_", "\\_")
    # A public name that a package re-exports is documented once, in its own module.
    options = "   :members:\n   :ignore-module-all:\n"
    return f"{title}\n{line * len(title)}\n\n.. automodule:: {module}\n{options}"


def setup(app: Sphinx) -> None:
    """Connect the functions above to Sphinx."""
    write_api()
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", plain_text, priority=900)  # after napoleon
    app.connect("doctree-read", without_folders)
    app.connect("build-finished", list_addresses)
