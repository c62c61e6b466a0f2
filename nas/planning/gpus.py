"""GPUs: those in this machine, those that TensorFlow sees, and the CUDA libraries that it lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU, once NVIDIA's driver is loaded
SECONDS = 120  # for TensorFlow to be imported on a busy machine

# TensorFlow names no library that it lacks, so they are opened here, at the major versions that it was built with.
PROGRAM = """
import ctypes, json
import tensorflow as tf
build, missing = tf.sysconfig.get_build_info(), []
if build["is_cuda_build"]:
    cuda, cudnn = build["cuda_version"].split(".")[0], build["cudnn_version"].split(".")[0]
    solver = {"12": "11"}.get(cuda, cuda)
    for name in (f"cudart.so.{cuda}", f"cublas.so.{cuda}", f"cudnn.so.{cudnn}", f"cusolver.so.{solver}"):
        try:
            ctypes.CDLL("lib" + name)
        except OSError:
            missing.append("lib" + name)
found = [device.name for device in tf.config.list_physical_devices("GPU")]
print(json.dumps([tf.__version__, build["is_cuda_build"], found, missing]))
"""


@dataclass(frozen=True)
class TensorFlow:
    """Report of TensorFlow from a process of its own.

    Attributes:
      version: of TensorFlow; '' if it cannot be imported.
      cuda: whether it was built with CUDA.
      gpus: names of the GPUs that it sees.
      missing: CUDA libraries that cannot be loaded.
      fault: last line of the error if it cannot be imported.
    """

    version: str
    cuda: bool = False
    gpus: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    fault: str = ""


def installed(driver: Path = DRIVER) -> int:
    """Return the number of GPUs that NVIDIA's driver lists in this machine."""
    return len(os.listdir(driver)) if driver.is_dir() else 0


def idle(gpus: float, driver: Path = DRIVER) -> str:
    """Return a line for a search that uses no GPU where there is one, else ''."""
    count = installed(driver)
    if gpus or not count:
        return ""
    have = "a GPU is" if count == 1 else f"{count} GPUs are"
    return f"{have} idle: set resources.gpus to 1 to use it; run_search.py doctor reports whether TensorFlow can"


def usable() -> int:
    """Return the number of GPUs that TensorFlow sees; it is asked only where there is one."""
    return len(tensorflow().gpus) if installed() else 0


def tensorflow() -> TensorFlow:
    """Ask TensorFlow, in a process that ends afterwards: it takes seconds to import, and memory of each GPU."""
    command = [sys.executable, "-c", PROGRAM]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        return TensorFlow("", fault=f"was not imported within {SECONDS} s")
    if done.returncode:
        return TensorFlow("", fault=(done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1])
    version, cuda, gpus, missing = json.loads(done.stdout.splitlines()[-1])
    return TensorFlow(version, cuda, tuple(gpus), tuple(missing))
