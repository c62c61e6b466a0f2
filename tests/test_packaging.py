"""pyproject.toml and requirements.lock fit the tree and each other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from setuptools import find_packages

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
PACKAGES = find_packages(str(ROOT), include=PROJECT["tool"]["setuptools"]["packages"]["find"]["include"])
DATA = PROJECT["tool"]["setuptools"]["package-data"]
LOCKED = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LOCK, re.MULTILINE))


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_every_package_and_no_other_is_installed() -> None:
    tops = {name.partition(".")[0] for name in PACKAGES}
    folders = {path.parent.relative_to(ROOT) for top in tops for path in (ROOT / top).rglob("*.py")}
    assert tops == {"cli", "movinet", "movinet_nas", "nas", "results", "search_space"}
    assert sorted(".".join(folder.parts) for folder in folders) == sorted(PACKAGES)


def test_every_data_file_of_a_package_is_installed() -> None:
    installed = {(name.replace(".", "/"), pattern) for name, patterns in DATA.items() for pattern in patterns}
    tops = {name.partition(".")[0] for name in PACKAGES}
    for path in tracked_files():
        if path.parts[0] in tops and path.suffix != ".py" and path.parts[:2] != ("results", "published"):
            assert any(fnmatch(str(path), f"{folder}/{pattern}") for folder, pattern in installed), path


@pytest.mark.parametrize(
    "requirement", [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]
)
def test_the_lock_satisfies_the_project(requirement: str) -> None:
    wanted = Requirement(requirement)
    assert wanted.specifier.contains(LOCKED[wanted.name])


def test_every_library_that_is_imported_is_required() -> None:
    required = {Requirement(each).name for each in PROJECT["project"]["dependencies"]}
    providers = metadata.packages_distributions()
    trees = [ast.parse(path.read_text()) for name in PACKAGES for path in (ROOT / name.replace(".", "/")).glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    libraries = {name.partition(".")[0] for name in found} - sys.stdlib_module_names
    own = {name.partition(".")[0] for name in PACKAGES}
    on_request = {"mlflow"}  # optional; a search that requests it without it being installed prints one line
    for library in libraries - own - on_request:
        assert {name.lower().replace("_", "-") for name in providers[library]} & required, library


def test_the_lock_has_a_hash_for_each_package_and_no_address() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    assert len(entries) == len(LOCKED)
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in LOCK and "index-url" not in LOCK


def test_no_file_names_the_host_of_a_package_registry() -> None:
    hosts = re.compile("|".join((r"py" + r"pi\.(?:org|io)", "python" + "hosted", "registry" + r"\.npm", "npm" + "js")))
    for path in tracked_files():
        text = (ROOT / path).read_bytes().decode("utf-8", errors="ignore")
        assert not hosts.search(text), path
