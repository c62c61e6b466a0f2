"""Independent jobs, each in a process with one thread; an interruption ends all processes."""

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
    """Yield results of `function(*job)` as they arrive, from `workers` parallel processes.

    Processes are spawned, because a fork of a process with threads can hang, and replaced after `jobs_each` jobs.

    Raises:
      InputError: a process was killed; errors of the function are raised, too.
    """
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")
    with (
        _one_thread(),
        ProcessPoolExecutor(workers, context, initializer=_ignore_interrupts, max_tasks_per_child=jobs_each) as pool,
    ):
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            rule = "is the number of processes, one of which was killed, probably for lack of memory"
            raise InputError("--workers", workers, f"{rule}; the same command resumes it") from None
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ignore ctrl-C, which reaches every process of a terminal; the parent process handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Make processes started in the body use one thread for linear algebra; NumPy reads this setting on import."""
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
