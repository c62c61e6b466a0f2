"""What a run does when it is told to stop: at first it finishes what it has begun, the second time it stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

GRACE = 30.0  # seconds for what has begun, where a machine is going down: systems kill some time after SIGTERM
SOON = (signal.SIGTERM, signal.SIGHUP)  # a system that shuts down, a terminal that is closed
SIGNALS = (signal.SIGINT, *SOON)
NOTICE = "interrupted: {}; interrupt again to stop at once"
STANDARD_ERROR = 2  # its descriptor


@contextmanager
def gently(drain: Callable[[], None], doing: str, grace: float = GRACE) -> Iterator[None]:
    """The first signal calls `drain`; a second one, or the end of the time after one of `SOON`, interrupts the body.

    Signals that are ignored, as SIGHUP is under nohup, stay so. Outside of the main thread, which alone hears of
    signals, nothing is changed.

    Args:
      drain: notes that no more is to be begun; it must be short.
      doing: what happens until then, for the user.
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
        _say(NOTICE.format(doing))

    wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in (*wanted, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def soon(grace: float = GRACE) -> None:
    """Tell the main thread, inside `gently`, what one of `SOON` would tell it; for a thread that took the signal."""
    main = threading.main_thread().ident
    if main is not None and callable(signal.getsignal(signal.SIGALRM)):
        signal.setitimer(signal.ITIMER_REAL, grace)
        signal.pthread_kill(main, signal.SIGINT)


def _say(line: str) -> None:
    """To standard error, past whatever has taken its place or is in the middle of writing."""
    start = "\n" if os.isatty(STANDARD_ERROR) else ""  # where ^C was echoed
    with suppress(OSError):
        os.write(STANDARD_ERROR, f"{start}{line}\n".encode())
