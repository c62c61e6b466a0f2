"""HTML from untrusted data: every text is escaped, unless it is an `Html` created here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from search_space.base.errors import printable


class Html(str):
    """Text that is already markup, made of escaped parts."""

    __slots__ = ()


def text(value: object) -> Html:
    """Return a value as text of a page, without control characters."""
    return value if isinstance(value, Html) else Html(escape(printable(str(value), kept="\n")))


def join(parts: Iterable[object], between: str = "") -> Html:
    """Join parts, each escaped."""
    return Html(text(between).join(text(part) for part in parts))


def element(name: str, *parts: object, **attributes: object) -> Html:
    """Return `<name attributes>parts</name>`; in names of attributes `_` becomes `-`, and class_ class."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items() if value != ""
    )
    return Html(f"<{name}{given}>{join(parts)}</{name}>")


def table(caption: str, head: Sequence[object], rows: Iterable[Sequence[object]], texts: Sequence[int] = (0,)) -> Html:
    """Return a table that scrolls if it is wider than the screen; the columns `texts` contain text, the others numbers.

    The first cell of a row is its heading.
    """

    def kind(column: int) -> str:
        return "" if column in texts else "number"

    heading = [element("th", cell, scope="col", class_=kind(i)) for i, cell in enumerate(head)]
    body = [
        element(
            "tr",
            element("th", row[0], scope="row", class_=kind(0)),
            *(element("td", cell, class_=kind(i)) for i, cell in enumerate(row[1:], 1)),
        )
        for row in rows
    ]
    whole = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", element("tr", *heading)),
        element("tbody", *body),
    )
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def definitions(pairs: Iterable[tuple[object, object]], class_: str = "") -> Html:
    """Return a list of names and their values."""
    return element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs), class_=class_
    )


def details(summary: str, *parts: object) -> Html:
    """Return content that is shown on demand."""
    return element("details", element("summary", summary), *parts)


def number(value: float, form: str, unit: str = "") -> str:
    """Return the formatted number, or a dash for a missing one."""
    return "–" if value != value else f"{value:{form}}{unit}"


def interval(value: float, low: float, high: float, form: str = "+.2f") -> str:
    """Return a number with its interval, with minus signs as wide as the plus."""
    if math.isnan(value):
        return "–"
    shown = f"{value:{form}}" if math.isnan(low) else f"{value:{form}} [{low:{form}}, {high:{form}}]"
    return shown.replace("-", "−")


def bar(value: float, low: float, high: float, clear: bool) -> Html:
    """Return a graphic of a value from -1 to 1 and its interval, hidden from screen readers."""
    if math.isnan(value):
        return Html("")
    parts = [Html('<line class="axis" x1="60" x2="60" y1="0" y2="16"/>')]
    if not math.isnan(low):
        parts.append(Html(f'<line class="range" x1="{60 + 58 * low:.1f}" x2="{60 + 58 * high:.1f}" y1="8" y2="8"/>'))
    parts.append(Html(f'<circle cx="{60 + 58 * value:.1f}" cy="8" r="4"/>'))
    shown = element("svg", *parts, viewBox="0 0 120 16", width=120, height=16, aria_hidden="true")
    return element("span", shown, class_="bar clear" if clear else "bar")


def script_data(value: Any) -> Html:
    """Return JSON that can neither end its script element nor begin a comment in it."""
    line = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Html(line.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
