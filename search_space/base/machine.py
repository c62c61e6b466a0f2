"""Cores, memory and free disk space of this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_mb() -> int:
    """Return the memory that new processes may take, in MiB."""
    return int(psutil.virtual_memory().available) >> 20


def resident_mb() -> float:
    """Return the resident memory of this process, in MiB."""
    return float(psutil.Process().memory_info().rss / 2**20)


def free_bytes(folder: Path) -> int:
    """Return the free space for a folder, which need not exist yet."""
    folder = folder.absolute()
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
