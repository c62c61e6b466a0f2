"""A stream that a search may write to whatever becomes of whoever reads it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TextIO


class Forgiving(io.TextIOBase):
    """A stream that writes nothing more once it has failed: no reader, a full disk, a terminal that was closed."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.failed = stream, False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream, or UTF-8."""
        return self.stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Writes text, with `?` for what the encoding has no place for; returns its length."""
        self._attempt(self.stream.write, text.encode(self.encoding, "replace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Flushes the stream."""
        self._attempt(self.stream.flush)

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return bool(self._attempt(self.stream.isatty))

    def _attempt(self, action: Callable[..., object], *arguments: object) -> object:
        if not self.failed:
            try:
                return action(*arguments)
            except (OSError, ValueError):  # ValueError: a closed file
                self.failed = True
        return None
