"""Test that the documentation has one word for one thing, and that its reference lists each option and output file."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
from documented import PAGES
from played_run import played

from cli import commands
from nas.algorithms.base import Algorithm
from nas.algorithms.registry import ALGORITHMS
from nas.loop import run_folder
from results import outcome

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
GLOSSARY = ROOT / "docs" / "getting_started" / "concepts.md"
# Other words for a term of the glossary; pages use them only in code.
OTHER_WORDS = {
    "FLOPs bin": r"\bbands? of (?:log[ -])?cost|\bcost bands?\b",
    "Pareto front": r"\b[Ff]rontiers?\b(?! search)",
    "architecture": r"\bmembers? of (?:a|the) space\b",
    "event log": r"\bledgers?\b",
    "prior scores": r"\bhints?\b",
    "proxy-to-full scaling": r"\blift(?:ed|s)?\b",
    "re-evaluation": r"\bfinals?\b(?= (?:of|and|with)\b)|\btrained again with\b",
    "selected architecture": r"\bfinalists?\b",
    "Model Garden": r"\bthe release's\b|\breleased (?:networks?|models?)\b",
}
PROGRAMS = ("train", "evaluate", "export", "latency", "convert")
FILE = re.compile(r"[A-Za-z_-]+\.(?:csv|jsonl?|png|html|yaml|npz|lock|txt)")
# Files that no run writes: templates, bundled data, names in examples and files of others.
NOT_WRITTEN = {"page.html", "digits.npz", "search.yaml"}


def terms() -> list[str]:
    """Return the terms of the glossary, several in one row separated by a comma."""
    section = GLOSSARY.read_text(encoding="utf-8").partition("## Glossary")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!term|---)([^|]+) \|", section, re.MULTILINE)
    return [term for row in rows for term in row.split(", ")]


def prose(page: Path) -> str:
    """Return the text of a page without code and link targets."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", text)


def test_every_term_is_defined_once_and_used() -> None:
    found = terms()
    assert len(found) > 30 and len({term.lower() for term in found}) == len(found)
    text = " ".join(" ".join(prose(page).split()) for page in PAGES if page != GLOSSARY).lower()
    assert [term for term in found if term.lower() not in text] == []


def test_a_term_has_no_other_words() -> None:
    assert set(terms()) >= OTHER_WORDS.keys()
    measured = {REFERENCE / "benchmarks.md", *(REFERENCE / f"{kind}_keys.md" for kind in ("search", "training"))}
    texts = {page: prose(page) for page in PAGES if page not in measured}  # programs write the others
    found = [
        (str(page.relative_to(ROOT)), term, match[0])
        for page, text in texts.items()
        for term, pattern in OTHER_WORDS.items()
        for match in re.finditer(pattern, text)
    ]
    assert found == []


def flags(parser: argparse.ArgumentParser) -> set[str]:
    """Return the option strings of a parser and of its commands."""
    found = set()
    for action in parser._actions:
        found |= {each for each in action.option_strings if each.startswith("--")}
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found |= flags(command)
    return found - {"--help", "--version"}


def test_every_command_and_option_is_in_the_reference() -> None:
    page = (REFERENCE / "command_line.md").read_text(encoding="utf-8")
    parser = commands.parser("", "")
    (names,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    rows = dict(re.findall(r"^\| `([a-z-]+)[^|]*\|[^|]*\|([^|]*)\|$", page, re.MULTILINE))
    assert rows.keys() >= names.keys()
    for name, command in names.items():
        assert set(re.findall(r"--[a-z-]+", rows[name])) == flags(command), name
    for program in PROGRAMS:
        missing = flags(importlib.import_module(f"movinet.{program}").parser()) - set(re.findall(r"--[\w-]+", page))
        assert not missing, program


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_every_option_of_an_algorithm_is_in_the_reference(name: str) -> None:
    page = (REFERENCE / "algorithms.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{name}` \|(.*)\|$", page, re.MULTILINE)
    kind = ALGORITHMS.find("algorithm.name", name)
    options = inspect.signature(kind).parameters.keys() - inspect.signature(Algorithm).parameters.keys() - {"costs"}
    assert options == set(re.findall(r"`(\w+)[:`]", row)) - {"planned"}


def test_every_output_file_is_in_the_reference(tmp_path: Path) -> None:
    page = (REFERENCE / "files.md").read_text(encoding="utf-8")
    run = played(tmp_path / "run")
    outcome.write_outcome(run_folder.read(run), run)
    written = {re.sub(r"a\d\.", "a0.", path.name) for path in run.rglob("*") if path.is_file()}
    assert {"ledger.jsonl", "report.html", "movinet_a0.yaml"} <= written
    for folder in ("nas", "results", "movinet", "cli"):
        for source in (ROOT / folder).rglob("*.py"):
            constants = (node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Constant))
            written |= {each.value for each in constants if FILE.fullmatch(str(each.value))}
    assert sorted(name for name in written - NOT_WRITTEN if name not in page) == []


def test_every_package_is_in_the_map_of_the_design() -> None:
    page = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
    packages = page.partition("## Packages")[2].partition("\n## ")[0]
    tops = ("cli", "movinet", "movinet_nas", "nas", "results", "search_space")
    folders = [file.parent for top in tops for file in (ROOT / top).rglob("__init__.py")]
    assert [str(folder.relative_to(ROOT)) for folder in folders if f"{folder.name}/" not in packages] == []


def test_every_page_opens_with_its_readers() -> None:
    generated = {REFERENCE / "search_keys.md", REFERENCE / "training_keys.md"}
    pages = [page for page in PAGES if page.parent != ROOT and page not in generated]
    openings = {page: page.read_text(encoding="utf-8").split("\n")[2] for page in pages}
    assert [str(page.relative_to(ROOT)) for page, line in openings.items() if not line.startswith("For ")] == []
