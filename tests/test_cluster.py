"""Test a search on several Ray nodes, each a separate process: nodes join and leave, receive code and clips; mirror."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray_nodes import Nodes, free_port, ray_nodes
from small_search import ROOT, finished, ledger_of, of_session, small, started, wait_for, workers_of, written

import run_search
from nas.config.search_config import SearchConfig
from nas.config.sections import EarlyStopping, Finals, ResourcesConfig, SimulationConfig
from nas.evaluation.proxy_trainer import open_data
from nas.execution import node_data, object_store, ray_cluster
from nas.execution.node_data import Clips
from nas.record.events import Completed, Failed, Note, Stopped
from nas.record.ledger import Ledger
from search_space.base.errors import InputError

CLUSTER_FILES = ROOT / "docs" / "cluster"


def simulated(seconds: float, trials: int, **changes: Any) -> SearchConfig:
    """Return a search whose trials take time without work; none is stopped, and few are repeated."""
    return small(
        simulation=SimulationConfig(seconds=seconds),
        trials=trials,
        early_stopping=EarlyStopping(()),
        finals=Finals(1, 1, ()),
        **{"workers": 0, **changes},
    )


def check_whole(ledger: Ledger) -> None:
    """Check that every trial ended once and successfully, except those that wait for training."""
    ended = Counter(e.record.index for e in ledger.entries if isinstance(e.record, Completed | Stopped | Failed))
    waiting = {proposal.index for proposal in ledger.pending}
    assert ended == Counter(ledger.proposals.keys() - waiting) and not ledger.failed


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with ray_nodes() as found:
        yield found


@pytest.mark.slow
def test_a_search_takes_the_nodes_that_come_and_does_without_those_that_go(nodes: Nodes, tmp_path: Path) -> None:
    """Start without cores, add a node, add two more in the middle of the run, and kill one of these."""
    out = tmp_path / "out"
    search = written(tmp_path, simulated(1.0, 10_000))
    process = started(search, "--out", out, "--quiet", "--address", nodes.address, **nodes.environment)
    wait_for(lambda: (out / "ledger.jsonl").exists() and ledger_of(out).entries, process)
    first = nodes.add()
    wait_for(lambda: ledger_of(out).completed, process)
    second, third = nodes.add(), nodes.add()
    for node in (first, second, third):
        wait_for(lambda node=node: workers_of(node.pid, "train"), process)
    nodes.lose(third)
    before = ledger_of(out)
    running = {proposal.index for proposal in before.pending}
    assert 1 <= len(running) <= 3
    wait_for(lambda: running <= ledger_of(out).completed.keys(), process)

    process.send_signal(signal.SIGTERM)  # not all trials are required
    printed, errors = finished(process)
    assert (process.returncode, printed) == (130, ""), errors
    assert errors.endswith(f"--resume {out} --address {nodes.address}\n")
    ledger = ledger_of(out)
    assert ledger.entries[: len(before.entries)] == before.entries
    check_whole(ledger)
    waited, note = (entry.record for entry in ledger.entries if isinstance(entry.record, Note))
    assert waited.text.startswith("no node of the cluster has resources")
    assert note.text.endswith("its worker died; attempt 1 of 3")  # of the one trial that ran on the lost node
    nodes.lose(second)
    nodes.lose(first)


ON_A_NODE = """
import json, os, pathlib, sys
from nas.execution import ray_cluster as cluster
from nas.config import search_config as config
from nas.execution import node_data

address, scratch, search, clips = sys.argv[1:]
search = config.from_dict(json.loads(search))
joined = cluster.Cluster(address).prepared()
import ray

def seen(clips, search):
    import nas
    data = clips.opened(search)
    return nas.__file__, str(data.path), data.content_hash, os.environ.get("CUDA_VISIBLE_DEVICES")

with cluster.session(search, joined.address, pathlib.Path(scratch)):
    task = ray.remote(num_cpus=1)(seen)
    print(json.dumps(ray.get(task.remote(node_data.from_dict(json.loads(clips)), search))))
