"""Screenshots of the published run's report in Chromium, light, dark and on a phone: docs/images/report_*.png.

python tests/benchmarks/report_screenshots.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from browser import browser  # noqa: E402

from nas.loop import run_folder  # noqa: E402
from results.outcome import write_report  # noqa: E402

OUT = ROOT / "docs" / "images"
RUN = ROOT / "results" / "published" / "frontier"
WINDOWS = {"light": ("light", 1280, 1500), "dark": ("dark", 1280, 1500), "phone": ("light", 390, 1500)}
SETTLED = 500  # milliseconds for elements that are drawn late


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        page = write_report(run_folder.read(RUN), Path(folder) / "report.html")
        for name, (scheme, width, height) in WINDOWS.items():
            size = {"width": width, "height": height}
            view = chromium.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            view.goto(page.as_uri())
            view.wait_for_timeout(SETTLED)
            view.screenshot(path=OUT / f"report_{name}.png")
            if name == "light":
                view.locator("#choices").scroll_into_view_if_needed()
                view.wait_for_timeout(SETTLED)
                view.locator("#choices").screenshot(path=OUT / "report_choices.png")
            view.close()


if __name__ == "__main__":
    main()
