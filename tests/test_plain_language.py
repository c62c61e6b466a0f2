"""Texts stay in plain English: the counts of `plain_language.py` do not rise, and the counter works."""

from __future__ import annotations

from collections import Counter

import pytest
from plain_language import ROOT, area, count, findings, markdown_texts, names, openings, python_texts, subjects

# Pages: nested lists of names without a full stop, and generated passages of docs/reference/benchmarks.md.
# Tests: lower the number as they are rewritten.
LIMITS = {"product": 0, "pages": 12, "tests": 108}


def test_counts_stay_within_their_limits() -> None:
    found = count(ROOT)
    for where, limit in LIMITS.items():
        here = [each for each in found if area(each.file) == where]
        assert len(here) <= limit, Counter(each.kind for each in here)


def test_commit_subjects_are_short() -> None:
    long = subjects(ROOT)
    if long is None:
        pytest.skip("no git history")
    assert long == []


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Return the cost of an architecture.", []),
        ("Stops the dearer members.", ["members", "dear"]),
        ("What a killed run left is cleared.", ["what clause"]),
        ("What is cleared?", []),
        ("The process knows so many steps a second.", ["a second", "so many", "programs that know or say"]),
        ("Code is left out: `the ledger of members`.", []),
        ("word " * 36, ["long sentence"]),
        ("word " * 20 + ". " + "Word " * 20, []),
    ],
)
def test_departures_are_found(text: str, kinds: list[str]) -> None:
    for page in markdown_texts("page.md", text):
        assert [each.kind for each in findings(page)] == kinds
    for docstring in python_texts("code.py", f'"""{text}"""'):
        assert [each.kind for each in findings(docstring)] == kinds


def test_python_texts_are_docstrings_comments_and_messages() -> None:
    source = '"""A module."""\n\n# Comments: why.\n# More.\nvalue = f"no file {name} was found"  # says so\nkey = "a"\n'
    assert [(text.source, text.line) for text in python_texts("a.py", source)] == [
        ("docstring", 1),
        ("message", 5),
        ("comment", 3),
    ]


def test_openings_and_names_are_found() -> None:
    assert [each.words for each in openings("a.py", 'def f():\n    """Whether it is."""\n')] == ["Whether it is."]
    assert list(openings("a.py", 'def f():\n    """Return whether it is."""\n')) == []
    assert [each.words for each in names("a.py", "def band_of(arena): trial = 1")] == ["band_of", "arena"]
