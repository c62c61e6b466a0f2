"""Test the command line as a contract: its words, imports, output and exit codes."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from played_run import played, settings
from published_figures import BASE_FIGURES

import run_search
from cli import main
from cli.describe import describe_text, network_named
from nas.config import search_config
from nas.config.sections import EarlyStopping, Finals, SimulationConfig
from nas.loop import run_folder
from search_space.cost.counting import COST_NAMES, breakdown
from search_space.network import counted, dump, load, yaml_text
from search_space.published import A0, PUBLISHED

ROOT = Path(__file__).parents[1]
HEAVY = {"tensorflow", "keras", "ray"}

# Words that users and their scripts type. Changing a line breaks them: add freely, remove only in a new major version.
WORDS = {
    "init": "data --video-root --hours --target --out --json",
    "doctor": "--json",
    "search": "config? --out --resume --workers --address --share --mirror --seed --trials --hints --serial "
    "--simulate --plan --tensorboard --quiet --json-lines --json",
    "one-shot": "config? --out --resume --rank --workers --address --share --mirror --seed --hints --serial "
    "--quiet --json-lines --json",
    "plot": "run --format --json",
    "report": "run --out --json",
    "scale": "run --target --refine --out --json",
    "coefficients": "run --draws --seeds --out --json",
    "describe": "network --classes --stream --json",
    "reliability": "table --bins --out --format --json",
    "score": "config table --out --seeds --json",
    "tabulate": "run --out --json",
    "compare": "benchmark --out --algorithms --seeds --seed --workers --evaluations --stopping --statistic "
    "--minutes --repeats --format --json",
    "reproduce": "run point --repeats --json",
    "compare-runs": "runs+ --against --figure --json --out --published --seed",
    "validate": "run --address --format --json --json-lines --mirror --quiet --repeats --resume --scale --serial "
    "--share --steps-factor --train-clips --workers",
    "schema": "kind --markdown",
    "completion": "shell",
}  # fmt: skip
COMMANDS = {command: set(words.split()) for command, words in WORDS.items()}
TOP_FLAGS = {"-h", "--help", "--version"}

pytestmark = pytest.mark.usefixtures("clip_cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return played(tmp_path_factory.mktemp("runs") / "whole")


def command_line(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(ROOT / "run_search.py"), *map(str, arguments)]
    return subprocess.run(program, text=True, check=False, **{"capture_output": True, **options})  # type: ignore[call-overload]


def words_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return flags, and positional arguments with their number of values."""
    words = set()
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            words |= set(action.option_strings) or {f"{action.dest}{action.nargs or ''}"}
    return words


def test_commands_and_flags_are_the_promised_ones() -> None:
    top = main.parser()
    (commands,) = (each for each in top._actions if isinstance(each, argparse._SubParsersAction))
    assert {name: words_of(parser) for name, parser in commands.choices.items()} == COMMANDS
    assert main.COMMANDS.keys() == COMMANDS.keys()
    assert words_of(top) == TOP_FLAGS - {"-h", "--help"}


def test_every_command_and_flag_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], *([command, "--help"] for command in COMMANDS)):
        with pytest.raises(SystemExit) as ended:
            run_search.main(arguments)
        assert ended.value.code == 0
        text = capsys.readouterr().out
        listed = COMMANDS if len(arguments) == 1 else {word.rstrip("?+") for word in COMMANDS[arguments[0]]}
        for word in listed:
            assert re.search(rf"^  +(-h, )?{word}\b.*\n?.*\w{{3}}", text, re.MULTILINE), (arguments, word)
        assert max(map(len, text.splitlines())) <= 120


def help_of(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        run_search.main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_examples_of_the_help_are_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], *([command] for command in COMMANDS)):
        text = help_of(*words, capsys=capsys)
        lines = re.findall(r"^  run_search\.py(.*)\n      \S", text, re.MULTILINE)
        assert 2 <= len(lines) <= 5, words
        for line in lines:
            options = main._parsed(shlex.split(line.partition(" > ")[0]))
            assert options.command == (words or [options.command])[0]


def test_every_help_has_the_exit_codes_and_a_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], *([command] for command in COMMANDS)):
        text = help_of(*words, capsys=capsys)
        for code in (0, 1, 2, 130, 141):
            assert re.search(rf"\b{code} \w", text.partition("exit codes:")[2]), (words, code)
        paragraph = text.split("\n\n")[1]
        assert len(paragraph) > 80 and paragraph.endswith("."), words


@pytest.mark.parametrize("arguments", [[], ["--serial"], ["--workers", "3", "--quiet"], ["--out", "x"]])
def test_no_command_is_the_default_search(arguments: list[str]) -> None:
    assert vars(main._parsed(arguments)) == vars(main._parsed(["search", *arguments]))
    assert main._parsed(arguments).command == "search"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_search.main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"movinet-nas (\d+\.\d+\.\d+|\(not installed\))\n", capsys.readouterr().out)


