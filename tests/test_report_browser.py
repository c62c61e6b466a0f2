"""The page of a run in a real browser: view, hover, click, keyboard, accessibility, and no network requests."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import MISSING, browser, executable
from playwright.sync_api import Browser, Page
from test_report import FRONTIER, with_nasty_texts

from nas.loop import run_folder
from nas.record.ledger import Ledger
from results.outcome import write_report
from results.tables import frame

FRONT = frame.selected_front(run_folder.read(FRONTIER)).to_dict("records")
TRIALS = frame.trials(run_folder.read(FRONTIER))
TRIED = int(((TRIALS["kind"] == "search") & (TRIALS["state"] == "completed")).sum())
ALL = len(TRIALS)
PLOTS = ("frontier-plot", "choices-plot", "volume-plot")
SECTIONS = ("frontier", "choices", "importance", "volume", "reliability", "family", "failures", "reproduce")
# Screen position of a mark of the trace whose name starts with `name`.
PLACE = """([place, name]) => {
  const plot = document.getElementById("frontier-plot"), {xaxis, yaxis} = plot._fullLayout;
  const trace = plot.data.find(each => each.name.startsWith(name)), box = plot.getBoundingClientRect();
  return [box.x + xaxis._offset + xaxis.d2p(trace.x[place]), box.y + yaxis._offset + yaxis.d2p(trace.y[place])];
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if executable() is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(MISSING)
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of the published run, a real one."""
    return report(run_folder.read(FRONTIER), tmp_path_factory.mktemp("pages"))


def on_front(place: int) -> str:
    """Return the page's name for a network of the front, cheapest first."""
    return f"{FRONT[place]['label'].capitalize()}, on the front"


def report(ledger: Ledger, folder: Path) -> Path:
    return write_report(ledger, folder / "report.html")


class View:
    """A page in its own window; `told` has its console messages, `asked` its requests."""

    def __init__(self, chromium: Browser, file: Path, width: int = 1280, scheme: str = "light") -> None:
        size = {"width": width, "height": 900}
        self.page: Page = chromium.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        self.told: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.told.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def draw_all(self) -> None:
        """Draw every plot by scrolling to it."""
        for name in PLOTS:
            self.page.locator(f"#{name}").scroll_into_view_if_needed()
            self.page.locator(f"#{name} .main-svg").first.wait_for()
        self.page.evaluate("scrollTo(0, 0)")

    def words(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def counts(self, words: str) -> None:
        """Wait until `words` trials are shown."""
        self.page.locator("#count", has_text=re.compile(f"^{words} trials shown")).wait_for()

    def mark(self, place: int, trace: str = "front") -> tuple[float, float]:
        self.page.locator("#frontier-plot").scroll_into_view_if_needed()
        x, y = self.page.evaluate(PLACE, [place, trace])
        return x, y

    def count(self, trace: str) -> int:
        """Return the number of marks of the trace whose name starts with `name`."""
        code = 'name => document.getElementById("frontier-plot").data.find(t => t.name.startsWith(name)).x.length'
        return int(self.page.evaluate(code, trace))


@pytest.fixture(scope="module")
def window(chromium: Browser, file: Path) -> Iterator[View]:
    """Yield one window for many tests, because a page takes a second or two to open."""
    shown = View(chromium, file)
    yield shown
    assert shown.told == []
    assert shown.asked == [file.as_uri()]


@pytest.fixture
def view(window: View) -> View:
    """Return the window in its initial state."""
    window.page.evaluate("form.reset(), pin(firstPinned()), scrollTo(0, 0)")
    window.page.mouse.move(0, 0)
    window.counts(f"{ALL} of {ALL}")
    return window


def test_every_panel_is_there_and_drawn(view: View) -> None:
    view.draw_all()
    for name in SECTIONS:
        assert len(view.words(f"#{name}")) > 50, name
    assert view.page.locator("#frontier-plot .points path").count() > TRIED
    assert view.page.locator("#choices-plot .js-line").count() > 40
    assert view.page.locator("#volume-plot .js-line").count() == 1
    assert view.page.locator("#pinned svg.drawing rect").count() > 10
    assert view.page.locator("#importance .bar circle").count() > 10


def test_pointing_shows_an_architecture_and_a_click_pins_it(view: View) -> None:
    view.page.mouse.move(*view.mark(0))
    view.page.locator("#tip").wait_for(state="visible")
    row, clip = FRONT[0], FRONT[0]["architecture"]["clip"]
    accuracy = f"{row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    thinned = f"{clip['frames']} frames of {clip['resolution']}², 1 in {clip['frame_stride']}"
    said = f"accuracy {accuracy}, {row['macs'] / 1000:.1f} k multiply-adds per clip {thinned}"
    assert " ".join(view.words("#tip").split()).startswith(f"{on_front(0)} {said}")
    assert view.words("#pinned-title") == on_front(-1)
    view.page.mouse.click(*view.mark(0))
    view.page.locator("#pinned-title", has_text=on_front(0)).wait_for()
    assert f"{row['trainable_parameters'] / 1000:.2f} k" in view.words("#pinned")
    assert view.page.locator("#pinned svg.drawing .taken").count() == clip["frames"]


def test_the_filter_takes_kind_state_flops_and_text(view: View) -> None:
    assert view.count("tried") == TRIED
    view.page.locator("#words").fill(FRONT[-1]["fingerprint"])
    view.counts(f"4 of {ALL}")  # with the re-evaluations of its network
    assert view.count("tried") == 1 and view.count("stopped") == 0
    view.page.get_by_role("button", name="Show all").click()
    view.counts(f"{ALL} of {ALL}")
    view.page.get_by_role("checkbox", name="reference").uncheck()
    view.counts(f"{TRIED + 18} of {ALL}")
    view.page.locator("#most").fill("0.5")
    left = TRIALS[(TRIALS["macs"] <= 0.5e6) & (TRIALS["state"] == "completed") & (TRIALS["kind"] != "reference")]
    view.counts(f"{len(left)} of {ALL}")
    assert view.count("tried") == (left["kind"] == "search").sum() < TRIED


def test_the_table_of_trials_sorts_turns_pages_and_pins(view: View) -> None:
    page = view.page
    page.get_by_text("All trials as a table").click()
    page.locator("#trials-table").get_by_role("button", name="accuracy").click()
    page.locator("#trials-table").get_by_role("button", name="accuracy").click()
    assert page.locator("#trials-table th[aria-sort=descending]").inner_text().startswith("accuracy")
    assert page.locator("#trials-table tbody tr").count() == 25
    values = page.locator("#trials-table tbody tr td:nth-child(4)").all_inner_texts()
    assert values == sorted(values, reverse=True)
    page.locator("#trials-table").get_by_role("button", name="after").click()
    assert "page 2 of 4" in view.words("#trials-table")
    button = page.locator("#trials-table button.pin").first
    name = button.inner_text()
    button.press("Enter")
    assert view.words("#pinned-title").lower().startswith(name)
    assert page.evaluate("document.activeElement.id") == "pinned"


def test_a_keyboard_reaches_and_does_everything(view: View) -> None:
    page = view.page
    first = page.locator("a, button, input, select, summary, [tabindex]").first
    first.focus()
    assert first.inner_text() == "Skip to the Pareto front" and first.bounding_box()["x"] >= 0  # type: ignore[index]
    page.get_by_role("button", name="cheaper on the front").press("Enter")
    assert view.words("#pinned-title") == on_front(-2)
    assert page.evaluate("document.activeElement.textContent") == "‹ cheaper on the front"
    page.get_by_role("button", name="A6").press("Enter")
    assert view.words("#pinned-title") == "Model A6"
    assert page.locator("#pinned svg.drawing").count() == 2 and page.evaluate("document.activeElement.id") == "pinned"
    page.locator("#part").select_option("block 3")
    assert page.locator("#pinned").get_attribute("aria-live") == "polite"
    order = page.evaluate("[...document.querySelectorAll('[tabindex]')].filter(e => e.tabIndex > 0).length")
    assert order == 0


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
def test_nothing_keeps_people_out(scheme: str, width: int, chromium: Browser, file: Path) -> None:
    shown = View(chromium, file, width, scheme)
    shown.draw_all()
    shown.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    # Plotly's drawing counts as one image with a name for screen readers.
    found = Axe().run(shown.page, {"exclude": [".main-svg"]}, {"resultTypes": ["violations"]}).response["violations"]
    grave = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
    assert grave == []
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown.page.close()


def test_the_colours_are_the_readers_until_the_button_says_otherwise(chromium: Browser, file: Path) -> None:
    shown = View(chromium, file, scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = shown.page.evaluate(ground)
    button = shown.page.get_by_role("button", name="Dark")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert shown.page.evaluate(ground) != dark and button.get_attribute("aria-pressed") == "false"
    ink = 'document.getElementById("frontier-plot")._fullLayout.font.color'
    assert shown.page.evaluate(ink) == "#1d2228"
    shown.page.emulate_media(color_scheme="light")
    button.click()
    assert shown.page.evaluate(ground) == dark
    shown.page.close()


def test_on_paper_all_pictures_are_there_and_no_controls(chromium: Browser, file: Path) -> None:
    shown = View(chromium, file, scheme="dark")
    assert len(shown.page.pdf()) > 50_000
    assert shown.page.locator("#choices-plot .js-line, #volume-plot .js-line").count() > 40  # without scrolling to it
    shown.page.emulate_media(media="print")
    for selector in ("#filter", "nav", "#theme", ".controls"):
        assert not shown.page.locator(selector).is_visible()
    assert shown.page.locator("#frontier-plot").is_visible() and shown.told == []
    shown.page.close()


def test_markup_in_a_run_is_shown_as_text_and_never_run(chromium: Browser, tmp_path: Path) -> None:
    shown = View(chromium, report(with_nasty_texts(tmp_path / "<b>run"), tmp_path))
    shown.draw_all()
    page = shown.page
    assert shown.words("h1") == "<b>run"
    page.get_by_text("All trials as a table").click()
    page.locator("#words").fill("onerror")
    page.locator("#trials-table td", has_text="<script>owned=1</script><img").first.wait_for()
    page.locator("#trials-table button.pin").first.click()
    assert "<script>owned=1</script><img src=x" in shown.words("#pinned")
    for place in range(page.evaluate('document.getElementById("frontier-plot").data.at(-2).x.length')):
        page.mouse.move(*shown.mark(place))
    assert page.evaluate("typeof owned") == "undefined" and page.locator("img").count() == 0
    assert page.locator("script").count() == 3 and shown.told == [] and len(shown.asked) == 1
    page.close()


def crowded(file: Path, folder: Path, trials: int) -> Path:
    """Write the page with every trial repeated many times at slightly different positions."""
    before, data, after = re.split(r'(?<=id="data">)(.*?)(?=</script>)', file.read_text("utf-8"), maxsplit=1)
    whole: dict[str, Any] = json.loads(data)
    one = whole["trials"]
    copies = trials // len(one["index"])
    for name in ("kind", "state"):
        one[name]["codes"] *= copies
    for name in ("repeat", "steps", "seconds", "network"):
        one[name] *= copies
    one["accuracy"] = [None if a is None else a + 0.001 * i for i in range(copies) for a in one["accuracy"]]
    one["index"] = list(range(copies * len(one["index"])))
    page = folder / "crowded.html"
    page.write_text(before + json.dumps(whole) + after, encoding="utf-8")
    return page


def test_ten_thousand_trials_are_no_other_page(chromium: Browser, file: Path, tmp_path: Path) -> None:
    copies = 10_000 // ALL
    shown = View(chromium, crowded(file, tmp_path, 10_000))
    shown.draw_all()
    assert shown.words("#count") == f"{copies * ALL} of {copies * ALL} trials shown"
    assert shown.count("tried") == copies * TRIED
    assert shown.page.locator("#frontier-plot *").count() < 1000
    for place, trace, title in ((len(FRONT) - 1, "front", on_front(-1)), (4, "tried", "Trial ")):
        shown.page.mouse.move(*shown.mark(place, trace))
        shown.page.locator("#tip", has_text=title).wait_for(state="visible")
        shown.page.mouse.move(0, 0)
    shown.page.locator("#words").fill(f"trial {copies * ALL - 1}")
    shown.counts(f"1 of {copies * ALL}")
    assert shown.told == []
    shown.page.close()
