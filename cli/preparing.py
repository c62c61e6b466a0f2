"""Commands before a search: proposes its settings, checks this machine."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from search_space.base.command_line import print_escaped
from search_space.base.errors import InputError


def init(options: argparse.Namespace) -> str:
    """Look at videos and this machine, and write the configuration of a search."""
    from cli import json_output
    from nas.planning import gpus, plan
    from nas.planning.inspection import inspect
    from nas.planning.proposal import propose

    file: Path = options.out
    if file.suffix not in (".yaml", ".yml") or file.exists():
        rule = "is there already; name another file" if file.exists() else "must be the name of a .yaml file"
        raise InputError("--out", str(file), rule)
    targets = _targets(options.target)
    found = inspect(options.data, options.video_root)
    made = propose(found, options.hours, targets, file.with_suffix(".videos.csv"), gpus.usable())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(made.text(), encoding="utf-8")
    except OSError as error:
        raise InputError("--out", str(file), f"cannot be written: {error.strerror}") from None
    if options.json:
        return json_output.text({"file": file, "notes": made.notes, "plan": plan.plain(made.plan)})
    notes = [f"note: {note}" for note in made.notes]
    return "\n".join([plan.text(made.plan), *notes, f"wrote {file}; start it: run_search.py search {file}"])


def _targets(given: str | None) -> Mapping[str, float]:
    """Multiply-adds of the networks of the family: of A0 to A2, of a published one, or the number given."""
    from results.family.growth import PUBLISHED_MACS

    if given is None:
        return {name: PUBLISHED_MACS[name] for name in ("a0", "a1", "a2")}
    if given.lower() in PUBLISHED_MACS:
        return {given.lower(): PUBLISHED_MACS[given.lower()]}
    try:
        macs = float(given)
    except ValueError:
        macs = 0.0
    if not 1e5 <= macs <= 1e15:
        names = ", ".join(PUBLISHED_MACS)
        raise InputError("--target", given, f"must be multiply-adds per clip from 1e5 to 1e15, or one of {names}")
    return {"a0": macs}


def doctor(options: argparse.Namespace) -> str:
    """Check this machine; ends the program with code 1 if a search could not run."""
    from cli import json_output
    from cli.session import RUNS
    from nas.planning import doctor

    found = []
    for check in doctor.checks(RUNS):
        found.append(check)
        if not options.json:
            print_escaped(check.line())
    runs = not any(check.problem and check.needed for check in found)
    text = f"a search can{'' if runs else 'not'} run here"
    if options.json:
        text = json_output.text({"search_can_run": runs, "checks": [asdict(check) for check in found]})
    if not runs:
        print_escaped(text)
        raise SystemExit(1)
    return text