"""


def test_code_and_clips_reach_a_node(nodes: Nodes, tmp_path: Path) -> None:
    """A node uses the code of the joining program, not its installed code, and clips only in the object storage."""
    settings = small()
    data = open_data(settings.data, settings.space)
    uri = (tmp_path / "bucket").as_uri()
    node_data.share(data.path, data.content_hash, uri)
    clips = Clips("/not/on/this/node", data.content_hash, uri)
    from nas.config.search_config import to_dict

    node = nodes.add()
    tried = subprocess.run(
        [sys.executable, "-c", ON_A_NODE, nodes.address, tmp_path, json.dumps(to_dict(settings)),
         json.dumps(node_data.to_dict(clips))],
        env=os.environ | nodes.environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tried.returncode == 0, tried.stderr
    code, folder, content, gpus = json.loads(tried.stdout.splitlines()[-1])
    assert "runtime_resources/py_modules_files" in code
    assert folder == f"{nodes.environment['MOVINET_NAS_CACHE']}/fetched-{data.content_hash[:16]}"
    assert content == data.content_hash
    assert gpus == ""  # none was requested, so none is visible
    nodes.lose(node)


@pytest.mark.slow
def test_a_wrong_token_is_one_clear_error(nodes: Nodes, tmp_path: Path) -> None:
    environment = nodes.environment | {"RAY_AUTH_TOKEN": "0" * 64}
    search = written(tmp_path, simulated(0.1, 3))
    process = started(search, "--out", tmp_path / "out", "--address", nodes.address, **environment)
    printed, errors = finished(process, 90)
    assert (process.returncode, printed, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: --address") and "token" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:CLOSED", "cannot be reached: connection refused"),
        ("no.such.host.invalid:6379", "cannot be reached"),
        ("ray://127.0.0.1:10001", "Ray Client"),
        ("somewhere", "HOST:PORT"),
        ("127.0.0.1:port", "HOST:PORT"),
        ("127.0.0.1:99999", "HOST:PORT"),
    ],
)
def test_a_cluster_that_is_not_there(
    address: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    search, out = written(tmp_path, simulated(0.1, 3)), tmp_path / "out"
    address = address.replace("CLOSED", str(free_port()))
    assert run_search.main(["search", str(search), "--out", str(out), "--address", address]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --address: '{address}'") and words in line
    assert not out.exists()


def test_something_else_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "LONGEST_WAIT", 2.0)
    answer = pytest.raises(InputError, match=r"did not respond within 2 s")
    with socket.create_server(("127.0.0.1", 0)) as listener, answer:
        ray_cluster._answering(f"127.0.0.1:{listener.getsockname()[1]}")


def test_a_cluster_has_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_search.main(["search", "tiny", "--serial", "--address", "auto"]) == 2
    assert "--address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("resources", "node", "trials"),
    [
        (ResourcesConfig(), {"CPU": 8.0, "memory": 64e9}, 8),
        (ResourcesConfig(), {"CPU": 8.0, "memory": 8 * 2**30}, 2),  # 3000 MB per trial
        (ResourcesConfig(), {"CPU": 1.0, "memory": 2**30}, 1),
        (ResourcesConfig(), {"memory": 64e9}, 0),  # a head that only schedules
        (ResourcesConfig(cpus=0.1), {"CPU": 1.0, "memory": 64e9}, 10),
        (ResourcesConfig(cpus=3), {"CPU": 8.0, "memory": 64e9}, 2),
        (ResourcesConfig(gpus=1), {"CPU": 8.0, "memory": 64e9}, 0),
        (ResourcesConfig(gpus=0.25), {"CPU": 8.0, "GPU": 1.0, "memory": 64e9}, 4),
    ],
)
def test_what_fits_into_a_node(resources: ResourcesConfig, node: dict[str, float], trials: int) -> None:
    assert ray_cluster.trials_that_fit(replace(small(), resources=resources), node) == trials


def test_threads_follow_cores() -> None:
    assert [ResourcesConfig(cpus).threads for cpus in (0.25, 1, 2, 2.5)] == [1, 1, 2, 2]


IN_CHUNKS = """
import contextlib, pathlib, sys, threading
from nas.execution import ray_cluster as cluster
from nas.config import search_config as config
from nas.loop import run_folder as run

cluster.ALONE.prepared()
from nas.execution import ray_tune as ray_executor

fits = []
original = ray_executor._tune
def counted(*arguments):
    fits.append(1)
    original(*arguments)

