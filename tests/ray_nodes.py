"""A Ray cluster of several nodes on this machine; each is a separate process, as started by hand with `ray start`."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from small_search import of_session

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
OBJECT_STORE = 80 * 2**20  # bytes; near the minimum
STARTED = "This command will now block"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Nodes:
    """A head without cores, which only schedules, and nodes that are added and lost.

    `environment` is that of programs that join the cluster.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {"RAY_AUTH_TOKEN": self.token, "RAY_AUTH_MODE": "token", "MOVINET_NAS_CACHE": str(self.folder / "cache")}

    def begin(self) -> None:
        options = [f"--port={self.port}", f"--temp-dir={self.folder / 'r'}", "--include-dashboard=false"]
        self._start("--head", "--num-cpus=0", *options)

    def add(self, cpus: int = 1) -> subprocess.Popen[bytes]:
        """Add a node; return when it is ready."""
        return self._start(f"--address={self.address}", f"--num-cpus={cpus}")

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """Kill all processes of a node with kill -9, like a failure of its machine."""
        self.started.remove(node)
        for _ in range(2):  # a process may start another one in the meantime
            for pid in of_session(node.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        node.wait()

    def end(self) -> None:
        for node in reversed(self.started.copy()):
            self.lose(node)

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"node{len(self.started)}-{time.monotonic_ns()}.log"
        settings = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "RAY_memory_monitor_refresh_ms": "0",
            "RAY_prestart_worker_first_driver": "0",
            "RAY_health_check_period_ms": "500",  # to detect a lost node soon
        }
        with open(log, "wb") as output:
            node = subprocess.Popen(
                [*RAY, "start", "--block", f"--object-store-memory={OBJECT_STORE}", *options],
                env=_by_hand(os.environ) | settings | self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(node)
        end = time.monotonic() + 120
        while STARTED not in log.read_text():
            assert node.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        return node


def _by_hand(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a user who starts a node, without the Ray variables that a search has set here."""
    return {name: value for name, value in environment.items() if not name.startswith("RAY_")}


@contextlib.contextmanager
def ray_nodes() -> Iterator[Nodes]:
    """Yield a cluster that has only its head; remove all of it afterwards."""
    nodes = Nodes(Path(tempfile.mkdtemp(dir="/tmp")))  # a short path, because it contains sockets
    try:
        nodes.begin()
        yield nodes
    finally:
        nodes.end()
        shutil.rmtree(nodes.folder, ignore_errors=True)
