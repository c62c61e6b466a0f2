"""Measure a network on this machine, one clip at a time: time per frame and per clip, peak memory.

Forms: the Keras model and its folded form as TensorFlow functions, the SavedModel, the LiteRT file. Each value is
measured in a separate process. A network that is not causal has no measurement per frame.
"""

from __future__ import annotations

from search_space.base.quiet_tensorflow import quiet_start

with quiet_start():  # before any import of TensorFlow, whose notices would hide an error message
    from movinet.deploy import litert, network_flags, saved_model

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from movinet.deploy.network_flags import Subject
from movinet.deploy.timing import FORMS, UNITS, Request, Timing
from search_space.base import machine
from search_space.base.checks import check_integer
from search_space.base.command_line import Parser, exit_code
from search_space.base.errors import InputError
from search_space.base.names import check_choice

HEADER = ("form", "unit", "threads", "median ms", "p90 ms", "ms a frame", "peak MB", "libraries MB")


def requests(subject: Subject, flags: argparse.Namespace, folder: Path) -> Iterator[Request]:
    """Yield the measurements to make; exported files are written into `folder` first."""
    for form in flags.form or FORMS:
        for unit in UNITS if subject.causal else UNITS[1:]:
            if unit not in (flags.unit or UNITS):
                continue
            frames = 1 if unit == "frame" else flags.num_frames or subject.clip.frames
            shape = tuple(int(size or 1) for size in subject.shape(1, frames, flags.image_size))
            path = _exported(subject, form, shape, folder)
            for threads in flags.threads or sorted({1, machine.cores()}):
                yield Request(form, unit, threads, shape, flags.seconds, path, tuple(flags.network))


def _exported(subject: Subject, form: str, shape: tuple[int, ...], folder: Path) -> str:
    """Return the file of this form for calls of `shape`; '' if it needs none."""
    path = folder / f"{form}_{shape[1]}.tflite"
    if form == "saved_model":
        saved_model.save(subject.model, path, shape)
    elif form == "litert":
        make = saved_model.stream_function if subject.causal else saved_model.clip_function
        path.write_bytes(litert.convert(make(subject.model, shape)))
    else:
        return ""
    return str(path)


def measured(asked: Request) -> Timing:
    """Run the measurement in a separate process.

    Raises:
      RuntimeError: the process failed; the message has its exit code and last output.
    """
    command = [sys.executable, "-m", "movinet.deploy.timing", json.dumps(asdict(asked))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{asked.form}, {asked.unit}: exit code {ended.returncode}\n{ended.stderr[-2000:]}")
    return Timing(**json.loads(ended.stdout.splitlines()[-1]))


def row(asked: Request, timing: Timing) -> tuple[str, ...]:
    """Return a row of the table."""
    times = (timing.median_ms, timing.p90_ms, timing.median_ms / asked.shape[1])
    memory = (f"{timing.peak_mb:.0f}", f"{timing.libraries_mb:.0f}")
    return (asked.form, asked.unit, str(asked.threads), *(f"{value:.2f}" for value in times), *memory)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return columns of equal width: text aligned left, numbers aligned right."""
    lines = [HEADER, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(_aligned, line, widths, range(len(line)))) for line in lines)


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column < 2 else cell.rjust(width)


EXAMPLES = (
    ("--config=a0 --variant=stream", "every form, per frame and per clip"),
    ("--config=movinet_a0.yaml --form=litert --threads=1 --json=latency.json", "one form, also as JSON"),
)


def parser() -> Parser:
    """Return the parser; `network_flags` adds the flags of the network."""
    top = Parser("movinet.latency", __doc__, EXAMPLES)
    network_flags.add_flags(top)
    top.add_argument("--form", action="append", help="one of " + ", ".join(FORMS) + "; may be repeated; default all")
    top.add_argument("--unit", action="append", help="frame or clip; may be repeated; default both")
    top.add_argument("--threads", type=int, action="append", help="may be repeated; default one, and all cores")
    top.add_argument("--seconds", type=float, default=5.0, help="duration of the repeated calls, at least ten of them")
    top.add_argument("--json", type=Path, help="JSON file for the measurements")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 on success, 2 for invalid input, 130 if interrupted."""
    return exit_code(lambda: _main(list(sys.argv[1:] if arguments is None else arguments)))


def _main(given: Sequence[str]) -> int:
    print(table([row(*pair) for pair in _measured(given)]))
    return 0


def _measured(given: Sequence[str]) -> list[tuple[Request, Timing]]:
    flags = parser().parse_args(given)
    for flag, values, known in (("--form", flags.form, FORMS), ("--unit", flags.unit, UNITS)):
        for value in values or ():
            check_choice(flag, value, known)
    for threads in flags.threads or ():
        check_integer("--threads", threads, 1, 1024)
    if not 0 < flags.seconds < 3600:
        raise InputError("--seconds", flags.seconds, "must be above 0 and below 3600 seconds")
    own = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--form", "--unit", "--threads", "--seconds", "--json"):
        own.add_argument(name, action="append")
    flags.network = own.parse_known_args(given)[1]
    subject = network_flags.read_subject(flags)
    if flags.batch_size not in (None, 1):
        raise InputError("--batch_size", flags.batch_size, "must be 1: latency is measured for one clip")
    if flags.unit == ["frame"] and not subject.causal:
        raise InputError("--unit", "frame", "is for causal networks")
    with tempfile.TemporaryDirectory() as folder:
        found = [(asked, measured(asked)) for asked in requests(subject, flags, Path(folder))]
    if flags.json:
        flags.json.write_text(json.dumps([asdict(asked) | asdict(timing) for asked, timing in found], indent=1))
    return found


if __name__ == "__main__":
    sys.exit(main())