ray_executor._tune, ray_executor.CHUNK = counted, 3
run.start(config.load(sys.argv[1]), pathlib.Path(sys.argv[2]), "ray", contextlib.nullcontext)
print(len(fits))
"""


def test_a_ray_of_our_own_goes_in_chunks_and_listens_to_this_machine_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    search = written(tmp_path, simulated(0.4, 5, workers=2, resources=ResourcesConfig(cpus=0.5)))
    process = subprocess.Popen(
        [sys.executable, "-c", IN_CHUNKS, search, out], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: workers_of(process.pid, "train"), process)
    ports = listening(of_session(process.pid))
    printed, errors = finished(process)
    assert (printed, errors) == ("2\n", "")
    check_whole(ledger_of(out))
    assert not ledger_of(out).pending
    assert len(ledger_of(out).completed) == 6
    assert ports and all(address in ("127.0.0.1", "::ffff:127.0.0.1") for address in ports)


def listening(processes: dict[int, str]) -> list[str]:
    """Return addresses on which any of the processes listens, from /proc."""
    sockets = {os.readlink(link) for pid in processes for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists()
               or link.is_symlink()}  # fmt: skip
    found = []
    for kind, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", kind).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in sockets:
                words = bytes.fromhex(local.rpartition(":")[0])
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.append(socket.inet_ntop(family, packed))
    return found


@pytest.fixture(scope="module")
def made() -> Any:
    settings = small()
    return open_data(settings.data, settings.space)


FETCHING = """
import sys
from nas.execution import node_data
folder = node_data.fetched(*sys.argv[1:])
print(folder, (folder / "dataset.json").stat().st_mtime_ns)
"""


def test_workers_of_a_node_fetch_the_clips_once(made: Any, tmp_path: Path) -> None:
    uri = (tmp_path / "bucket").as_uri()
    node_data.share(made.path, made.content_hash, uri)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "bucket").rglob("*")}
    node_data.share(made.path, made.content_hash, uri)  # it is there already
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "bucket").rglob("*")} == written
    command = [sys.executable, "-c", FETCHING, uri, made.content_hash]
    cache = os.environ | {"MOVINET_NAS_CACHE": str(tmp_path / "cache")}
    workers = [subprocess.Popen(command, cwd=ROOT, env=cache, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert len({worker.communicate(timeout=60)[0] for worker in workers}) == 1
    assert not any(worker.returncode for worker in workers)


def test_clips_that_changed_on_the_way_are_refused(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))
    uri = (tmp_path / "bucket").as_uri()
    node_data.share(made.path, made.content_hash, uri)
    (clips,) = (tmp_path / "bucket").rglob("train/clips.npy")
    data = bytearray(clips.read_bytes())
    data[-1] ^= 1
    clips.write_bytes(data)
    with pytest.raises(InputError, match="the content differs"):
        node_data.fetched(uri, made.content_hash)
    assert not (tmp_path / "cache" / f"fetched-{made.content_hash[:16]}").exists()


def test_where_a_worker_finds_the_clips(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small()
    assert Clips(str(made.path), made.content_hash).opened(settings).path == made.path
    with pytest.raises(InputError, match="must have the run's content"):
        Clips(str(made.path), "0" * 64).opened(settings)
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path))
    again = Clips("/not/here", made.content_hash).opened(settings)  # rendered anew
    assert again.path.parent == tmp_path and again.content_hash == made.content_hash
    videos = replace(settings, data=replace(settings.data, source="video_folder", path="/not/here/either"))
    with pytest.raises(InputError, match="--share URI"):
        Clips("/not/here", made.content_hash).opened(videos)
    with pytest.raises(InputError, match="cannot be read"):
        Clips("/not/here", made.content_hash, (tmp_path / "empty").as_uri()).opened(settings)


def run_folder(folder: Path, header: str = "header") -> Path:
    folder.mkdir()
    (folder / "ledger.jsonl").write_text(f"{header}\n")
    (folder / "run.lock").write_text("1")
    (folder / "elsewhere").symlink_to("/etc/hostname")
    return folder


def test_the_mirror_follows_a_run(tmp_path: Path) -> None:
    lines: list[str] = []
    run, there = run_folder(tmp_path / "run"), tmp_path / "bucket" / "run"
    with object_store.mirrored(run, (tmp_path / "bucket").as_uri(), lines.append, every=0.05):
        end = time.monotonic() + 30
        while not (there / "ledger.jsonl").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        with open(run / "ledger.jsonl", "a") as ledger:
            ledger.write("an event\n")
        (run / "configs").mkdir()
        (run / "configs" / "a0.yaml").write_text("made at the end")
    assert (there / "ledger.jsonl").read_text() == "header\nan event\n"
    assert sorted(path.name for path in there.rglob("*") if path.is_file()) == ["a0.yaml", "ledger.jsonl"]
    assert lines == []


def test_a_mirror_that_fails_says_so_once_and_ends_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "bucket").write_text("a file where a folder should be")
    run, ran = run_folder(tmp_path / "run"), False
    with object_store.mirrored(run, (tmp_path / "bucket").as_uri(), lines.append, every=0.01):
        time.sleep(0.5)
        ran = True
    assert ran and len(lines) == 1 and lines[0].startswith("warning: --mirror file://")


def test_a_mirror_does_not_write_over_another_run(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "bucket").mkdir()
    other = run_folder(tmp_path / "bucket" / "run", "another header")
    with object_store.mirrored(run_folder(tmp_path / "run"), (tmp_path / "bucket").as_uri(), lines.append):
        pass
    assert (other / "ledger.jsonl").read_text() == "another header\n"
    assert len(lines) == 1 and "another run" in lines[0]


@pytest.mark.parametrize("uri", ["nowhere", "gopher://x/y"])
def test_a_mirror_without_a_storage(uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_search.main(["search", "tiny", "--out", str(tmp_path / "out"), "--mirror", uri]) == 2
    assert capsys.readouterr().err.startswith(f"error: --mirror: '{uri}' must be a URI")
    assert not (tmp_path / "out").exists()


def test_the_file_for_the_launcher_fits_its_schema() -> None:
    import jsonschema
    import ray

    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((CLUSTER_FILES / "launcher.yaml").read_text()), schema)


def test_the_file_for_kuberay_asks_for_a_token_and_for_this_ray() -> None:
    from importlib import metadata

    described = yaml.safe_load((CLUSTER_FILES / "kuberay.yaml").read_text())
    assert (described["apiVersion"], described["kind"]) == ("ray.io/v1", "RayCluster")
    spec = described["spec"]
    assert (spec["authOptions"], spec["rayVersion"]) == ({"mode": "token"}, metadata.version("ray"))
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert all(isinstance(variable["value"], str) for variable in container["env"])
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
