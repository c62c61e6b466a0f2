"""Count departures from plain English in the texts of a repository.

Usage: `python tests/plain_language.py [ROOT] [--list] [--only PREFIX]`.

Texts are docstrings, comments and message strings of Python files, Markdown pages, notebooks, and comments of YAML and
TOML files. Code in backquotes or code blocks is left out. The script needs only the standard library and, for commit
subjects, git. `test_plain_language.py` limits each count.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("cli", "search_space", "nas", "movinet", "movinet_nas", "results", "run_search.py")
FIRST_COMMIT = "85bd85b"  # subjects of later commits are counted
SUBJECT_LENGTH = 72
SENTENCE_WORDS = 35
# A docstring opens with a noun phrase or a verb phrase, so not with a preposition, a conjunction or a pronoun.
OPENINGS = re.compile(
    r"(?:Of|What|Whatever|Whether|Where|As|By|In|How|Which|Who|Whose|When|If|That|So|To|For|From|On|At|With|It|They|There"
    r"|Because|Since|While|Until|Unless|Than|But|And|Or|Behind|Beside|Between|Before|After|Into|Under|Such|Not)\b"
)
# A sentence or clause that begins with "What" and is no question.
WHAT = re.compile(r"(?:^|[.;:!?]\s+|\(|, and |, but )[Ww]hat(?:ever)?\b[^.;?]*(?:[.;?]|$)")

# Words that the glossary or the field has another word for.
WORDS = {
    "the release": (r"\b[Tt]he release\b(?! notes)|\breleased (?:networks?|models?|code)\b", "Model Garden"),
    "members": (r"\bmembers?\b", "architectures in the space"),
    "frontier": (r"\bfrontiers?\b(?! search)", "Pareto front"),
    "dear": (r"\bdear(?:er|est)?\b", "expensive"),
    "band": (r"\bbands?\b", "FLOPs bin"),
    "finals": (
        r"\bfinal(?:s|ists?)\b|\btrain(?:ed|s)? again\b",
        "re-evaluation; selected architectures",
    ),
    "in full": (r"\btrain(?:ed|ing)? (?:to the end|in full)\b", "fully trained"),
    "ledger": (r"\bledgers?\b(?!\.jsonl)", "event log"),
    "ageing": (r"\bageing\b", "regularized"),
    "arena, race": (r"\barenas?\b|\braces?\b(?! condition)", "benchmark of algorithms; comparison at equal time"),
    "hints": (r"\bhints?\b", "prior scores"),
    "lift": (r"\blift(?:s|ed)?\b", "proxy-to-full scaling"),
    "embedded data": (r"\bembedded (?:data|digits)\b", "bundled example data set"),
    "form of layer": (r"\bforms? of (?:a )?layers?\b", "layer signature"),
    "picture": (r"\bpictures?\b", "figure, plot"),
    "mend": (r"\bmend(?:s|ed|ing)?\b", "fix"),
    "carry on": (r"\bcarr(?:y|ies|ied|ying) on\b", "resume"),
    "take home": (r"\btak(?:e|es|en|ing) (?:home|out)\b", "export; remove"),
    "place, value, rule": (r"\bplace, value,? (?:and )?rule\b", "field, value, constraint"),
    "first weights": (r"\bfirst weights\b", "initialisation"),
    "own videos": (r"(?<![Yy]our )(?<!their )\bown videos\b", "your own videos"),
    "a second": (
        r"\b(?:clips?|frames?|steps?|trials?|FLOPs|images?|examples?|tests?|bytes|MB|GB) an? "
        r"(?:second|minute|hour|day|clip|frame|step|trial|run)\b",
        "per second",
    ),
    "so many": (r"\bso (?:many|much as|manieth)\b|\bmanieth\b", "a number, or its name"),
    "whatever": (r"\b(?:[Ww]hat|[Ww]ho|[Ww]here|[Ww]hich)(?:so)?ever\b", "any"),
    "of late": (r"\b(?:of late|as it was|as before|nowadays|hitherto)\b", "a version, commit or date"),
    "foretell": (
        r"\bfore(?:tell|told|tells)\b|\bbecomes? of\b|\bflatter(?:s|ed)?\b|\bmakes? of it\b|\btold apart\b",
        "plain verb",
    ),
    "unless that is": (
        r"\bnot (?:un\w+ed|without)\b|\bnever not\b|\bno (?:cheaper|worse|better|dearer) (?:one|ones)\b",
        "positive",
    ),
    "nobody's word": (r"\b(?:said to be|is said|are said|it is told|are told|is told)\b", "set by, passed to"),
}
# Programs report, store, assume and require.
PROGRAMS = re.compile(
    r"\b(?:knows|says|said|wants|believes|believed|thinks|thought|wishes|hears|forgets|remembers|minds)\b"
    r"|(?<!you )(?<!users )(?<!to )(?<!one )(?<!we )(?<!who )\b(?:know|say|want|believe)\b"
)
# Identifiers: words that names of definitions and parameters must not have.
NAMES = frozenset(
    re.findall(
        r"\w+",
        "band bands arena race races dear dearer finals finalist finalists hints lift lifted picture pictures mend"
        " mended ageing whatever whoever manieth frontier played thinking forgiving evidence attained said told",
    )
)


@dataclass(frozen=True)
class Allowed:
    """An exception: matches of `kind` in `files` whose surroundings match `text` are not counted, for `reason`."""

    kind: str
    files: str
    text: str
    reason: str


ALLOWED = (
    Allowed("members", r".*", r"(?i)ensemble|archive", "an ensemble's or archive's: the field's term"),
    Allowed(
        "members", r"movinet/(model|weights|deploy|training)/|results/family|search_space/network", "", "ensembles"
    ),
    Allowed("members", r"docs/(how_to/networks/|explanation/design|conf.py)", "", "ensembles; an option of Sphinx"),
    Allowed("members", r"docs/explanation/security", r"Ray cluster", "nodes of a cluster"),
    Allowed("picture", r"docs/reference/data", r"cover picture", "the cover of an audio file"),
    Allowed("finals", r"docs/reference/search_keys", "", "keys and values of configurations"),
    Allowed("lift", r"docs/reference/search_keys", "", "keys of configurations"),
    Allowed("ledger", r".*", r"(?i)ledger\.jsonl|`ledger", "the name of the file and of the module"),
    Allowed("hints", r".*", r"(?i)type hint|did you mean", "type hints, and suggestions for misspelt words"),
    Allowed("the release", r".*", r"(?i)release of (?:Ray|Keras|TensorFlow|Optuna|Python)", "a version of a library"),
    Allowed("name", r".*", r"frontier_search|Frontier", "the algorithm's name"),
    Allowed("name", r".*", r"^(?:lift|hints|bands|finals|Finals|_band|band)$", "YAML keys, and fields by their names"),
    Allowed("name", r".*", r"AgeingEvolution", "the algorithm's name in configurations"),
    Allowed(
        "finals",
        r".*",
        r"(?:retrained|trained) again|finalist for|or finalist|see finals",
        "retries; values of files",
    ),
    Allowed("members", r".*", r"members\.json|population", "a file's name; members of a population"),
    Allowed("hints", r".*", r"hints\.json", "a file's name"),
    Allowed("arena, race", r".*", r"published/arena", "a folder's name"),
)


@dataclass(frozen=True)
class Text:
    """A paragraph: file and line of its beginning, and `docstring`, `comment`, `message` or `page` as its source."""

    file: str
    line: int
    source: str
    text: str


@dataclass(frozen=True)
class Finding:
    """A departure from plain English: kind, file, line and the matched words."""

    kind: str
    file: str
    line: int
    words: str


def python_texts(file: str, source: str) -> Iterator[Text]:
    """Yield docstrings by paragraph, comments, and strings of at least three words."""
    tree = ast.parse(source)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            constant = node.body[0].value  # type: ignore[attr-defined]
            docstrings.add(id(constant))
            line = constant.lineno
            for paragraph in re.split(r"\n(?=\s*\n)", constant.value):
                yield Text(file, line + len(paragraph) - len(paragraph.lstrip("\n")), "docstring", paragraph)
                line += paragraph.count("\n") + 1
    parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(value.value) if isinstance(value, ast.Constant) else "{}" for value in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | parts:
            text = node.value
        else:
            continue
        if len(re.findall(r"[a-zA-Z]{2,}", text)) >= 3 and " " in text:
            yield Text(file, node.lineno, "message", text)
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1 or not block:
                if block:
                    yield Text(file, first, "comment", " ".join(block))
                block, first = [], token.start[0]
            block.append(token.string.lstrip("# "))
            last = token.start[0]
    if block:
        yield Text(file, first, "comment", " ".join(block))


def markdown_texts(file: str, source: str, offset: int = 1) -> Iterator[Text]:
    """Yield paragraphs, list items, headings and table cells outside code blocks."""
    source = re.sub(r"^(```|~~~).*?^\1", lambda found: "\n" * found[0].count("\n"), source, flags=re.M | re.S)
    paragraph: list[str] = []
    first = offset
    for number, line in enumerate([*source.split("\n"), ""], offset):
        begins = re.match(r"\s*(?:[-*+]|\d+\.|#+|>)\s+", line)
        if (begins or not line.strip() or line.lstrip().startswith("|")) and paragraph:
            yield Text(file, first, "page", " ".join(paragraph))
            paragraph = []
        if line.lstrip().startswith("|"):
            yield from (Text(file, number, "page", cell.strip()) for cell in line.split("|") if cell.strip(" -:"))
        elif line.strip():
            first = first if paragraph else number
            paragraph.append(line[begins.end() :] if begins else line.strip())


def texts(root: Path) -> Iterator[Text]:
    """Yield all texts of the files that git tracks under `root`, data and recorded output excluded."""
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for file in listed:
        if not file or re.match(r"(?:results/(?:published|runs)|tests/recorded)/", file) or not (root / file).is_file():
            continue
        suffix = Path(file).suffix
        if suffix not in {".py", ".md", ".ipynb", ".yaml", ".toml"}:
            continue
        source = (root / file).read_text(encoding="utf-8")
        if suffix == ".py":
            yield from python_texts(file, source)
        elif suffix == ".md":
            yield from markdown_texts(file, source)
        elif suffix == ".ipynb":
            for cell in json.loads(source)["cells"]:
                if cell["cell_type"] == "markdown":
                    yield from markdown_texts(file, "".join(cell["source"]))
                elif cell["cell_type"] == "code":
                    for found in re.finditer(r"(?:^|  )# (.*)", "".join(cell["source"]), re.M):
                        yield Text(file, 1, "comment", found[1])
        else:
            for number, line in enumerate(source.split("\n"), 1):
                if found := re.search(r"(?:^|\s)# (.*)", line):
                    yield Text(file, number, "comment", found[1])


def sentences(text: str) -> Iterator[str]:
    """Split prose at full stops, question marks and colons before a list; headings of sections are left out."""
    text = re.sub(r"\b(Args|Returns|Raises|Attributes|Yields|Example):\n", "\n", text)
    text = re.sub(r"\n\s*(?:[\w*, ]+: |[\w.`]+ {2,})", "\n\n", text)
    yield from re.split(r"(?<=[.?!:])[\"')]*\s+(?=[A-Z`\"'(\[\d])|\n\s*\n|\n\s*[-*] ", text)


def names(file: str, source: str) -> Iterator[Finding]:
    """Yield definitions and parameters that have a word of `NAMES`."""
    seen = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name, line = node.name, node.lineno
        elif isinstance(node, ast.arg):
            name, line = node.arg, node.lineno
        else:
            continue
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
        if name not in seen and words & NAMES:
            seen.add(name)
            yield Finding("name", file, line, name)


def findings(text: Text) -> Iterator[Finding]:
    """Yield the departures of one text."""
    plain = re.sub(r"``[^`]*``|`[^`]*`|\]\([^)]*\)|https?://\S+|\"\w+\"|--[\w-]+|\w+(?:/[\w.]+)+", " X ", text.text)
    if text.source == "docstring":
        plain = re.sub(r"\n +[\w*, ]+: ", "\n\n", plain)  # names of arguments and attributes
    flat = " ".join(plain.split())
    for kind, (pattern, _) in WORDS.items():
        for found in re.finditer(pattern, flat):
            yield Finding(kind, text.file, text.line, flat[max(0, found.start() - 40) : found.end() + 40])
    for found in PROGRAMS.finditer(flat):
        yield Finding(
            "programs that know or say", text.file, text.line, flat[max(0, found.start() - 40) : found.end() + 40]
        )
    for found in WHAT.finditer(flat):
        if not found[0].endswith("?"):
            yield Finding("what clause", text.file, text.line, found[0][:80])
    if text.source in {"docstring", "page"}:
        for sentence in sentences(plain):
            if len(sentence.split()) > SENTENCE_WORDS:
                yield Finding("long sentence", text.file, text.line, " ".join(sentence.split())[:80])


def openings(file: str, source: str) -> Iterator[Finding]:
    """Yield docstrings that open with a preposition, conjunction or pronoun, or with a lower-case letter."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (said := ast.get_docstring(node)):
            line = said.split("\n")[0]
            if OPENINGS.match(line):
                yield Finding("docstring opening", file, getattr(node, "lineno", 1), line[:80])


