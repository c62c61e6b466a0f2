"""A terminal to run a program on: a real pseudo-terminal, and an emulator that says what a person would see."""

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
    """Runs a program on a terminal so many columns wide: `with Terminal(command, columns) as terminal: ...`.

    `breaks`: whether lines that do not fit after a resize are broken, as most terminals do, or cut, as some do.
    """

    def __init__(self, command: Sequence[object], columns: int, breaks: bool = True, **environment: str) -> None:
        self.breaks, self.written, self.widths = breaks, b"", [columns]
        self._show(pyte.Screen(columns, LINES))
        self.ours, theirs = os.openpty()
        self._tell(columns)
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}  # of another
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
        """TIOCSWINSZ, upon which the kernel sends SIGWINCH to the program in front."""
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))

    def rows(self) -> list[str]:
        """What is on the screen, down to the last row that has something on it."""
        rows = [row.rstrip() for row in self.screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def resize(self, columns: int) -> None:
        """As a person does it who drags the window's edge."""
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
        """Reads what the program writes until it has ended or the condition is true."""
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
        """Reads to the end; the exit code."""
        self.read()
        return self.process.wait(60)

    def lines(self) -> list[str]:
        """All lines that were ever written, without what moves the cursor or colours."""
        text = self.written.decode()
        return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", text)]
