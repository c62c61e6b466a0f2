"""Code in the documentation: its blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("results/published/**/*.md")),
)
BLOCK = re.compile(r"^```(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:run_search\.py|movinet-nas|python) [^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: file and line of its beginning, its language, and its text."""

    place: str
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command line as shown, without its comment."""

    place: str
    line: str

    @property
    def words(self) -> list[str]:
        """Words as a shell splits them, with optional parts included."""
        words = shlex.split(re.sub(r"[\[\]]", "", self.line))
        ends = [i for i, word in enumerate(words) if word in ("&&", ">")]
        return words[: min(ends, default=None)]


def blocks() -> list[Block]:
    """Return the blocks of all pages, in order."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(f"{page.relative_to(ROOT)}:{line}", *match.groups()))
    return found


def commands() -> list[Command]:
    """Return every line of every block without a language; continuation lines are joined."""
    return [
        Command(block.place, " ".join(re.sub(r"(^|\s)#.*", "", line).split()))
        for block in blocks()
        if not block.language
        for line in block.text.replace("\\\n", " ").splitlines()
    ]


def inline_commands() -> list[Command]:
    """Return commands in running text; they often lack required arguments, or have `COMMAND` as a placeholder."""
    found = []
    for page in PAGES:
        text = BLOCK.sub("", page.read_text(encoding="utf-8")).replace("\\|", "|")
        place = str(page.relative_to(ROOT))
        found += [Command(place, line.partition(" | ")[0]) for line in INLINE.findall(text)]
    return found