def subjects(root: Path) -> list[Finding] | None:
    """Return commit subjects above 72 characters since `FIRST_COMMIT`; None without that commit."""
    command = ["git", "log", "--no-merges", "--format=%h %s", f"{FIRST_COMMIT}..HEAD"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    lines = (line.split(" ", 1) for line in done.stdout.splitlines())
    return [Finding("commit subject", commit, 0, subject) for commit, subject in lines if len(subject) > SUBJECT_LENGTH]


def allowed(finding: Finding) -> bool:
    """Return whether an exception covers a finding."""
    return any(
        each.kind == finding.kind and re.match(each.files, finding.file) and re.search(each.text, finding.words)
        for each in ALLOWED
    )


def area(file: str) -> str:
    """Return `product`, `tests` or `pages`."""
    first = file.split("/")[0]
    return "product" if first in PRODUCT else "tests" if first == "tests" else "pages"


def count(root: Path) -> list[Finding]:
    """Return all departures in the files of `root`, exceptions left out."""
    own = {"tests/plain_language.py", "tests/test_plain_language.py"}  # they have the words as data
    everything = [text for text in texts(root) if text.file not in own]
    found = [each for text in everything for each in findings(text)]
    for file in {text.file for text in everything}:
        if file.endswith(".py"):
            source = (root / file).read_text(encoding="utf-8")
            found += [*openings(file, source), *names(file, source)]
    return [each for each in found if not allowed(each)]


def main() -> None:
    """Print counts per kind and area, then per file; with `--list` each finding."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--list", action="store_true", help="print each finding")
    parser.add_argument("--only", default="", help="prefix of the files to report")
    arguments = parser.parse_args()
    found = [each for each in count(arguments.root) if each.file.startswith(arguments.only)]
    if arguments.list:
        for each in sorted(found, key=lambda each: (each.file, each.line)):
            print(f"{each.file}:{each.line}: {each.kind}: {each.words}")
    by_kind = Counter((each.kind, area(each.file)) for each in found)
    print(f"{'kind':28} {'product':>8} {'pages':>8} {'tests':>8}")
    for kind in sorted({kind for kind, _ in by_kind}):
        print(f"{kind:28} " + " ".join(f"{by_kind[kind, each]:8}" for each in ("product", "pages", "tests")))
    totals = Counter(area(each.file) for each in found)
    print(f"{'total':28} " + " ".join(f"{totals[each]:8}" for each in ("product", "pages", "tests")))
    print(f"commit subjects above {SUBJECT_LENGTH} characters: {len(subjects(arguments.root) or [])}")
    for file, number in Counter(each.file for each in found).most_common(None if arguments.list else 25):
        print(f"{number:5} {file}")


if __name__ == "__main__":
    sys.exit(main())
