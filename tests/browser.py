"""A real browser for tests of pages: headless Chromium, if installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "no browser: install Chromium (Debian: apt-get install chromium), or name one in the variable CHROMIUM"


def executable() -> str | None:
    """Return the path of a Chromium; None if there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Yield a browser with a new profile, without its sandbox where the sandbox requires a user other than root."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        launched = playwright.chromium.launch(executable_path=executable(), args=arguments)
        try:
            yield launched
        finally:
            launched.close()
