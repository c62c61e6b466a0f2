"""A Ray cluster of several nodes on this machine, each a process of its own as `ray start` begins it by hand."""

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
OBJECT_STORE = 80 * 2**20  # bytes; about the least
STARTED = "This command will now block"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Nodes:
    """A head without cores, which schedules, and nodes that are added and lost. `environment`: of who joins."""

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
        """A node; returns when it is there."""
        return self._start(f"--address={self.address}", f"--num-cpus={cpus}")

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """kill -9 of everything on a node, as when its machine goes."""
        self.started.remove(node)
        for _ in range(2):  # a process may start another one meanwhile
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
            "RAY_health_check_period_ms": "500",  # so that a node that is lost is given up soon
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
    """Of someone who starts a node: without what a search of this process has set for a Ray of its own."""
    return {name: value for name, value in environment.items() if not name.startswith("RAY_")}


@contextlib.contextmanager
def ray_nodes() -> Iterator[Nodes]:
    """A cluster that has only its head yet; nothing of it is left afterwards."""
    nodes = Nodes(Path(tempfile.mkdtemp(dir="/tmp")))  # short, as sockets will be in it
    try:
        nodes.begin()
        yield nodes
    finally:
        nodes.end()
        shutil.rmtree(nodes.folder, ignore_errors=True)
