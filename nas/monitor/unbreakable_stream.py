"""Output stream that ignores write errors such as a closed pipe."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TextIO


class UnbreakableStream(io.TextIOBase):
    """A stream that stops writing after its first failure: closed pipe, full disk, closed terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.failed = stream, False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the stream, or UTF-8."""
        return self.stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Write text, with `?` for characters outside of the encoding; return its length."""
        self._attempt(self.stream.write, text.encode(self.encoding, "replace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._attempt(self.stream.flush)

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return bool(self._attempt(self.stream.isatty))

    def _attempt(self, action: Callable[..., object], *arguments: object) -> object:
        if not self.failed:
            try:
                return action(*arguments)
            except (OSError, ValueError):  # ValueError: a closed file
                self.failed = True
        return None