def test_the_console_script_is_this_program() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, _, function = project["project"]["scripts"]["movinet-nas"].partition(":")
    assert getattr(importlib.import_module(module), function) is run_search.main


LOADED = """
import json, sys, run_search

for arguments in json.loads(sys.argv[1]):
    try:
        code = run_search.main(arguments)
    except SystemExit as ended:
        code = ended.code
    assert code == 0, (arguments, code)
    print("\\nloaded", *{name.partition(".")[0] for name in sys.modules})
"""


def test_what_only_reads_loads_no_framework(whole: Path, tmp_path: Path) -> None:
    """Run all commands in one process: a module that is not loaded after the last was never loaded."""
    shutil.copy(whole / "ledger.jsonl", tmp_path)
    quick = [["--help"], ["search", "--help"], ["describe", "a0", "--json"]]
    commands = [*quick, ["report", str(tmp_path)], ["plot", str(tmp_path)], ["scale", str(tmp_path)]]
    program = [sys.executable, "-c", LOADED, json.dumps(commands)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = [set(line.split()[1:]) for line in done.stdout.splitlines() if line.startswith("loaded ")]
    assert len(loaded) == len(commands) and "run_search" in loaded[0]
    assert not loaded[-1] & (HEAVY | {"plotly", "sklearn"})
    assert not loaded[len(quick) - 1] & {"pandas", "matplotlib", "rich", "av", "scipy", "shtab"}
    assert not loaded[0] & {"numpy", "yaml"}


def described(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run_search.main(["describe", *map(str, arguments)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.mark.parametrize("name", BASE_FIGURES)
def test_described_as_json_it_has_the_published_figures(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = described(capsys, name, "--json")
    assert text.count("\n") == 1
    data = json.loads(text)
    assert (data["macs"], data["trainable_parameters"], data["total_parameters"]) == BASE_FIGURES[name]
    assert {"name", "classes", "members", *COST_NAMES} == data.keys()
    assert all(type(data[cost]) is int and data[cost] > 0 for cost in COST_NAMES)
    assert (data["name"], data["classes"], len(data["members"])) == (name, 600, 1)


def test_described_as_a_stream_it_has_the_released_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(described(capsys, "a3", "--stream", "--json"))
    assert (found["trainable_parameters"], found["total_parameters"]) == (10_986_618, 11_043_146)
    text = described(capsys, "a3", "--stream")
    assert "a3, stream, 600 classes" in text and ".temporal" in text


def test_described_for_people_rows_add_up_to_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    text = described(capsys, "A0")
    macs, parameters, _ = BASE_FIGURES["a0"]
    table = text.partition("operation")[2].splitlines()[1:]
    assert len(table) == len(breakdown(A0, 600))
    cells = [line.replace(",", "").split() for line in table]
    assert sum(int(row[-2]) for row in cells) == macs and f"{macs:,}" in text
    assert sum(int(row[-1]) for row in cells) == parameters and f"{parameters:,}" in text
    assert len({len(line) for line in table}) == 1  # columns are aligned
    assert "clip: 50 frames of 172 x 172, every 5th of the source" in text


def test_described_with_other_classes_only_the_last_layer_changes(capsys: pytest.CaptureFixture[str]) -> None:
    few, many = (json.loads(described(capsys, "a0", "--json", "--classes", n)) for n in (10, 11))
    assert many["total_parameters"] - few["total_parameters"] == 2048 + 1
    assert many["macs"] - few["macs"] == 2048


def test_a_file_is_described_as_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "both.yaml"
    network = counted("both", (A0, PUBLISHED["t0"]), 600)
    file.write_text(dump(network))
    data = json.loads(described(capsys, file, "--json"))
    assert {name: data[name] for name in COST_NAMES} == dict(network.cost) and len(data["members"]) == 2
    assert described(capsys, file).count("operation") == 2
    assert load(file) == network


@pytest.mark.parametrize(
    ("stride", "words"),
    [(1, "every one of"), (2, "every 2nd of"), (3, "every 3rd of"), (11, "every 11th of"), (21, "every 21st of")],
)
def test_frame_strides_in_words(stride: int, words: str, tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(dump(counted("one", (A0,), 600)).replace("frame_stride: 5", f"frame_stride: {stride}"))
    assert f" {words} the source" in describe_text(network_named(str(file)))


def test_plot_names_what_it_wrote(whole: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shutil.copy(whole / "ledger.jsonl", tmp_path)
    assert run_search.main(["plot", str(tmp_path)]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.name for path in paths} >= {"trials.csv", "front.csv", "front.png", "hypervolume.png"}
    assert all(path.stat().st_size > 0 for path in paths)


def test_scale_makes_the_family_that_was_asked_for(
    whole: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    arguments = ["scale", whole, "--target", "small=2e7", "--target", "big=5e7", "--out", out]
    assert run_search.main(list(map(str, arguments))) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["model", "small", "big"]
    for name, target in (("small", 2e7), ("big", 5e7)):
        assert load(out / f"movinet_{name}.yaml").cost["macs"] == pytest.approx(target, rel=0.02)
    assert not (whole / "configs").exists()


def test_a_reader_that_leaves_is_no_error() -> None:
    program = [sys.executable, str(ROOT / "run_search.py"), "describe", "a5"]
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


def test_a_reader_that_leaves_ends_the_other_commands_alike() -> None:
    imports = "import sys\nfrom search_space.base.command_line import exit_code, print_escaped as p"
    program = f"{imports}\nsys.exit(exit_code(lambda: p('x')))"
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


def small(folder: Path, **changes: object) -> Path:
    """Write a file with a search of a second or two, once TensorFlow is loaded."""
    file = folder / "my.yaml"
    chosen = settings(
        finals=Finals(repeats=1, most=1, references=()), early_stopping=EarlyStopping(rungs=()), **changes
    )
    file.write_text(yaml_text(search_config.to_dict(chosen)))
    return file


def ledger_lines(folder: Path) -> list[bytes]:
    file = folder / "ledger.jsonl"
    return file.read_bytes().splitlines() if file.exists() else []


def begun_after_one_completed(folder: Path) -> bool:
    lines = ledger_lines(folder)
    return any(b'"completed"' in line for line in lines) and b'"proposal"' in lines[-1]


def wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def test_an_interrupted_search_says_how_to_resume_and_does(tmp_path: Path) -> None:
    out = tmp_path / "my run"
    file = small(tmp_path, trials=5, simulation=SimulationConfig(seconds=0.5))
    program = [sys.executable, str(ROOT / "run_search.py"), "search", str(file), "--serial", "--out", str(out)]
    program += ["--trials", "4", "--seed", "3"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: begun_after_one_completed(out), process)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    first, last = errors.splitlines()
    assert first == "interrupted: running trials are finished; interrupt again to stop at once"
    assert last == f"interrupted; resume with: run_search.py search --resume '{out}'"
    assert "accuracy" in printed and "Traceback" not in printed
    before = run_folder.read(out)
    assert not before.torn and len(before.completed) >= 2 and not before.pending

    result = command_line("search", "--resume", out, "--serial", "--quiet")
    assert result.returncode == 0, result.stderr
    after = run_folder.read(out)
    assert after.entries[: len(before.entries)] == before.entries and not after.pending
    searched = [index for index in after.completed if after.proposals[index].kind == "search"]
    assert searched == [0, 1, 2, 3] and after.header.seed == 3
    assert result.stdout.startswith("simulated: 4 candidates trained to the full budget")
    assert {path.name for path in out.iterdir()} >= {"config.yaml", "front.png", "trials.csv", "configs"}
    check_config(out)


def check_config(out: Path) -> None:
    """The run's config.yaml is readable, and starts the same search again."""
    text = (out / "config.yaml").read_text()
    chosen = search_config.load(str(out / "config.yaml"))
    assert chosen == run_folder.config_of(run_folder.read(out)) and (chosen.trials, chosen.seed) == (4, 3)
    assert yaml.safe_load(text) == search_config.to_dict(chosen)
    assert max(map(len, text.splitlines())) <= 120
    assert "kernels: [[1, 5, 5], [3, 3, 3]]" in text and len(text.splitlines()) < 120


def test_interrupted_before_the_run_began_nothing_is_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = (
        "import sys, os, signal, threading, run_search\n"
        "import nas.loop.run_folder, nas.evaluation.proxy_trainer\n"
        "sys.setprofile(lambda frame, event, arg: event == 'call' and frame.f_code.co_name == 'open_data'"
        " and os.kill(os.getpid(), signal.SIGINT))\n"
        "sys.exit(run_search.main(sys.argv[1:]))"
    )
    arguments = [sys.executable, "-c", program, "search", str(small(tmp_path)), "--out", str(out)]
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (130, "")
    assert result.stderr == "interrupted before the first trial; no files were kept\n"
    assert os.listdir(tmp_path) == ["my.yaml"]


def test_without_the_environment_one_line_says_how_to_make_it() -> None:
    command = [sys.executable, "-S", "run_search.py", "describe", "a0"]  # -S: without the libraries installed
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and ended.stderr.startswith("error: library: '") and "make setup" in ended.stderr
    assert ended.stderr.count("\n") == 1
