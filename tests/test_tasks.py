"""A network family that a user brings: search, plots and reports in an empty folder, and errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_extensions import ROOT, command, cut, example, python

import movinet_nas as mn
from movinet_nas.contracts import check_task
from movinet_nas.extend import Choice, Condition, Task
from nas.config.search_config import load
from search_space.base.errors import InputError

HEADING = "Network family"


@pytest.mark.slow
def test_the_example_in_the_workers_of_ray(tmp_path: Path) -> None:
    """Search by the command, kill the search, resume it and draw it."""
    example(HEADING, tmp_path)
    done = command(tmp_path, "search", "search.yaml", "--workers", "2", "--out", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    before = mn.load_run(tmp_path / "run").trials()
    cut(tmp_path / "run" / "ledger.jsonl", 6)
    done = command(tmp_path, "search", "--resume", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    again = mn.load_run(tmp_path / "run")
    assert len(again.trials()) == len(before) and {*again.trials()["state"]} <= {"completed", "stopped"}
    assert again.front()["accuracy"].iloc[-1] > 0.85


COMMANDS = """
import sys
from cli.main import main

sys.path.remove("")
for line in sys.argv[1:]:
    print(f"{main(line.split())} {line}")
"""
SHOWN = ("plot run", "report run", "reproduce run 3 --repeats 0", "search search.yaml --simulate --serial --out sim")
REFUSED = {
    "scale run": r"run/ledger.jsonl: 'my_task:Perceptrons' is the task of the run; only MoViNets are scaled",
    "tabulate run --out t.csv": "is the task of the run; a benchmark table is of MoViNets",
    "validate run --steps-factor 2": "is the task of the run; only MoViNets",
    "coefficients run": "task.name: 'my_task:Perceptrons' is a task of your own; one-shot search, validation",
    "one-shot search.yaml --out one": "task.name: 'my_task:Perceptrons' is a task of your own; one-shot search",
}


def test_the_example_is_drawn_reported_and_simulated_and_commands_for_movinets_refuse_it(tmp_path: Path) -> None:
    example(HEADING, tmp_path)
    searched = command(tmp_path, "search", "search.yaml", "--serial", "--out", "run")
    assert searched.returncode == 0, searched.stderr
    run = mn.load_run(tmp_path / "run")
    front = run.front()
    assert front["weights"].is_monotonic_increasing and front["accuracy"].is_monotonic_increasing
    assert front["accuracy"].iloc[-1] > 0.85 and run.trials()["test_accuracy"].count() == 2 * len(front)
    done = python(tmp_path, "-c", COMMANDS, *SHOWN, *REFUSED)
    assert [line for line in done.stdout.splitlines() if re.match(r"\d+ [a-z]", line)] == [
        *(f"0 {line}" for line in SHOWN),
        *(f"2 {line}" for line in REFUSED),
    ], done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == len(REFUSED)
    for line, message in zip(errors, REFUSED.values(), strict=True):
        assert re.search(message, line), line
    assert "0.9" in done.stdout and ": equal" in done.stdout
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "inputs 10, width" in page and (tmp_path / "run" / "front.png").stat().st_size > 10_000


class Toy(Task):
    """Linear classifiers of points, whose choices change only the cost; with faults by name."""

    choices = (
        Choice("layers", (1, 2)),
        Choice("kernel", ((1, 1), (3, 3), (5, 5))),
        Choice("kind", ("plain", "gated")),
        Choice("strides", ((), (2,), (2, 2))),
        Choice("second", (2, 4, 8), Condition("layers", 2)),
    )

    size = 48

    def __init__(self, *, fault: str = "") -> None:
        self.fault, self.looked, rng = fault, 0, np.random.default_rng(0)
        splits = ("train", "validation", "test")
        self.points = {split: rng.normal(size=(self.size, 3)) for split in splits}
        self.labels = {split: (points[:, 0] > 0).astype(int) for split, points in self.points.items()}

    def costs(self, chosen):
        second = chosen["second"] * ((chosen["layers"] == 2) | (self.fault == "padded"))
        weights = chosen["kernel"].prod(axis=1) * np.where(chosen["kind"] == "gated", 2, 1) + second
        return {"weights": weights + (len(weights) if self.fault == "batch" else 0)}

    def references(self):
        return {"large": {"layers": 2, "kernel": (7, 7), "kind": "plain", "second": 16}}

    def start(self, architecture, seed):
        assert self.fault or isinstance(architecture["kernel"], tuple)
        rng = np.random.default_rng(None if self.fault == "random" else 0 if self.fault == "seed" else seed)
        return rng.normal(size=(3, 2))

    def step(self, network, examples):
        if self.fault == "raises":
            raise RuntimeError("out of memory")
        wanted = np.eye(2)[self.labels["train"][examples]]
        inputs = self.points["train"][examples]
        found = np.exp(inputs @ network) / np.exp(inputs @ network).sum(axis=1, keepdims=True)
        if self.fault == "noise":
            network += self.looked / 1e6
        if self.fault != "still":
            network -= inputs.T @ (found - wanted) / len(examples)
        return np.nan if self.fault == "nan" else -np.log((found * wanted).sum(axis=1)).mean()

    def logits(self, network, split, examples):
        self.looked += 1
        if self.fault == "looks":
            network *= 0.9
        logits = self.points[split][np.sort(examples) if self.fault == "order" else examples] @ network
        return logits[:, :1] if self.fault == "shape" else logits


FAULTS = {
    "padded": "'weights' depends on an option of a choice that is absent",
    "batch": "depend on the others",
    "random": "a training does not repeat",
    "looks": "logits of train change when they are asked for again",
    "noise": "a training does not repeat",
    "seed": "another seed gives the same network",
    "still": "4 steps leave the logits as they are",
    "nan": r"losses of the first steps are \[nan",
    "order": "logits of train are not in the order of the examples",
    "shape": r"logits are of shape \[16, 1\]; they must be \[16, 2\], one row for each example",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_contract_names_the_fault_of_a_task(fault: str) -> None:
    check_task(Toy)
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_task(Toy, fault=fault)


SEARCH = {
    "schema": "movinet-nas/search/1",
    "task": {"name": "test_tasks:Toy"},
    "training": {"steps": 8, "batch_size": 8},
    "costs": ["weights"],
    "limits": {"weights": 40},
    "trials": 10,
    "finals": {"repeats": 1, "most": 2},
}


def test_options_of_any_kind_references_limits_and_metrics_of_a_users_task(tmp_path: Path) -> None:
    run = mn.search({**SEARCH, "statistic": "accuracy"}, tmp_path / "run", executor="serial")
    trials = run.trials()
    searched = trials[trials["kind"] == "search"]
    assert len(searched) == 10 == searched["fingerprint"].nunique() and searched["weights"].max() <= 40
    reference = trials[trials["kind"] == "reference"]
    assert reference["weights"].tolist() == [7 * 7 + 16] and reference["test_accuracy"].notna().all()
    for only_movinets in (run.family, lambda: run.architecture(0)):
        with pytest.raises(InputError, match="'test_tasks:Toy' is the task of the run"):
            only_movinets()
    assert all({"layers", "kernel", "kind"} <= each.keys() for each in run.front()["architecture"])
    (tmp_path / "metric").mkdir()
    metric = {**SEARCH, "statistic": "test_tasks:worst_class"}
    assert mn.search(metric, tmp_path / "metric", executor="serial").front("test_tasks:worst_class").shape[0] > 0


def test_a_run_whose_labels_have_changed_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mn.search(SEARCH, tmp_path / "run", executor="serial")
    cut(tmp_path / "run" / "ledger.jsonl", 8)
    monkeypatch.setattr(Toy, "size", 40)
    with pytest.raises(InputError, match="its clips have changed"):
        mn.resume(tmp_path / "run", executor="serial")


def worst_class(logits, labels):
    """Return the accuracy of the class with the lowest accuracy."""
    right = logits.argmax(axis=1) == labels
    return float(min(right[labels == label].mean() for label in np.unique(labels)))


def test_an_error_in_training_fails_the_trial_with_its_file_and_line(tmp_path: Path) -> None:
    faulty = {**SEARCH, "task": {"name": "test_tasks:Toy", "options": {"fault": "raises"}}}
    with pytest.raises(
        InputError, match=r"8 of 8 trials' failed.*RuntimeError: out of memory \(test_tasks.py, line \d+\)"
    ):
        mn.search(faulty, tmp_path / "run", executor="serial")


MODULE = """
import numpy as np
from movinet_nas.extend import Choice, Task

