"""Test latency: every number is measured in a new process, in a table and as JSON; one line for invalid input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from movinet import latency
from movinet.deploy.timing import FORMS, Request, Timing
from search_space import network
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem

SMALL = Architecture(Clip(4, 16, 2), Stem(8), (Block(8, 2, (Layer(16, (3, 3, 3)),)),), Head(project=24, dense=32))


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(network.dump(network.counted("small", (SMALL,), 5)), encoding="utf-8")
    return file


def measured(arguments: str, file: Path, folder: Path) -> list[dict[str, object]]:
    out = folder / "latency.json"
    assert latency.main([*arguments.split(), f"--config={file}", "--seconds=0.01", f"--json={out}"]) == 0
    found: list[dict[str, object]] = json.loads(out.read_text(encoding="utf-8"))
    return found


def test_a_stream_by_frame_and_by_clip(small_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = measured("--variant=stream --form=litert --threads=1", small_file, tmp_path)
    assert [(row["unit"], row["shape"]) for row in found] == [("frame", [1, 1, 16, 16, 3]), ("clip", [1, 4, 16, 16, 3])]
    assert all(0 < row["median_ms"] <= row["p90_ms"] for row in found)  # type: ignore[operator]
    assert all(row["calls"] >= 10 for row in found)  # type: ignore[operator]
    # The interpreter alone: TensorFlow would require about 400 MB.
    assert all(row["libraries_mb"] <= row["peak_mb"] < 200 for row in found)  # type: ignore[operator]
    lines = capfd.readouterr().out.strip().splitlines()
    assert len(lines) == 3 and lines[1].split()[:3] == ["litert", "frame", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["base", "stream"])
def test_every_form(small_file: Path, tmp_path: Path, variant: str) -> None:
    found = measured(f"--variant={variant} --threads=1 --threads=2", small_file, tmp_path)
    units = ("frame", "clip") if variant == "stream" else ("clip",)
    expected = [(form, unit, threads) for form in FORMS for unit in units for threads in (1, 2)]
    assert [(row["form"], row["unit"], row["threads"]) for row in found] == expected


def test_the_table_says_what_a_frame_takes() -> None:
    asked = Request("folded", "clip", 1, (1, 50, 172, 172, 3), 1.0)
    row = latency.row(asked, Timing(10, 100.0, 120.0, 400.2, 500.4))
    assert row == ("folded", "clip", "1", "100.00", "120.00", "2.00", "500", "400")
    lines = latency.table([row]).splitlines()
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--form=onnx", "--form: 'onnx' must be one of keras, folded, saved_model, litert"),
        ("--unit=second", "--unit: 'second' must be one of frame, clip"),
        ("--threads=0", "--threads: 0 must be"),
        ("--seconds=0", "--seconds: 0.0 must be above 0"),
        ("--batch_size=2", "--batch_size: 2 must be 1"),
        ("--unit=frame", "--unit: 'frame' is for causal networks"),
        ("--config=a9", "is not a published network"),
    ],
)
def test_one_line_for_bad_input(capsys: pytest.CaptureFixture[str], arguments: str, said: str) -> None:
    config = "" if "--config" in arguments else "--config=t0"
    assert latency.main([*arguments.split(), *config.split()]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert said in line
