"""Training that is killed, or asked to stop, ends with the result of an undisturbed one."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_experiment import written

ROOT = Path(__file__).parents[1]
WAIT_SECONDS = 300


def start(folder: Path, run: str, override: str) -> subprocess.Popen:
    command = ["-m", "movinet.train", "--experiment=movinet_kinetics600", "--mode=train_and_eval"]
    command += [f"--model_dir={folder / run}", f"--config_file={written(folder)}", f"--params_override={override}"]
    return subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> str:
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, errors[-2000:]
    return output


def wait_for(path: Path, process: subprocess.Popen, text: str = "") -> None:
    """Wait for a file or folder, and for `text` in the file."""
    until = time.monotonic() + WAIT_SECONDS
    while not (path.exists() and (not text or text in path.read_text())) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def metrics(folder: Path, run: str, step: int) -> dict[str, float]:
    return json.loads((folder / run / "validation" / f"metrics-{step}.json").read_text())


def check_killed(folder: Path, steps: int, kills: list[int]) -> None:
    """Check that a run killed at the checkpoints of these steps and restarted ends with the metrics of an unbroken one.

    On a CPU they are bitwise equal, but TensorFlow may split a sum among more or fewer threads.
    """
    override = f"trainer.train_steps={steps},trainer.optimizer_config.learning_rate.cosine.decay_steps={steps}"
    finish(start(folder, "unbroken", override))
    for step in kills:
        process = start(folder, "killed", override)
        wait_for(folder / "killed" / "checkpoint", process, f'"ckpt-{step}"')
        process.send_signal(signal.SIGKILL)
        process.communicate()
    output = finish(start(folder, "killed", override))
    assert "resumes from" in output
    for step in (4, steps):
        assert metrics(folder, "killed", step) == pytest.approx(metrics(folder, "unbroken", step), rel=1e-5)


@pytest.mark.slow
def test_a_killed_training_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    check_killed(tmp_path, 6, [2])


@pytest.mark.slow
def test_a_training_killed_again_and_again_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    check_killed(tmp_path, 24, [2, 8, 14, 20])


def test_a_training_asked_to_stop_keeps_a_checkpoint(tmp_path: Path) -> None:
    process = start(tmp_path, "stopped", "trainer.train_steps=100000,trainer.checkpoint_interval=100000")
    wait_for(tmp_path / "stopped" / "train", process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert errors.splitlines()[-1].endswith("with a checkpoint; the same command resumes it")
    assert list((tmp_path / "stopped").glob("ckpt-*.index"))


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow
def test_two_workers_train_together_and_the_first_keeps_the_files(tmp_path: Path) -> None:
    hosts = ",".join(f"localhost:{port}" for port in free_ports(2))
    several = f"runtime.distribution_strategy=multi_worker_mirrored,runtime.worker_hosts='{hosts}'"
    workers = [start(tmp_path, "run", f"{several},runtime.task_index={i}") for i in range(2)]
    first, second = (finish(worker).splitlines() for worker in workers)
    assert [line for line in first if line.startswith("eval")][-1].split("|")[2] == second[-1].split("|")[2]
    assert metrics(tmp_path, "run", 6)["examples"] == 48
    assert sorted(path.name for path in (tmp_path / "run").glob("*.index")) == [f"ckpt-{i}.index" for i in (2, 4, 6)]