class Good(Task):
    choices = [Choice("width", (1, 2))]
    labels = {split: np.arange(4) % 2 for split in ("train", "validation", "test")}
    def costs(self, chosen): return {"macs": chosen["width"]}
    def start(self, architecture, seed): return []
    def step(self, network, examples): return 0.0
    def logits(self, network, split, examples): return np.zeros((len(examples), 2))

class NoStep(Task):
    def costs(self, chosen): return {}

class Raises(Good):
    def __init__(self): self.x = 1 / 0

class NoChoices(Good):
    choices = ["width"]

class NumPy(Good):
    choices = [Choice("width", (1, np.int64(2)))]

class Twice(Good):
    choices = [Choice("width", (1, 2)), Choice("width", (1, 2))]

class CostRaises(Good):
    def costs(self, chosen):
        return {"macs": chosen["depth"]}

class Float(Good):
    def costs(self, chosen): return {"macs": chosen["width"] / 2}

class Zero(Good):
    def costs(self, chosen): return {"macs": chosen["width"] - 1}

class Labels(Good):
    labels = {"train": [0, 1], "validation": [0.5], "test": [1]}

class NoTest(Good):
    labels = {"train": [0, 1], "validation": [0, 1]}

class Reference(Good):
    def references(self): return {"big": {"depth": 3}}

