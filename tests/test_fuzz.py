"""Test damaged files of every kind: they are read, or refused in one line, without other errors or hangs.

Hypothesis stores the numbers of failing cases in .hypothesis and tries them first; a case is a function of its number.
Other tests cover experiments (test_experiment) and videos (test_video_fuzz).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import shutil
import signal
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import small_search
import synthetic_run
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutation import changed, damaged, mutated_cells, mutated_lines, mutated_yaml
from played_run import played

from cli.describe import describe_text
from movinet.training.config import experiment_file
from nas.benchmark import table, table_comparison
from nas.config import search_config
from nas.loop import run_folder
from nas.loop.search import Search
from nas.one_shot import hints
from nas.one_shot import run as one_shot_run
from nas.record.ledger import Header
from nas.record.ledger_writer import LedgerWriter
from results import outcome
from results.analysis import coefficients, proxy_correlation
from results.family import growth
from results.family.emit import emit
from results.figures import evaluation as evaluation_plots
from results.tables import frame, hypervolume_over_time
from search_space import network
from search_space.base.errors import InputError

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "results" / "published"
SECONDS = 20  # of processor time per case; the slowest takes three


class Hang(BaseException):
    """A case took too long."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
      name: of the file; its suffix counts.
      seeds: valid contents.
      mutate: makes another content from one.
      use: treats it as commands do; may write into the folder of its second argument.
    """

    name: str
    seeds: tuple[bytes, ...]
    mutate: Callable[[bytes, random.Random], bytes]
    use: Callable[[Path, Path], object]


def use_search(path: Path, out: Path) -> None:
    """Imitate `search`, up to the first proposal."""
    chosen = search_config.load(str(path))
    growth.from_dict(chosen.family)
    if chosen.trials > 1000 or chosen.algorithm.name in ("keras_tuner", "optuna_tpe"):
        return
    with LedgerWriter.create(out / "ledger.jsonl", Header(search_config.to_dict(chosen), {}, 0, "")) as writer:
        Search(chosen, writer).propose()


def use_run(path: Path, out: Path) -> None:
    """Imitate `plot`, `scale` and `search --resume`."""
    ledger = run_folder.read(path.parent)
    if not ledger.completed and not ledger.stopped:
        return
    frame.trials(ledger)
    frame.selected_front(ledger)
    hypervolume_over_time.hypervolume_over_time(ledger)
    outcome.comparison(ledger)
    shutil.copy(path, out / "ledger.jsonl")
    with contextlib.suppress(InputError), LedgerWriter.open_for_append(out / "ledger.jsonl") as writer:
        run_folder._resumed(run_folder.config_of(ledger), writer, ledger)
    if ledger.size % 8 == 0:
        outcome.write_plots(ledger, out)
    emit(outcome.family_of(ledger, outcome.family_config(ledger)), out / "configs")


def use_network(path: Path, out: Path) -> None:
    """Imitate `describe`."""
    describe_text(network.load(path))


def use_table(path: Path, out: Path) -> None:
    """Imitate `reliability` and `compare`."""
    read = table.read(path)
    read.space.sample(np.random.default_rng(0), 3)
    proxy_correlation.rank(read, 4)
    table.write(read, out / "again.csv")


def use_experiment(path: Path, out: Path) -> None:
    """Imitate `movinet.train` with its flags."""
    text = path.read_bytes().decode(errors="replace")
    experiment_file.dump(experiment_file.load("movinet_kinetics600", (), text)[0])


def use_coefficients(path: Path, out: Path) -> None:
    """Imitate `scale`."""
    coefficients.chosen(path.parent.parent)


def use_evaluation(path: Path, out: Path) -> None:
    """Imitate `results.figures.evaluation`."""
    evaluation_plots.read_evaluation(path.parent)


def use_comparison(path: Path, out: Path) -> None:
    """Imitate `compare` with a folder of an unfinished comparison."""
    table_comparison._opened(path, json.loads(COMPARISON.splitlines()[0]))


def use_checkpoint(path: Path, out: Path) -> None:
    """Imitate `one-shot --resume`, up to its weights."""
    plain, _ = one_shot_run.read_checkpoint(path)
    search_config.from_dict(plain["config"])


def use_hints(path: Path, out: Path) -> None:
    """Imitate `search --hints`, up to the first proposal."""
    chosen = hints.given(search_config.load("default"), path)
    with LedgerWriter.create(out / "ledger.jsonl", Header(search_config.to_dict(chosen), {}, 0, "")) as writer:
        Search(chosen, writer).propose()


def mutated_override(content: bytes, rng: random.Random) -> bytes:
    return damaged(content, rng) if rng.random() < 0.6 else mutated_yaml(content, rng)


def mutated_json(content: bytes, rng: random.Random) -> bytes:
    return damaged(content, rng) if rng.random() < 0.3 else json.dumps(changed(json.loads(content), rng)).encode()


def mutated_packed(content: bytes, rng: random.Random) -> bytes:
    return gzip.compress(mutated_cells(content, rng)) if rng.random() < 0.7 else damaged(gzip.compress(content), rng)


def mutated_arrays(content: bytes, rng: random.Random) -> bytes:
    """Return other plain data, another array or header, or other bytes."""
    if rng.random() < 0.3:
        return damaged(content, rng)
    arrays = dict(np.load(io.BytesIO(content)))
    if rng.random() < 0.7:
        arrays["plain"] = np.array(json.dumps(changed(json.loads(str(arrays["plain"])), rng)))
    else:
        del arrays[rng.choice(sorted(arrays))]
        arrays["x"] = np.zeros(rng.randrange(3))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as into:
        for name, value in arrays.items():
            one = io.BytesIO()
            np.save(one, value)
            into.writestr(f"{name}.npy", damaged(one.getvalue(), rng) if rng.random() < 0.1 else one.getvalue())
    return file.getvalue()


COMPARISON = b"""{"schema":"movinet-nas/arena/1","table":"x","evaluations":150,"seed":0}
{"algorithm":"random","seed":0,"stopping":false,"rows":[1,2],"steps":[1,2]}
"""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    folder = tmp_path_factory.mktemp("seeds")
    synthetic_run.run(folder / "synthetic", searched=14, repeats=1)
    played(folder / "played")
    ledgers = tuple((folder / name / "ledger.jsonl").read_bytes() for name in ("synthetic", "played"))
    lines = (PUBLISHED / "movinet_bench" / "movinet_bench.csv").read_bytes().splitlines()[:25]
    cells = b"\n".join(lines) + b"\n"
    networks = tuple(
        (PUBLISHED / "frontier" / "configs" / f"movinet_{name}.yaml").read_bytes() for name in ("a0", "a6")
    )
    bare = yaml.safe_dump(yaml.safe_load(networks[0])["members"][0]).encode()
    searches = tuple(path.read_bytes() for path in sorted((ROOT / "nas" / "config" / "presets").glob("*.yaml")))
    searches += ((PUBLISHED / "frontier" / "config.yaml").read_bytes(),)
    records = ((PUBLISHED / "coefficients" / "coefficients.yaml").read_bytes(),)
    overrides = (
        b"task.model.num_classes=7,trainer.train_steps=[1,2],a.b[0]='x',a.b[1]={c: 1}",
        b"{task: {model: {num_classes: 7}}, runtime: {}}",
    )
    evaluation = {"schema": evaluation_plots.SCHEMA, "classes": [], "confusion": [], "curve": []}
    default = search_config.load("default")
    measured = [(genotype, 0.1 * i) for i, genotype in enumerate(hints.members(default, 4))]
    hinted = json.dumps(hints.plain(default.space, measured)).encode()
    arrays = io.BytesIO()
    plain = {
        "schema": "movinet-nas/one-shot/1",
        "config": search_config.to_dict(small_search.small()),
        "data": "x",
        "steps": 4,
        "seconds": 1.5,
        "controllers": [],
    }
    np.savez(arrays, plain=np.array(json.dumps(plain)), history=np.zeros((2, 6)), weight=np.zeros((3, 4), np.float32))
    return {
        "search": Kind("my.yaml", searches, mutated_yaml, use_search),
        "run": Kind("ledger.jsonl", ledgers, mutated_lines, use_run),
        "network": Kind("net.yaml", (*networks, bare), mutated_yaml, use_network),
        "table": Kind("table.csv", (cells,), mutated_cells, use_table),
        "packed table": Kind("table.csv.gz", (cells,), mutated_packed, use_table),
        "override": Kind("override", overrides, mutated_override, use_experiment),
        "coefficients": Kind("coefficients/coefficients.yaml", records, mutated_yaml, use_coefficients),
        "evaluation": Kind("evaluation.json", (json.dumps(evaluation).encode(),), mutated_json, use_evaluation),
        "comparison": Kind("runs.jsonl", (COMPARISON,), mutated_lines, use_comparison),
        "hints": Kind("hints.json", (hinted,), mutated_json, use_hints),
        "one-shot checkpoint": Kind("checkpoint.npz", (arrays.getvalue(),), mutated_arrays, use_checkpoint),
    }  # fmt: skip


KINDS = (
    "search", "run", "network", "table", "packed table", "override", "coefficients", "evaluation", "comparison",
    "one-shot checkpoint", "hints",
)  # fmt: skip


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Stop a case that takes more than `SECONDS` of processor time."""

    def hang(number: int, frame: object) -> None:
        raise Hang(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def assert_one_line(error: InputError) -> None:
    text = str(error)
    assert text and len(text) <= 2000
    assert not any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in text), text


