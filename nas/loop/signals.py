"""Interrupts of a run: after the first signal running trials finish, the second stops the run at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

GRACE = 30.0  # seconds for running trials at a shutdown: systems kill some time after SIGTERM
SOON = (signal.SIGTERM, signal.SIGHUP)  # system shutdown, closed terminal
SIGNALS = (signal.SIGINT, *SOON)
NOTICE = "interrupted: {}; interrupt again to stop at once"
STANDARD_ERROR = 2  # its descriptor


@contextmanager
def gently(drain: Callable[[], None], doing: str, grace: float = GRACE) -> Iterator[None]:
    """Call `drain` at the first signal; a second one, or the end of the grace after one of `SOON`, interrupts the body.

    Ignored signals, as SIGHUP under nohup, stay ignored. Outside of the main thread, which receives signals, nothing is
    changed.

    Args:
      drain: stops the start of trials; it must be short.
      doing: text for the user on what happens until the end.
      grace: seconds after SIGTERM or SIGHUP.

    Raises:
      KeyboardInterrupt: in the body.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked or number == signal.SIGALRM:
            raise KeyboardInterrupt
        asked = True
        drain()
        if number in SOON:
            signal.setitimer(signal.ITIMER_REAL, grace)
        _print(NOTICE.format(doing))

    wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in (*wanted, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def soon(grace: float = GRACE) -> None:
    """Pass a signal of `SOON` from the thread that received it to the main thread, inside `gently`."""
    main = threading.main_thread().ident
    if main is not None and callable(signal.getsignal(signal.SIGALRM)):
        signal.setitimer(signal.ITIMER_REAL, grace)
        signal.pthread_kill(main, signal.SIGINT)


def _print(line: str) -> None:
    """Write to the descriptor of standard error, independent of its Python stream."""
    start = "\n" if os.isatty(STANDARD_ERROR) else ""  # after the echo of ^C
    with suppress(OSError):
        os.write(STANDARD_ERROR, f"{start}{line}\n".encode())
