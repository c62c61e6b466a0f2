"""Accuracies of the presets of movinet.train over seeds, and the benefit of temporal kernels.

  python tests/benchmarks/digits.py [--seeds 3] [--write] [--before WORDS...]

Train digits_base, the same network with only 1×k×k kernels, and digits_stream, with several seeds each, and print
their accuracies on validation clips; with --write, put them into docs/reference/benchmarks.md. WORDS go before each
command.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from section import machine, table, write

from movinet.training.config.experiment_file import PRESETS

ROOT = Path(__file__).resolve().parents[2]

# Student's t at 97.5 % by degrees of freedom.
CLIPS = "2 000"  # in the presets
T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306}


def without_time(preset: Path, folder: Path) -> Path:
    """Return the same experiment with kernels of one frame."""
    data = yaml.safe_load(preset.read_text())
    for block in data["task"]["model"]["backbone"]["movinet"]["blocks"]:
        block["kernel_sizes"] = [[1, *kernel[1:]] for kernel in block["kernel_sizes"]]
    (folder / "digits_frames.yaml").write_text(yaml.safe_dump(data))
    return folder / "digits_frames.yaml"


def trained(config: Path, seed: int, folder: Path, before: list[str]) -> float:
    """Return the accuracy on the validation clips after the last step."""
    out, start = folder / f"{config.stem}-{seed}", time.monotonic()
    command = ["-m", "movinet.train", "--experiment=movinet_kinetics600", "--mode=train_and_eval"]
    command += [f"--model_dir={out}", f"--config_file={config}", f"--params_override=trainer.seed={seed}"]
    subprocess.run([*before, sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    last = max((out / "validation").glob("metrics-*.json"), key=lambda path: int(path.stem.partition("-")[2]))
    accuracy = json.loads(last.read_text())["top_1_accuracy"]
    print(f"{config.stem} seed {seed}: {accuracy:.4f}, {(time.monotonic() - start) / 60:.1f} min", flush=True)
    return float(accuracy)


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % confidence interval."""
    return statistics.mean(values), T975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))


def report(found: dict[str, list[float]]) -> str:
    """Return the text of the section."""
    rows = []
    for name, values in found.items():
        mean, half = interval(values)
        rows.append([name, f"{100 * mean:.1f} ± {100 * half:.1f}", ", ".join(f"{100 * v:.1f}" for v in values)])
    base, frames, _ = found.values()
    mean, half = interval([a - b for a, b in zip(base, frames, strict=True)])
    worth = f"Temporal kernels are worth {100 * mean:.1f} ± {100 * half:.1f} points, paired by seed."
    header = [f"top-1, %, of {CLIPS} validation clips", "mean, 95 % confidence", "each seed"]
    return f"{machine()}\n\n{table(header, rows)}\n\n{worth}"


def main() -> None:
    """Train all networks and write the section."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--write", action="store_true")
    options.add_argument("--before", nargs="*", default=[])
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs = {
            "digits_base": PRESETS / "digits_base.yaml",
            "the same, kernels 1×k×k": without_time(PRESETS / "digits_base.yaml", folder),
            "digits_stream": PRESETS / "digits_stream.yaml",
        }
        found: dict[str, list[float]] = {label: [] for label in configs}
        for seed in range(given.seeds):
            for label, config in configs.items():
                found[label].append(trained(config, seed, folder, given.before))
    print(report(found))
    if given.write:
        write("digits", report(found))


if __name__ == "__main__":
    main()