class Options(Good):
    def __init__(self, *, needed): pass
"""
BAD = {
    "my_module:Missing": "my_module.py defines no 'Missing'",
    "my_module:NoStep": "must be a class derived from Task that defines costs, start, step and logits",
    "json:loads": "must be a class derived from Task",
    "movinett": "must be one of movinet; did you mean 'movinet'",
    "my_module:Options": "lacks the key 'needed'",
    "my_module:Raises": r"is wrong: __init__ raises ZeroDivisionError: division by zero \(my_module.py, line 17\)",
    "my_module:NoChoices": "is wrong: choices are .* they must be at least one Choice",
    "my_module:NumPy": "must be numbers, texts or tuples: Object of type int64",
    "my_module:Twice": "is wrong: choices: .*'width' is declared twice",
    "my_module:CostRaises": r"is wrong: costs raises KeyError: 'depth' \(my_module.py, line 30\)",
    "my_module:Float": r"is wrong: cost 'macs' is float64 \[1\]; it must be integers of shape \[1\]",
    "my_module:Zero": "is wrong: cost 'macs' is 0 to 0; it must be from 1 to 2",
    "my_module:Labels": r"labels of validation are float64 of shape \[1\]; they must be integers \[N\] from 0",
    "my_module:NoTest": "labels raises KeyError: 'test'",
    "my_module:Reference": "an architecture has the choice 'depth'; choices: width",
}
MISPLACED = [
    ({"space": load("tiny").movinet_space.name}, "space"),
    ({"data": {"train": 10}}, r"search.data: .* is for MoViNets; leave it out with the task my_module:Good"),
    ({"training": {"steps": 4, "rezero": 0.1}}, "search.training.rezero: 0.1 is for MoViNets"),
    ({"finals": {"references": ["a0"]}}, "search.finals.references: .* is for MoViNets"),
    ({"family": {"classes": 3}}, "search.family: .* is for MoViNets"),
    ({"costs": ["mac"]}, r"search.costs\[0\]: 'mac' must be one of macs; did you mean 'macs'"),
    ({"limits": {"flops": 3}}, "search.limits.flops: 'flops' must be one of macs"),
    ({"extends": "tiny"}, "search.extends: 'tiny' is a preset for MoViNets; write `schema: movinet-nas/search/1`"),
]


def test_bad_tasks_are_one_line(tmp_path: Path) -> None:
    """Run all in one process, because each start takes a second."""
    (tmp_path / "my_module.py").write_text(MODULE)
    whole = {"schema": "movinet-nas/search/1", "training": {"steps": 4}, "trials": 2}
    cases = [({**whole, "task": {"name": name}}, message) for name, message in BAD.items()]
    cases += [({**whole, "task": {"name": "my_module:Good"}, **more}, message) for more, message in MISPLACED]
    program = (
        "import json, sys, movinet_nas as mn\n"
        "for config in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        mn.search(config, 'run', executor='serial')\n"
        "    except mn.InputError as error:\n"
        "        print(error)\n"
    )
    done = python(tmp_path, "-c", program, json.dumps([config for config, _ in cases]))
    lines = done.stdout.splitlines()
    assert len(lines) == len(cases), done.stdout + done.stderr
    for line, (_, message) in zip(lines, cases, strict=True):
        assert re.search(message, line), line


def test_a_bad_task_is_refused_by_the_command_with_both_files_and_lines(tmp_path: Path) -> None:
    (tmp_path / "my_module.py").write_text(MODULE)
    lines = ["schema: movinet-nas/search/1", "training: {steps: 4}", "task: {name: my_module:Raises}"]
    (tmp_path / "search.yaml").write_text("\n".join(lines))
    done = command(tmp_path, "search", "search.yaml", "--serial", "--out", "run")
    message = r"^error: search.yaml:3: search.task.name: 'my_module:Raises' is wrong: .*\(my_module.py, line 17\)\n$"
    assert done.returncode == 2 and re.search(message, done.stderr), done.stderr


def test_a_name_that_an_installed_package_adds(tmp_path: Path) -> None:
    package = tmp_path / "installed" / "other-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[movinet_nas.tasks]\ngood = my_module:Good\n")
    (tmp_path / "installed" / "my_module.py").write_text(MODULE)
    config = {"schema": "movinet-nas/search/1", "training": {"steps": 4}, "trials": 2, "task": {"name": "good"}}
    config |= {"finals": {"repeats": 0}}
    program = f"import movinet_nas as mn; print(len(mn.search({config}, 'run', executor='serial').trials()))"
    done = python(tmp_path, "-c", program, PYTHONPATH=f"{ROOT}:{tmp_path / 'installed'}")
    assert done.stdout.strip() == "2", done.stderr
