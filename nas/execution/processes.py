"""Independent jobs, each in a process with one thread; nothing of them is left behind if they are interrupted."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from search_space.base.errors import InputError

T = TypeVar("T")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run(
    function: Callable[..., T], jobs: Sequence[Sequence[Any]], workers: int, jobs_each: int | None = None
) -> Iterator[T]:
    """Results of `function(*job)` as they come, from `workers` processes at a time.

    Processes are started afresh, as a fork of one that has threads can hang, and replaced after `jobs_each` jobs.

    Raises:
      InputError: a process was killed; or what the function raises.
    """
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")
    with (
        _one_thread(),
        ProcessPoolExecutor(workers, context, initializer=_only_told, max_tasks_per_child=jobs_each) as pool,
    ):
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            rule = "is the number of processes, of which one was killed, as a system does that runs out of memory"
            raise InputError("--workers", workers, f"{rule}; the same command resumes it") from None
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _only_told() -> None:
    """Ctrl-C reaches every process of a terminal; the one that began them decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started in here use one thread each for linear algebra; NumPy reads this as it is loaded."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
