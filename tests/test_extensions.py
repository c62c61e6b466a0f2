"""Test parts of a search that users bring: each example of docs/how_to/search/extend.md, and invalid parts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml

from movinet_nas import load_run
from movinet_nas.contracts import check_algorithm, check_cost, check_metric, check_source
from movinet_nas.extend import Algorithm

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "how_to" / "search" / "extend.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.usefixtures("clip_cache")


def blocks(heading: str, language: str) -> list[str]:
    """Return the blocks of a section of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder outside the repository."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as installed, without the working directory in its module path."""
    program = "import sys; sys.path.remove(''); from cli.main import main; sys.exit(main())"
    return python(folder, "-c", program, *arguments, **environment)


EACH = """
import contextlib, io, json, pathlib, sys
sys.path.remove("")
from cli.main import main

ended = []
for config, arguments in json.loads(sys.argv[1]):
    if config:
        pathlib.Path("search.yaml").write_text(json.dumps(config))
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        ended.append((main(arguments), errors.getvalue()))
print(json.dumps(ended))
"""


def commands(folder: Path, *runs: tuple[object, list[str]]) -> list[tuple[int, str]]:
    """Return exit code and errors of commands with these `search.yaml`; one process runs all, as starts are slow."""
    path = os.pathsep.join([str(ROOT), str(folder / "installed")])
    done = python(folder, "-c", EACH, json.dumps(runs), PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    return [(code, errors) for code, errors in json.loads(done.stdout.splitlines()[-1])]


def example(heading: str, folder: Path) -> str:
    """Write the module and the search of a section into a folder; return the contract test."""
    module, contract = blocks(heading, "python")
    name = module.partition("\n")[0].removeprefix("# ")
    assert module.count("\n") < 40
    (folder / name).write_text(module)
    (folder / "search.yaml").write_text(blocks(heading, "yaml")[0])
    return contract


def cut(log: Path, lines: int) -> None:
    """Keep the first lines of an event log, as after a kill of the run."""
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:lines]))


HEADINGS = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
SEARCHED_AND_RESUMED = """
from pathlib import Path
import movinet_nas as mn

before = mn.search("search.yaml", "run", executor="serial").trials()
log = Path("run/ledger.jsonl")
log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:5]))
again = mn.resume("run", executor="serial").trials()
assert set(before["state"]) <= {"completed", "stopped"}, before
assert list(before["fingerprint"]) == list(again["fingerprint"])
"""


