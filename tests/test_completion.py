"""Test completion by the tab key in the real shells, if they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import run_search
from cli import main
from nas.config.search_config import presets

CASES = [
    ("pl", {"plot"}),
    ("search ti", {"tiny"}),
    ("search --wor", {"--workers"}),
    ("search tiny --se", {"--seed", "--serial"}),
    ("describe a", {"a0", "a1", "a2", "a3", "a4", "a5"}),
    ("plot my_r", {"my_run"}),
    ("compare my_t", {"my_table.csv"}),
    ("completion f", {"fish"}),
]
# Do the work of bash on the tab key: typed words in, candidates out.
BASH = """
source "$1"
function_of() { local parts; read -ra parts < <(complete -p movinet-nas); for i in "${!parts[@]}"; do
  [[ ${parts[i]} == -F ]] && echo "${parts[i+1]}"; done; }
read -ra COMP_WORDS <<< "movinet-nas $2"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"$(function_of)"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_run").mkdir()
    (tmp_path / "my_table.csv").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run_search.main(["completion", shell]) == 0
    file = folder / f"completion.{shell}"
    file.write_text(capsys.readouterr().out)
    return file


def answered(*program: object) -> set[str]:
    environment = {**os.environ, "HOME": os.getcwd()}
    result = subprocess.run(list(map(str, program)), env=environment, capture_output=True, text=True, check=True)
    assert not result.stderr, result.stderr
    return {line.split("\t")[0].rstrip("/") for line in result.stdout.splitlines() if line}


@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_bash_offers(typed: str, offered: set[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answered("bash", "-c", BASH, "bash", script("bash", here, capsys), typed) == offered


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_fish_offers(typed: str, offered: set[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = script("fish", here, capsys)
    # If no candidate has the prefix, fish itself offers matches inside of words.
    assert offered <= answered("fish", "-c", f"source {file}; complete -C 'movinet-nas {typed}'")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = script("zsh", here, capsys).rename(here / "_movinet-nas")
    program = f"fpath=({here} $fpath); autoload -U compinit; compinit -u -D; echo $_comps[movinet-nas]"
    assert answered("zsh", "-fc", program) == {"_movinet-nas"}
    assert answered("zsh", "-fn", file) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_option_and_preset_is_in_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_search.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for name in (*main.COMMANDS, *presets(), "resume", "algorithms", "json"):
        assert name in text