def try_case(kind: Kind, number: int, base: Path) -> None:
    """Run one case in a separate folder; no file may be written beside it."""
    rng = random.Random(number)
    folder = base / str(number)
    file, out = folder / "in" / kind.name, folder / "out"
    file.parent.mkdir(parents=True, exist_ok=True)
    out.mkdir(exist_ok=True)
    file.write_bytes(kind.mutate(rng.choice(kind.seeds), rng))
    try:
        with bounded():
            try:
                kind.use(file, out)
            except InputError as error:
                assert_one_line(error)
        assert sorted(path.name for path in folder.iterdir()) == ["in", "out"]
        assert [path for path in (folder / "in").rglob("*") if path.is_file()] == [file]
        assert sorted(path.name for path in base.iterdir()) == [str(number)]
    finally:
        shutil.rmtree(folder)


def fuzz(kind: Kind, base: Path, cases: int) -> None:
    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(number=st.integers(0, 2**32 - 1))
    def case(number: int) -> None:
        try_case(kind, number, base)

    case()


@pytest.mark.filterwarnings("ignore")  # numerical warnings about unusual values
@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_read_or_refused_in_one_line(name: str, kinds: dict[str, Kind], tmp_path: Path) -> None:
    fuzz(kinds[name], tmp_path, 20)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_many_more(name: str, kinds: dict[str, Kind], tmp_path: Path) -> None:
    fuzz(kinds[name], tmp_path, 250)
