"""Where Ray runs: on this machine alone, started for a run and closed to others; or a cluster that is joined.

`Cluster.prepared` comes before Ray is imported for the first time, as that is when Ray reads its environment.
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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.config.search_config import SearchConfig
from nas.config.sections import ResourcesConfig
from nas.loop import signals
from search_space.base.errors import InputError

# Of a worker. By default a GPU's memory is taken whole by the first of those that share it, and who asked for none
# sees them all.
WORKER_ENVIRONMENT = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # `Room` has a say in that
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
# Of a Ray of our own. Niceness: Ray starts workers at 15, which starves them on a busy machine and distorts every
# time measured in them. Prestarted workers: Tune cannot use them. Memory monitor: it would end workers for what other
# programs use. The last one has every port opened on the loopback address only, on Linux too.
OWN = {
    "RAY_worker_niceness": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
OBJECT_STORE_BYTES = 100 * 2**20  # clips are memory-mapped files; next to nothing passes through Ray
CODE = ("search_space", "nas", "movinet", "movinet_nas")  # packages that a worker needs, the last for extensions
JOIN = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
print(ray.get_runtime_context().gcs_address)
"""
SECONDS_TO_LOOK = 2.0  # from one look at the nodes to the next
LONGEST_WAIT = 60.0  # seconds for a cluster to answer; Ray itself would wait for five minutes and then exit
SECONDS_TO_CONNECT = 10.0
SECONDS_TO_LISTEN = 0.1  # between two looks whether Ray has started


@dataclass(frozen=True)
class Cluster:
    """Where a run's workers are. `address` '' starts a Ray on this machine.

    `share`: URI of a folder in object storage from which nodes fetch the clips, if they share no folder.
    """

    address: str = ""
    share: str = ""

    def prepared(self) -> Cluster:
        """Sets what Ray reads when it is imported, where it is not set already, and finds out if the cluster answers.

        The address is then HOST:PORT, so that a second look for any cluster does not find another one.

        Raises:
          InputError: it does not, or not in time.
        """
        for name, value in (ENVIRONMENT | ({} if self.address else OWN | WORKER_ENVIRONMENT)).items():
            os.environ.setdefault(name, value)
        if not self.address:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray makes one in the user's home
            return self
        if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # whoever names a token means it to be used
        return replace(self, address=_answering(self.address))


ALONE = Cluster()


@contextlib.contextmanager
def session(config: SearchConfig, address: str, scratch: Path) -> Iterator[None]:
    """Ray while a search runs: what was started for it is ended with it, and a cluster is left as it was.

    Args:
      config: the run's.
      address: of the cluster to join; '' starts a Ray on this machine.
      scratch: a folder with a short name, for logs and sockets of a Ray of our own.

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
    """Signals are for this process, which ends Ray's when it has drained; those come into being deaf to them.

    Systems that go down tell every process. And Ray, as it begins, has SIGTERM end this one at once; as it ends, too.
    Meanwhile a thread listens, as Ray may take minutes to start.
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
    """Until it is over, have the main thread stop soon once one of `interrupts.SOON` comes."""
    while not over.is_set():
        if signal.sigtimedwait(signals.SOON, SECONDS_TO_LISTEN):
            signals.soon()


def _connect(config: SearchConfig, address: str, scratch: Path) -> None:
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": False}
    if address:
        try:
            ray.init(address=address, runtime_env=runtime_env(), **options)
        except (ConnectionError, RuntimeError) as error:  # it answered a moment ago
            raise InputError("--address", address, f"cannot be joined: {error}") from None
    else:
        cpus = math.ceil(config.workers * config.resources.cpus) or None  # None: as many as there are
        try:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                    # Without a dashboard Ray starts a server for statistics, which even if they are off asks the
                    # clouds' metadata services where it is. Where its port is taken, Ray does without.
                    include_dashboard=False,
                    dashboard_port=taken.getsockname()[1],
                    _temp_dir=str(scratch),
                    **options,
                )
        except Exception as error:
            if type(error) is not Exception:  # what Ray raises when its own processes take longer than it waits
                raise
            rule = "is why Ray did not start; try again when this machine is less busy"
            raise InputError("Ray", str(error).partition(".")[0], rule) from None


def runtime_env() -> dict[str, Any]:
    """What the nodes of a cluster are sent: the code of this process, whatever is installed there."""
    root = Path(__file__).parents[2]
    return {
        "py_modules": [str(root / name) for name in CODE],
        "excludes": ["**/__pycache__/**", "**/*.pyc"],
        "env_vars": dict(WORKER_ENVIRONMENT),
    }


class Room:
    """How many trials may run side by side: as many as configured, or as fit into the nodes that there are now."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self._found, self._looked = 0, -math.inf

    def __call__(self) -> int:
        """Of this moment."""
        import ray

        if self.config.workers:
            return self.config.workers
        if time.monotonic() - self._looked > SECONDS_TO_LOOK:
            self._found = sum(_fit(self.config, node["Resources"]) for node in ray.nodes() if node["Alive"])
            self._looked = time.monotonic()
        return self._found


def _fit(config: SearchConfig, node: dict[str, float]) -> int:
    """Trials that fit into a node; more than one only if it has the memory that their workers may take."""
    needed = {"CPU": config.reserved.cpus, "GPU": config.reserved.gpus}
    most = min(math.floor(node.get(name, 0) / share + 1e-9) for name, share in needed.items() if share)
    return min(most, max(1, int(node.get("memory", 0) / 2**20 / config.worker_memory_mb)))


def _check_room(resources: ResourcesConfig, available: dict[str, float]) -> None:
    for key, name in (("cpus", "CPU"), ("gpus", "GPU")):
        wanted, found = getattr(resources, key), available.get(name, 0)
        if wanted > found:
            raise InputError(f"resources.{key}", wanted, f"must be at most {found:g}, what Ray finds on this machine")


def _answering(address: str) -> str:
    """HOST:PORT of a cluster that lets us in, found by a process that can be ended: Ray waits as long as it likes."""
    if address.startswith("ray://"):
        rule = "is of a Ray client, over which Ray Tune does not run; start this on a node of the cluster, with auto"
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
        rule = f"did not let us in within {LONGEST_WAIT:g} s; is it a Ray cluster with this machine in it?"
        raise InputError("--address", address, rule) from None
    if tried.returncode:
        why = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
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
