"""A real pseudo-terminal to run a program on, and an emulator of the screen that a user would see."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import pyte

ROOT = Path(__file__).parents[1]
LINES = 40


class Terminal:
    """Run a program on a terminal of `columns` columns: `with Terminal(command, columns) as terminal: ...`.

    After a resize, lines that do not fit are broken if `breaks`, as in most terminals, else cut, as in some.
    """

    def __init__(self, command: Sequence[object], columns: int, breaks: bool = True, **environment: str) -> None:
        self.breaks, self.written, self.widths = breaks, b"", [columns]
        self._show(pyte.Screen(columns, LINES))
        self.ours, theirs = os.openpty()
        self._tell(columns)
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}  # another's size
        path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=kept | path | environment,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)

    def _show(self, screen: pyte.Screen) -> None:
        self.screen, self.stream = screen, pyte.ByteStream(screen)

    def _tell(self, columns: int) -> None:
        """Set the size by TIOCSWINSZ; the kernel then sends SIGWINCH to the program in the foreground."""
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))

    def rows(self) -> list[str]:
        """Return the rows of the screen, down to the last row that is not empty."""
        rows = [row.rstrip() for row in self.screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def resize(self, columns: int) -> None:
        """Resize the terminal as a user does by dragging the window's edge."""
        if self.breaks:
            before, screen = self.screen, pyte.Screen(columns, LINES)
            rows = [row.rstrip() for row in before.display[: before.cursor.y + 1]]
            self._show(screen)
            broken = [row[i : i + columns] for row in rows for i in range(0, max(len(row), 1), columns)]
            self.stream.feed("\r\n".join(broken).encode())
        else:
            self.screen.resize(LINES, columns)
        self.widths.append(columns)
        self._tell(columns)

    def read(self, until: Callable[[], object] = lambda: False, seconds: float = 60) -> None:
        """Read the program's output until it has ended or the condition is true."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, "\n".join(self.rows())
            if not select.select([self.ours], [], [], 1)[0]:
                continue
            piece = b""
            with contextlib.suppress(OSError):  # EIO: the other end was closed
                piece = os.read(self.ours, 65536)
            if not piece:
                return
            self.written += piece
            self.stream.feed(piece)

    def end(self) -> int:
        """Read to the end; return the exit code."""
        self.read()
        return self.process.wait(60)

    def lines(self) -> list[str]:
        """Return all lines ever written, without cursor movements and colours."""
        text = self.written.decode()
        return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", text)]
