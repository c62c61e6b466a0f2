"""Start of Ray: on this machine only, for one run and closed to others; or joining of a cluster.

Call `Cluster.prepared` before Ray is first imported, because Ray reads its environment on import.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.config.search_config import SearchConfig
from nas.config.sections import ResourcesConfig
from nas.loop import signals
from search_space.base.errors import InputError

# For workers. By default the first process on a shared GPU takes all of its memory, and a trial without GPUs
# sees all of them.
WORKER_ENVIRONMENT = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # `Room` sets the limit
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
# For a Ray started here. Niceness: Ray starts workers at 15, which starves them on a busy machine and distorts time
# measurements. Prestarted workers: Tune cannot use them. Memory monitor: it would end workers because of the memory of
# other programs. The last setting opens ports on the loopback address only, also on Linux.
OWN = {
    "RAY_worker_niceness": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
OBJECT_STORE_BYTES = 100 * 2**20  # clips are memory-mapped files; hardly any data passes through Ray
CODE = ("search_space", "nas", "movinet", "movinet_nas")  # packages that a worker needs, the last for extensions
JOIN = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
print(ray.get_runtime_context().gcs_address)
"""
SECONDS_TO_LOOK = 2.0  # between checks of the nodes
LONGEST_WAIT = 60.0  # seconds for a cluster to answer; Ray itself would wait for five minutes and then exit
SECONDS_TO_CONNECT = 10.0
SECONDS_TO_LISTEN = 0.1  # between checks whether Ray has started


@dataclass(frozen=True)
class Cluster:
    """Location of a run's workers. `address` '' starts Ray on this machine.

    `share`: URI of a folder in object storage from which nodes fetch the clips, if they share no folder.
    """

    address: str = ""
    share: str = ""

    def prepared(self) -> Cluster:
        """Set Ray's environment variables, unless set, and check that the cluster responds.

        The result has the address HOST:PORT, so that later look-ups find the same cluster.

        Raises:
          InputError: it does not respond in time.
        """
        for name, value in (ENVIRONMENT | ({} if self.address else OWN | WORKER_ENVIRONMENT)).items():
            os.environ.setdefault(name, value)
        if not self.address:
            os.environ.setdefault(
                "RAY_AUTH_TOKEN", secrets.token_hex(32)
            )  # otherwise Ray stores one in the home folder
            return self
        if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # a given token shall be used
        return replace(self, address=_answering(self.address))


ALONE = Cluster()


@contextlib.contextmanager
def session(config: SearchConfig, address: str, scratch: Path) -> Iterator[None]:
    """Run Ray during a search: end what was started for it, and leave a joined cluster unchanged.

    Args:
      config: configuration of the run.
      address: of the cluster to join; '' starts Ray on this machine.
      scratch: a folder with a short name, for logs and sockets of a Ray started here.

    Raises:
      InputError: this machine has less than one trial needs.
    """
    import ray

    try:
        with _signals_kept():
            _connect(config, address, scratch)
        if not address:
            _check_room(config.reserved, ray.cluster_resources())
        yield
    finally:
        with _signals_kept():
            ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Handle signals in this process only; Ray's processes ignore them and are ended after running trials finish.

    A shutdown signals every process, and Ray's start and end set SIGTERM to end this process at once. Meanwhile a
    thread waits for signals, because Ray may take minutes to start.
    """
    handler, over = signal.getsignal(signal.SIGTERM), threading.Event()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.SOON)
    listening = threading.Thread(target=_listen, args=(over,), daemon=True)
    listening.start()
    try:
        yield
    finally:
        over.set()
        listening.join()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _listen(over: threading.Event) -> None:
    """Make the main thread stop soon when one of `signals.SOON` arrives, until `over` is set."""
    while not over.is_set():
        if signal.sigtimedwait(signals.SOON, SECONDS_TO_LISTEN):
            signals.soon()


def _connect(config: SearchConfig, address: str, scratch: Path) -> None:
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": False}
    if address:
        try:
            ray.init(address=address, runtime_env=runtime_env(), **options)
        except (ConnectionError, RuntimeError) as error:  # although it responded a moment ago
            raise InputError("--address", address, f"cannot be joined: {error}") from None
    else:
        cpus = math.ceil(config.workers * config.resources.cpus) or None  # None: all
        try:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                    # Without a dashboard Ray starts a server for statistics, which even if disabled queries the
                    # metadata
                    # services of clouds. If its port is taken, Ray continues without it.
                    include_dashboard=False,
                    dashboard_port=taken.getsockname()[1],
                    _temp_dir=str(scratch),
                    **options,
                )
        except Exception as error:
            if type(error) is not Exception:  # raised by Ray when its processes start too slowly
                raise
            rule = "prevented the start of Ray; try again when this machine is less busy"
            raise InputError("Ray", str(error).partition(".")[0], rule) from None


def runtime_env() -> dict[str, Any]:
    """Return the environment for the nodes of a cluster, which includes the code of this process."""
    root = Path(__file__).parents[2]
    return {
        "py_modules": [str(root / name) for name in CODE],
        "excludes": ["**/__pycache__/**", "**/*.pyc"],
        "env_vars": dict(WORKER_ENVIRONMENT),
    }


class Room:
    """Number of parallel trials: the configured one, or as many as fit on the current nodes."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self._found, self._looked = 0, -math.inf

    def __call__(self) -> int:
        """Return the current number."""
        import ray

        if self.config.workers:
            return self.config.workers
        if time.monotonic() - self._looked > SECONDS_TO_LOOK:
            self._found = sum(trials_that_fit(self.config, node["Resources"]) for node in ray.nodes() if node["Alive"])
            self._looked = time.monotonic()
        return self._found


def trials_that_fit(config: SearchConfig, node: Mapping[str, float]) -> int:
    """Return the number of trials that fit on a node; more than one only if it has enough memory for their workers."""
    needed = {"CPU": config.reserved.cpus, "GPU": config.reserved.gpus}
    most = min(math.floor(node.get(name, 0) / share + 1e-9) for name, share in needed.items() if share)
    return min(most, max(1, int(node.get("memory", 0) / 2**20 / config.worker_memory_mb)))


def _check_room(resources: ResourcesConfig, available: dict[str, float]) -> None:
    for key, name in (("cpus", "CPU"), ("gpus", "GPU")):
        wanted, found = getattr(resources, key), available.get(name, 0)
        if wanted > found:
            raise InputError(f"resources.{key}", wanted, f"must be at most {found:g}, which Ray finds on this machine")


def _answering(address: str) -> str:
    """Return HOST:PORT of a cluster that accepts us; a separate process with a time limit asks, as Ray may block."""
    if address.startswith("ray://"):
        rule = "is an address for Ray Client, which Ray Tune does not support; start this on a node, with auto"
        raise InputError("--address", address, rule)
    if address != "auto":
        _check_listens(address)
    try:
        tried = subprocess.run(
            [sys.executable, "-c", JOIN, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_WAIT,
        )
    except subprocess.TimeoutExpired:
        rule = f"did not respond within {LONGEST_WAIT:g} s; is it a Ray cluster that includes this machine?"
        raise InputError("--address", address, rule) from None
    if tried.returncode:
        why = (tried.stderr.strip().splitlines() or ["unknown reason"])[-1]
        token = "; is its token in RAY_AUTH_TOKEN?" if "AuthToken" in tried.stderr else ""
        raise InputError("--address", address, f"cannot be joined: {why}{token}")
    return tried.stdout.strip()


def _check_listens(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise InputError("--address", address, "must be auto, or HOST:PORT of a Ray cluster")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError("--address", address, f"cannot be reached: {reason.lower()}") from None
