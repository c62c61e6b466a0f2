"""Test that the documentation is up to date: every command is run here or by another test, or has a reason."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml
from documented import BLOCK, Block, Command, blocks, commands, inline_commands
from played_run import played
from pygments.lexers import get_lexer_by_name
from pygments.token import Error

import run_search
from cli import main
from movinet.training.config import experiment_file
from nas.benchmark import table
from nas.config import search_config
from search_space.base.errors import InputError

ROOT = Path(__file__).parents[1]

# Regular expressions for the beginning of a command; the first that matches counts.
RUN_HERE = (
    r"movinet-nas (plot|scale|report|tabulate) results/(runs|published)/",
    r"movinet-nas describe ",
    r"movinet-nas completion ",
    r"movinet-nas --version",
)
RUN_BY = {
    r"movinet-nas init ": ("init", "from_a_folder_to_a_family"),
    r"movinet-nas doctor": ("init", "doctor_finds_this_machine_fit"),
    r"movinet-nas search my_search\.yaml --plan": ("planning", "the_command_times_real_steps_and_writes_nothing"),
    r"movinet-nas search tiny .*--(json-lines|tensorboard)": ("json_lines", "the_command_ends_with_its_outcome"),
    r"movinet-nas search (tiny|--resume) ": ("cli", "an_interrupted_search_says_how_to_resume_and_does"),
    r".*results/runs/mine": ("own_videos", "the_page_from_the_folder_to_the_stream"),
    r"movinet-nas search (my_search|around_a2)\.yaml": ("coefficients", "a_real_search_and_a_real_refinement"),
    r"movinet-nas search .*--address": (
        "cluster",
        "a_search_takes_the_nodes_that_come_and_does_without_those_that_go",
    ),
    r"movinet-nas scale RUN .*--refine": ("coefficients", "a_refinement_is_a_search_around_the_target"),
    r"movinet-nas coefficients ": ("coefficients", "a_real_search_and_a_real_refinement"),
    r"movinet-nas compare \S+\.csv(\.gz)? ": ("arena", "the_command_on_a_table"),
    r"movinet-nas compare default ": ("arena", "a_race_that_is_interrupted_carries_on"),
    r"movinet-nas search my_pace\.yaml ": ("own_videos", "the_page_from_the_folder_to_the_stream"),
    r"movinet-nas compare-runs ": ("comparison", "runs_are_pooled_and_compared_with_other_runs"),
    r"movinet-nas reliability ": ("reliability_report", "text_json_and_files_say_the_same"),
    r"movinet-nas one-shot .*--rank ": ("one_shot", "the_rows_of_a_table_are_ranked"),
    r"movinet-nas (one-shot|search) .*--hints ": ("one_shot", "members_are_hinted_at_for_another_search"),
    r"movinet-nas one-shot( |$)": ("one_shot", "the_command_retrains_what_was_found"),
    r"movinet-nas reproduce ": ("reproduce", "a_real_run_reproduces_and_is_left_as_it_was"),
    r"movinet-nas schema ": ("schemas", "the_reference_pages_are_of_these_classes"),
    r"movinet-nas validate ": ("validation", "with_ray_killed_and_resumed_it_is_finished_and_compared"),
    r"movinet-nas score ": ("scores", "a_table_gets_its_columns_and_goes_on_where_it_was_left"),
    r"python -m movinet\.train .*digits_": ("train", "an_emitted_experiment_trains_and_evaluates"),
    r"python -m movinet\.train .*\.experiment\.yaml": ("train", "every_emitted_experiment_trains_and_evaluates"),
    r"python -m movinet\.evaluate ": ("evaluate", "the_command_writes_what_it_found"),
    r"python -m movinet\.export .*--quantize": ("export", "smaller_numbers_by_command"),
    r"python -m movinet\.export ": ("export", "a_network_file_to_saved_model_by_command"),
    r"python -m movinet\.latency ": ("latency", "every_form"),
    r"python -m movinet\.convert ": ("convert", "a_folder_becomes_records"),
    r"python -m results\.figures\.evaluation ": ("evaluation_plots", "the_command_writes_the_formats_asked_for"),
    r"python tests/chaos\.py": ("chaos", "a_search_under_fire"),
    r"make docs": ("site", "the_pages_can_be_made_a_site_without_a_warning"),
}
NOT_RUN = {
    r"(\w+=\S+ )?make test|make (setup|search|check|format|clean)": "the checks of a change, and a whole search",
    r"movinet-nas search (default --serial|results/published/reliability/)": "the whole of a search, half an hour",
    r"python tests/(benchmarks/|release_cases)": "minutes, an idle machine, or the released implementation beside it",
    r"tensorboard ": "another program; tests/test_event_files.py reads by its library what it is pointed at",
    r"(python3 -m venv|pip install|\.venv/bin/python -m pip|ray|kubectl|RAY_AUTH_MODE=token .*ray start|cp|rm|\.) ": (
        "other programs: an environment, a cluster, files"
    ),
    r"\.venv/bin/python -c .*list_physical_devices": "a machine with a GPU",
}
# Pages with Python that is not run as it stands.
SHOWN = {
    "docs/how_to/networks/stream.md": "weights of the Model Garden; tests/test_stream.py runs the functions",
    "docs/reference/checkpoints.md": "weights of the Model Garden; tests/test_checkpoint.py runs the functions",
    "docs/how_to/networks/export.md": "exported files; tests/test_export.py runs the functions",
    "docs/how_to/search/extend.md": "run by tests/test_extensions.py",
    "docs/reference/python.md": "run by tests/test_python_api.py",
    "docs/how_to/search/keras_tuner.md": "run by tests/test_keras_tuner_adapter.py",
    "docs/getting_started/your_videos.md": "run by tests/test_own_videos.py",
}


def normal(line: str) -> str:
    """Return a command with the installed name of its program, without its environment."""
    line = re.sub(r"^RAY_AUTH_MODE=token (?=movinet-nas)", "", line)
    return re.sub(r"^\.venv/bin/python (?=tests/)", "python ", line)


def fits(patterns: Iterable[str], line: str) -> str | None:
    return next((pattern for pattern in patterns if re.match(pattern, normal(line))), None)


COMMANDS = commands()
MODULES = (
    "movinet.train",
    "movinet.evaluate",
    "movinet.export",
    "movinet.latency",
    "movinet.convert",
    "results.figures.evaluation",
)


def test_a_command_is_run_or_has_a_reason() -> None:
    for command in COMMANDS:
        assert command.line, f"{command.place}: a line without a command in a block of commands"
        assert fits((*NOT_RUN, *RUN_HERE, *RUN_BY), command.line), f"{command.place}: {command.line}: say what runs it"


def test_every_row_is_of_a_command_and_every_test_is_there() -> None:
    lines = [normal(each.line) for each in (*COMMANDS, *inline_commands())]
    for pattern in (*RUN_HERE, *RUN_BY, *NOT_RUN):
        assert any(re.match(pattern, line) for line in lines), pattern
    for file, name in RUN_BY.values():
        tree = ast.parse((ROOT / "tests" / f"test_{file}.py").read_text(encoding="utf-8"))
        assert f"test_{name}" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, name)


def parse(words: list[str]) -> None:
    """Parse with the parser of the program; words for programs outside this project are skipped."""
    for i, word in enumerate(words):
        if " run_search.py " in f" {word} " and word != "run_search.py":  # a command within a command
            parse(shlex.split(word))
        if word in ("run_search.py", "movinet-nas") or word.endswith("/run_search.py"):
            if words[i + 1 :] != ["--version"]:
                main._parsed(words[i + 1 :])
            return
        if word == "-m" and words[i + 1].partition(".")[0] in ("movinet", "results"):
            importlib.import_module(words[i + 1]).parser().parse_args(words[i + 2 :])
            return
        if word.startswith("tests/") and word.endswith(".py"):
            source = (ROOT / word).read_text(encoding="utf-8")
            assert all(f'"{flag}"' in source for flag in words[i + 1 :] if flag.startswith("--")), words
            return


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.place} {command.line[:60]}")
def test_a_command_is_understood(command: Command) -> None:
    words = command.words
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:( |$)", (ROOT / "Makefile").read_text(), re.MULTILINE)
        arguments = next((word.partition("=")[2] for word in words if word.startswith("ARGS=")), "")
        words = ["run_search.py", *shlex.split(arguments)] if words[1] == "search" else []
    parse(words)


@pytest.mark.parametrize("command", inline_commands(), ids=lambda command: f"{command.place} {command.line}")
def test_a_command_in_the_text_is_understood(command: Command) -> None:
    """Required arguments may be missing; all others must be valid."""
    if re.search(r"\b(COMMAND|<command>)\b", command.line):
        return
    try:
        parse([word for word in command.words if word != "…"])
    except SystemExit as ended:
        assert ended.code == 0 or "--" not in command.line
    except InputError as error:
        assert "are required" in str(error), error


@pytest.mark.parametrize("module", MODULES)
def test_the_help_of_a_module_has_a_paragraph_and_examples(module: str) -> None:
    text = " ".join(importlib.import_module(module).parser().format_help().split("\\\n"))
    lines = re.findall(rf"^  python -m {module} (.+)\n      \S", text, re.MULTILINE)
    assert 2 <= len(lines) <= 4
    for line in lines:
        parse(["-m", module, *shlex.split(line)])
    for code in (0, 1, 2, 130, 141):
        assert re.search(rf"\b{code} \w", text.partition("exit codes:")[2])
    paragraphs = text.partition("usage:")[2].split("\n\n")
    assert len(paragraphs[1]) + len(paragraphs[2]) > 150


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder with the published results, the runs that the commands name, and the shells' folders."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "results").mkdir()
    shutil.copytree(ROOT / "results" / "published", folder / "results" / "published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOVINET_NAS_CACHE", str(folder / "cache"))
        run = played(folder / "results" / "runs" / "first")
    for name in ("x", "mine"):
        shutil.copytree(run, run.parent / name)
    yield folder


@pytest.mark.parametrize(
    "command",
    [each for each in COMMANDS if fits(RUN_HERE, each.line) and not fits(NOT_RUN, each.line)],
    ids=lambda command: f"{command.place} {command.line[:60]}",
)
def test_a_command_works(
    command: Command, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    words = command.words
    arguments = words[words.index(next(word for word in words if word in ("run_search.py", "movinet-nas"))) + 1 :]
    if arguments == ["--version"]:
        with pytest.raises(SystemExit, match="^0$"):
            run_search.main(arguments)
    else:
        assert run_search.main(arguments) == 0
    assert capsys.readouterr().out


def of(language: str) -> list[Block]:
    return [block for block in blocks() if block.language == language]


# tests/test_extensions.py runs searches with modules that users bring.
READ = [block for block in of("yaml") if not block.place.startswith("docs/how_to/search/extend.md")]


@pytest.mark.parametrize("block", READ, ids=lambda block: block.place)
def test_a_configuration_is_read(block: Block, tmp_path: Path) -> None:
    """A whole configuration is read as shown, a part of one in place of that part of a preset."""
    shown = yaml.safe_load(block.text)
    assert isinstance(shown, dict), block.place
    if "task" in shown:
        (tmp_path / "experiment.yaml").write_text(block.text)
        experiment_file.load("movinet_kinetics600", [tmp_path / "experiment.yaml"])
        return
    if "extends" in shown:
        (tmp_path / "search.yaml").write_text(block.text)
        search_config.load(str(tmp_path / "search.yaml"))
        return
    whole = shown if "schema" in shown else {**search_config.to_dict(search_config.load("tiny")), **shown}
    search_config.from_dict(whole, block.place)


@pytest.mark.parametrize("block", of("python"), ids=lambda block: block.place)
def test_python_is_run_or_its_names_are_there(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and (ROOT / node.module.split(".")[0]).exists():
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), block.place
    if block.place.partition(":")[0] not in SHOWN:
        exec(compile(tree, block.place, "exec"), {})


def test_a_benchmark_table_is_read(tmp_path: Path) -> None:
    (block,) = (block for block in of("text") if block.text.startswith("choice."))
    file = tmp_path / "table.csv"
    file.write_text(block.text)
    assert table.read(file).accuracy.shape == (3, 2)


def test_blocks_say_what_they_are() -> None:
    """A block without a language contains commands, so a plain listing has the language text."""
    for block in blocks():
        if block.language and not block.language.startswith("{"):
            tokens = get_lexer_by_name(block.language).get_tokens(block.text)  # as in the highlighter of the site
            assert not [text for kind, text in tokens if kind is Error], block.place


QUOTING = ("docs/reference/data.md", "docs/explanation/faults.md", "docs/how_to/troubleshooting.md")
BY_THE_SYSTEM = ("No space left on device", "Read-only file system", "Cannot allocate memory")


def messages() -> str:
    """Return all strings of the code and of the Makefile, with spaces for values."""
    found = [(ROOT / "Makefile").read_text(encoding="utf-8")]
    for top in ("cli", "movinet", "nas", "results", "search_space"):
        for path in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                parts = node.values if isinstance(node, ast.JoinedStr) else [node]
                found.append(" ".join(str(part.value) for part in parts if isinstance(part, ast.Constant)))
    return "\n".join(" ".join(text.split()) for text in found)


def test_a_quoted_message_is_one_of_the_code() -> None:
    """Compare three words or more in a row, because values and names between them vary."""
    written = messages()
    missing = []
    for name in QUOTING:
        page = BLOCK.sub("", (ROOT / name).read_text(encoding="utf-8"))
        for quoted in re.findall(r"`([^`\n]+)`", page):
            fragments = re.findall(r"(?<![\w'-])[a-z]+(?: [a-z]+){2,}", quoted)
            known = (written, *BY_THE_SYSTEM)
            missing += [(name, words) for words in fragments if not any(words in text for text in known)]
    assert missing == []
