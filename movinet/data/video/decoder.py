"""Decode videos in separate processes, so that a broken file cannot crash this one.

A decoding process that crashes, or exceeds its memory or processor time, ends; the file then raises `UnusableVideo`,
and another process takes the next file. It also ends when the pipe from here closes.

A request is a line of JSON. An answer is a line of JSON, followed by the bytes of the arrays that it announces.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from movinet.data.video.decoding import Frames, Wanted, read_frames, scan, wanted
from movinet.data.video.timeline import Numbers, Timeline, UnusableVideo

ROOT = Path(__file__).parents[3]
READY = b"ready\n"

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """Limits of one request.

    A file of 1 kB whose tables promise 8e7 frames makes FFmpeg take 3 GB and 7 s; none of 20 000 files damaged at
    random took more than 0.4 GB (docs/reference/data.md).

    Attributes:
      memory: bytes of address space of a decoding process; 8K video with 16 reference frames takes 1.5e9.
      processor_seconds: of the decoding process, independent of other load.
      wall_seconds: limit for a drive that does not respond.
    """

    memory: int = 3 << 30
    processor_seconds: float = 120
    wall_seconds: float = 1200


class Decoder:
    """Up to `processes` decoding processes (by default one per core), started on demand.

    It is thread-safe. Unpickling creates a new one.
    """

    def __init__(self, processes: int | None = None, limits: Limits = Limits()) -> None:
        self._processes = processes or os.cpu_count() or 1
        self._limits = limits
        self._slots = threading.BoundedSemaphore(self._processes)
        self._idle: list[_Worker] = []
        weakref.finalize(self, _close, self._idle)

    def __reduce__(self) -> tuple[Callable[..., Decoder], tuple[int, Limits]]:
        return Decoder, (self._processes, self._limits)

    def scan(self, file: Path) -> Timeline:
        """Run `decoding.scan` in a decoding process."""
        head, times, keys = self._ask({"file": os.fspath(file.absolute())})
        return Timeline(times, keys, Fraction(*head["unit"]), head["end"], head["counted"])

    def read(self, file: Path, timeline: Timeline, numbers: Numbers, short_side: int | None = None) -> Frames:
        """Return the frames `numbers` of `file`, in any order, by `decoding.read_frames`: uint8 `T H W C`."""
        want, places = wanted(timeline, numbers)
        _, frames = self._ask({"file": os.fspath(file.absolute()), "want": vars(want), "short_side": short_side})
        in_order = len(places) == len(frames) and bool((np.diff(places) > 0).all())
        return frames if in_order else frames[places]

    def close(self) -> None:
        """End the idle processes."""
        _close(self._idle)

    def _ask(self, request: dict[str, Any]) -> list[Any]:
        with self._slots:
            worker = self._worker()
            try:
                answer = worker.ask(request)
            except BaseException:  # an interrupt also leaves an answer half read
                worker.end()
                raise
            self._idle.append(worker)
        if "unusable" in answer[0]:
            raise UnusableVideo(answer[0]["unusable"])
        return answer

    def _worker(self) -> _Worker:
        while True:
            try:
                worker = self._idle.pop()
            except IndexError:
                return _Worker(self._limits)
            if worker.lives():
                return worker
            worker.end()


def in_order(function: Callable[[Argument], Result], arguments: Iterable[Argument], threads: int) -> Iterator[Result]:
    """Yield the function's results in the order of the arguments; `threads` threads work a few results ahead."""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Result]] = deque()
        for argument in arguments:
            pending.append(pool.submit(function, argument))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _close(workers: list[_Worker]) -> None:
    while workers:
        workers.pop().end()


class _Worker:
    """One decoding process, used by one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "movinet.data.video.decoder", json.dumps(asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            process_group=0,  # ctrl-C at the terminal goes to the parent only
        )
        if self._process.stdout and self._process.stdout.readline() != READY:
            self.end()
            raise RuntimeError(f"the decoding process ended with code {self._process.returncode} before it started")

    def lives(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> list[Any]:
        """Return the answer's head and its arrays. Raises `UnusableVideo` if the process ends without an answer."""
        pipes = self._process
        assert pipes.stdin and pipes.stdout
        try:
            pipes.stdin.write(json.dumps(request).encode() + b"\n")
            pipes.stdin.flush()
            head = json.loads(pipes.stdout.readline() or "null")
            return [head, *(_received(pipes.stdout, *array) for array in head["arrays"])]
        except (OSError, EOFError, TypeError, ValueError) as error:
            raise self._died() from error

    def _died(self) -> UnusableVideo:
        code = self._process.wait()
        if -code in (signal.SIGPROF, signal.SIGALRM):
            return UnusableVideo("takes too long to decode")
        return UnusableVideo(f"made the decoder crash ({signal.Signals(-code).name if code < 0 else f'code {code}'})")

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()  # closes the pipes and waits


def _received(pipe: IO[bytes], dtype: str, shape: list[int]) -> np.ndarray[Any, Any]:
    array = np.empty(shape, dtype)
    rest = array.reshape(-1).view(np.uint8).data
    while rest:
        count = pipe.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        rest = rest[count:]
    return array


def serve(requests: IO[bytes], answers: IO[bytes], limits: Limits) -> None:
    """Answer requests until the pipe closes: the main loop of a decoding process."""
    if sys.platform == "linux":  # elsewhere reserved but unused address space can be of any size
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write(READY)
    answers.flush()
    for line in requests:
        signal.setitimer(signal.ITIMER_PROF, limits.processor_seconds)  # either kills this process
        signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds)
        head, arrays = _answer(json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        head["arrays"] = [(str(array.dtype), array.shape) for array in arrays]
        answers.write(json.dumps(head).encode() + b"\n")
        for array in arrays:
            answers.write(np.ascontiguousarray(array).data)
        answers.flush()


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
    file = Path(request["file"])
    try:
        if "want" in request:
            return {}, [read_frames(file, Wanted(**request["want"]), request["short_side"])]
        line = scan(file)
        return {"unit": line.unit.as_integer_ratio(), "end": line.end, "counted": line.counted}, [line.times, line.keys]
    except UnusableVideo as error:
        return {"unusable": str(error)}, []
    except MemoryError:
        return {"unusable": "takes too much memory to decode"}, []


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, Limits(**json.loads(sys.argv[1])))
