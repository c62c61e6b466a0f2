"""A search uses no network: its processes listen on and connect to the loopback interface of this machine only."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import sys
import time
from pathlib import Path

import pytest
import small_search

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def tree(root: int) -> set[int]:
    """Return a process and its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {root}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def sockets(processes: set[int]) -> set[str]:
    """Return the inodes of the sockets of processes."""
    found = set()
    for process in processes:
        try:
            for link in Path(f"/proc/{process}/fd").iterdir():
                target = os.readlink(link)
                if target.startswith("socket:["):
                    found.add(target[8:-1])
        except OSError:
            continue
    return found


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    raw = bytes.fromhex(text.partition(":")[0])
    swapped = b"".join(struct.pack(">I", *struct.unpack("<I", raw[i : i + 4])) for i in range(0, len(raw), 4))
    found = ipaddress.ip_address(swapped)
    return getattr(found, "ipv4_mapped", None) or found


def ends(processes: set[int]) -> set[tuple[str, bool]]:
    """Return addresses of the TCP and UDP sockets of processes: those listened on (True) and those connected to."""
    own, found = sockets(processes), set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[9] in own:
                listens = cells[3] in ("0A", "07")
                found.add((str(address(cells[1] if listens else cells[2])), listens))
    return found


def test_it_sees_what_is_open() -> None:
    with socket.socket() as wide, socket.socket() as near:
        wide.bind(("0.0.0.0", 0))
        wide.listen()
        near.connect(("127.0.0.1", wide.getsockname()[1]))
        assert {("0.0.0.0", True), ("127.0.0.1", False)} <= ends({os.getpid()})


def programs(processes: set[int]) -> set[str]:
    """Return the Python files that processes run."""
    found = set()
    for process in processes:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            found |= {Path(os.fsdecode(word)).name for word in words if word.endswith(b".py")}
    return found


@pytest.mark.slow
def test_a_search_stays_on_loopback(tmp_path: Path) -> None:
    process = small_search.started("tiny", "--simulate", "--quiet", "--trials", 6, "--out", tmp_path / "run")
    seen: set[tuple[str, bool]] = set()
    ran: set[str] = set()
    while process.poll() is None:
        processes = tree(process.pid)
        seen |= ends(processes)
        ran |= programs(processes)
        time.sleep(0.1)
    _, errors = small_search.finished(process)
    assert process.returncode == 0 and seen, errors
    assert [each for each in sorted(seen) if not ipaddress.ip_address(each[0]).is_loopback] == []
    # The dashboard queries the metadata services of the clouds once, at some time.
    assert "run_search.py" in ran and "dashboard.py" not in ran