@pytest.mark.parametrize("heading", HEADINGS)
def test_an_example_passes_its_contract_searches_and_resumes(heading: str, tmp_path: Path) -> None:
    done = python(tmp_path, "-c", example(heading, tmp_path) + SEARCHED_AND_RESUMED)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_all_examples_together_in_the_workers_of_ray(tmp_path: Path) -> None:
    """Search by the command, kill the search and resume it in the same folder."""
    config: dict[str, object] = {}
    for heading in [each for each in HEADINGS if each != "Network family"]:  # this one has no part of MoViNets
        example(heading, tmp_path)
        config |= yaml.safe_load((tmp_path / "search.yaml").read_text())
    assert {"algorithm", "data", "costs", "statistic"} <= config.keys()
    (tmp_path / "search.yaml").write_text(json.dumps(config))
    done = command(tmp_path, "search", "search.yaml", "--workers", "2", "--out", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    run = load_run(tmp_path / "run")
    before, own = run.trials(), ("my_costs:operations", "my_metrics:balanced_accuracy")
    assert set(before["state"]) <= {"completed", "stopped"}, list(before["reason"])
    assert before[before["kind"] == "search"][own[0]].max() <= 40 and before[own[1]].between(0, 1).all()
    front = run.front(own[1])
    assert front[own[0]].is_monotonic_increasing and len(front)
    assert run.ledger.header.config["data"]["source"] == "my_clips:Blinking"
    cut(tmp_path / "run" / "ledger.jsonl", 6)
    done = command(tmp_path, "search", "--resume", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(load_run(tmp_path / "run").trials()) == len(before)


SIMULATED = {"extends": "tiny", "simulation": {}}
BAD_ALGORITHMS = {
    "no_module:Mine": "names a module that is neither in the working directory, {folder}, nor installed: no_module",
    "my_module:Missing": "my_module.py defines no 'Missing'",
    "my_module:": "my_module.py defines no ''",
    "my_module:NoAsk": "must be a class derived from Algorithm that defines ask",
    "my_module:function": "must be a class derived from Algorithm that defines ask",
    "json:loads": "must be a class derived from Algorithm",
    "broken:Mine": "cannot be imported: ZeroDivisionError: division by zero (broken.py, line 2)",
    "needs:Mine": "cannot be imported: No module named 'not_there'",
    "syntax:Mine": "cannot be imported: SyntaxError",
    "hill_clim": "must be one of random, .*did you mean 'hill_climb'",
    ":Mine": "cannot be imported",
    "..x:Mine": "cannot be imported",
}
MODULE = """
from movinet_nas.extend import Algorithm, Exhausted

class NoAsk(Algorithm):
    pass

class Mine(Algorithm):
    def __init__(self, *args, needed, other=2, **kwargs):
        super().__init__(*args, **kwargs)

    def ask(self, rng):
        return self.random_unseen(rng)

class OverLimit(Algorithm):
    def ask(self, rng):
        return self.space.canonical(tuple((self.space.options - 1).tolist()))

class NoGenotype(Algorithm):
    def ask(self, rng):
        return [0, 1]

def function():
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write modules with faults, and an installed package that adds a name."""
    (tmp_path / "my_module.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("x = 1\ny = 1 / 0\n")
    (tmp_path / "needs.py").write_text("import not_there\n")
    (tmp_path / "syntax.py").write_text("def f(:\n")
    package = tmp_path / "installed" / "other-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[movinet_nas.algorithms]\nhill_climb = other:HillClimb\n")
    (tmp_path / "installed" / "other.py").write_text(blocks("Search algorithm", "python")[0])
    return tmp_path


SEARCH = ["search", "search.yaml", "--serial", "--quiet", "--out", "run"]


def searched(**changes: object) -> tuple[object, list[str]]:
    """Return a simulated search with changes; None removes a key."""
    return {name: value for name, value in (SIMULATED | changes).items() if value is not None}, SEARCH


def refused(folder: Path, cases: Iterable[tuple[dict[str, object], str]]) -> None:
    """Check that each search is refused in one line that matches the pattern."""
    changes, messages = zip(*cases, strict=True)
    ended = commands(folder, *(searched(**each) for each in changes))
    for (code, errors), message in zip(ended, messages, strict=True):
        assert code == 2 and re.search(message, errors) and errors.count("\n") == 1, (message, errors)


def test_bad_import_paths_are_one_line(folder: Path) -> None:
    """Run all in one process, because each start takes a second."""
    program = (
        "import json, sys, movinet_nas as mn\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        mn.search({'extends': 'tiny', 'algorithm': {'name': name}}, 'run')\n"
        "    except mn.InputError as error:\n"
        "        print(error)\n"
    )
    path = os.pathsep.join([str(ROOT), str(folder / "installed")])
    done = python(folder, "-c", program, json.dumps(list(BAD_ALGORITHMS)), PYTHONPATH=path)
    lines = done.stdout.splitlines()
    assert len(lines) == len(BAD_ALGORITHMS), done.stdout + done.stderr
    for line, (name, message) in zip(lines, BAD_ALGORITHMS.items(), strict=True):
        assert line.startswith(f"search.algorithm.name: {name!r} "), line
        message = message.replace("{folder}", str(folder))
        assert message in line or re.search(message, line), line


def test_bad_algorithms_are_refused_by_the_command(folder: Path) -> None:
    place = r"^error: search\.yaml:1: search\.algorithm\.name: 'no_module:Mine' names a module"
    cases = [
        ({"name": "no_module:Mine"}, place),
        ({"name": "my_module:Mine"}, r"algorithm\.options: .* lacks the key 'needed'"),
        ({"name": "my_module:Mine", "options": {"needed": 1, "othr": 2}}, "'othr' is an unknown key.*'other'"),
    ]
    refused(folder, [({"algorithm": algorithm}, message) for algorithm, message in cases])


@pytest.mark.parametrize(
    ("name", "message"),
    [("OverLimit", "was proposed, although it is above a limit"), ("NoGenotype", "is not a canonical genotype")],
)
def test_bad_proposals_end_the_run(folder: Path, name: str, message: str) -> None:
    ((code, errors),) = commands(folder, searched(algorithm={"name": f"my_module:{name}"}))
    assert code == 2 and re.fullmatch(rf"error: algorithm\.my_module:{name}: .* {message}.*\n", errors), errors


def test_a_name_of_an_installed_package(folder: Path) -> None:
    ended = commands(folder, searched(algorithm={"name": "hill_climb", "options": {"start": 2}}))
    assert ended == [(0, "")]
    run = load_run(folder / "run")
    assert run.ledger.header.config["algorithm"] == {"name": "hill_climb", "options": {"start": 2}}


def test_a_run_whose_module_is_gone_is_read_but_not_resumed(folder: Path) -> None:
    ended = commands(folder, searched(algorithm={"name": "my_module:Mine", "options": {"needed": 1}}))
    assert ended == [(0, "")]
    cut(folder / "run" / "ledger.jsonl", 6)
    (folder / "my_module.py").unlink()
    read = (["plot", "run"], ["report", "run"], ["tabulate", "run", "--out", "table.csv"], ["reliability", "run"])
    resumed, *others = commands(folder, *((None, arguments) for arguments in (["search", "--resume", "run"], *read)))
    message = r"ledger\.jsonl:1: config\.algorithm\.name: 'my_module:Mine' names a module that is neither"
    assert resumed[0] == 2 and re.search(message, resumed[1])
    assert others == [(0, "")] * len(read)


class Forgetful(Algorithm):
    """An algorithm that proposes by a counter, which no event restores."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.asked = 0

    def ask(self, rng):
        self.asked += 1
        return self.random_unseen(np.random.default_rng(self.asked))


def test_the_contract_names_the_fault_of_an_algorithm() -> None:
    with pytest.raises(AssertionError, match="return different proposals"):
        check_algorithm(Forgetful)


class Clips:
    """A data set of black clips of two classes, with faults by name."""

    def __init__(self, frames, resolution, *, fault="") -> None:
        self.shape, self.fault, self.calls = (4, frames, resolution, resolution, 3), fault, 0
        self.classes = "ab" if fault == "classes" else ["a", "b"]

    def clips(self, split):
        clips, labels = np.zeros(self.shape, np.uint8), np.array([0, 1, 0, 1])
        faults = {
            "float": (clips / 255, labels),
            "size": (clips[:, :, 1:], labels),
            "labels": (clips, labels[:3]),
            "floats": (clips, labels / 2),
            "range": (clips, labels + 1),
            "negative": (clips, labels - 1),
            "missing": (clips, labels * 0),
            "alone": clips,
            "random": (np.random.default_rng().integers(255, size=self.shape).astype(np.uint8), labels),
        }
        if self.fault != "none":
            yield faults.get(self.fault, (clips, labels))


SOURCE_FAULTS = {
    "float": "are clips; expected uint8 N x 4x16x16x3",
    "size": "uint8 4x4x15x16x3",
    "labels": "expected 4 integers, one per clip",
    "floats": "are labels; expected",
    "range": "2 is not a valid label; expected 0 to 1",
    "negative": "-1 is not a valid label; expected 0 to 1",
    "missing": "'b' has no clip",
    "alone": "expected a tuple",
    "none": "'a' has no clip",
    "random": "differs from one call to the next",
}


@pytest.mark.parametrize("fault", SOURCE_FAULTS)
def test_the_contract_names_the_fault_of_a_source(fault: str) -> None:
    check_source(Clips)
    with pytest.raises(AssertionError, match=SOURCE_FAULTS[fault]):
        check_source(Clips, fault=fault)


def test_bad_sources_are_refused_by_the_command(folder: Path) -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    source = text.partition("\nclass Clips:")[2].partition("\n\n\n")[0]
    (folder / "clips.py").write_text(f"import numpy as np\nclass Clips:{source}\n")
    cases = [
        ({"source": "my_module:function"}, r"data\.source: .* must be a class of clips that defines clips\(split\)"),
        ({"source": "moving_digit"}, "data.source: 'moving_digit' must be one of .*did you mean 'moving_digits'"),
        ({"source": "clips:Clips", "options": {"falt": ""}}, "data.options: 'falt' is an unknown key.*'fault'"),
        ({"source": "clips:Clips", "path": "x"}, "data.path: 'x' must be left out for the source clips:Clips"),
        (
            {"source": "clips:Clips", "options": {"fault": "range"}},
            "^error: clips:Clips: train: 2 is not a valid label",
        ),
        ({"source": "clips:Clips", "options": {"fault": "classes"}}, r"clips:Clips\.classes: 'ab' must be a list"),
        ({"source": "clips:Clips"}, "space.classes: 12 must be 2, as in the data set clips:Clips"),
        ({"options": {"a": 1}}, "data.options: .* are for a source of your own, not for moving_digits"),
    ]
    refused(folder, [({"simulation": None, "data": data}, message) for data, message in cases])


def constant(value):
    """Return a cost or a metric with a constant value."""
    return lambda first, second: value


COST_FAULTS = [
    (lambda batch, classes: 3, "int64 \\[\\]' was returned; a cost must be integers of shape \\[1\\]"),
    (lambda batch, classes: batch.frames / 2, "float64 .* must be integers"),
    (lambda batch, classes: 0 * batch.frames, "0 was returned; a cost must be from 1"),
    (lambda batch, classes: batch.expand.sum(axis=(1, 2)) + batch.expand.shape[2], "depends on the other"),
    (lambda batch, classes: batch.frames + np.random.default_rng().integers(1, 10**9), "must be exact"),
]


@pytest.mark.parametrize(("cost", "message"), COST_FAULTS)
def test_the_contract_names_the_fault_of_a_cost(cost: object, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_cost(cost)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (constant(2.0), "right logits: 2.0 is the metric's value; it must be a number from 0 to 1"),
        (constant("0.5"), "'0.5' is the metric's value"),
        (constant(float("nan")), "nan is the metric's value"),
        (constant(0.5), "higher must be better, but right, random and wrong logits give: right 0.500"),
        (lambda logits, labels: float((logits.argmin(1) == labels).mean()), "higher must be better"),
        (lambda logits, labels: float(logits.sort(0) or 0.5), "changes its arguments"),
        (lambda logits, labels: float(np.random.default_rng().random()), "a metric must be repeatable"),
    ],
)
def test_the_contract_names_the_fault_of_a_metric(metric: object, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_metric(metric)  # type: ignore[arg-type]


def test_bad_costs_and_metrics_are_refused_by_the_command(folder: Path) -> None:
    functions = "\ndef half(batch, classes):\n    return batch.frames / 2\n\ndef two(logits, labels):\n    return 2\n"
    (folder / "my_module.py").write_text(MODULE + functions)
    refused(
        folder,
        [
            ({"costs": ["my_module:Mine"]}, r"costs\[0\]: 'my_module:Mine' must be a function of a batch"),
            ({"costs": ["mac"]}, r"costs\[0\]: 'mac' must be one of macs, .*did you mean 'macs'"),
            ({"costs": ["no_module:cost"]}, r"costs\[0\]: 'no_module:cost' names a module that is neither"),
            ({"limits": {"no_module:cost": 1}}, "search.limits.no_module:cost: 'no_module:cost' names a module"),
            ({"costs": ["my_module:half"]}, "^error: .*my_module:half: .*float64.* a cost must be integers of shape"),
            ({"statistic": "my_module:Mine"}, "search.statistic: 'my_module:Mine' must be a function of logits"),
            ({"statistic": "likelihod"}, "'likelihod' must be one of likelihood, accuracy; did you mean"),
            ({"statistic": "my_module:two"}, "'my_module:two' is computed from logits, but a simulation has none"),
            (
                {"statistic": "my_module:two", "simulation": None},
                "^error: statistic my_module:two: 2 is the metric's value; it must be a number from 0 to 1",
            ),
        ],
    )
