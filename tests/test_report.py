"""The page of a run as a file: its contents, the allowed scripts and requests, and escaped text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played_run import played
from synthetic_run import ledger_of, proposal, run, sampled, story

import run_search
from nas.loop import run_folder as runs
from nas.record.events import Completed, Failed, Note, Resumed, Rung
from nas.record.ledger import Ledger, read
from results.outcome import write_report
from results.report import data as report_data
from results.report.markup import bar, interval, script_data, table, text
from results.tables import frame
from search_space import architecture
from search_space.base.errors import InputError

ROOT = Path(__file__).parents[1]
FRONTIER = ROOT / "results/published/frontier"
NASTY = "</script><script>owned=1</script><img src=x onerror=owned=1>&amp;\"'\u202e\x1b[31m"
VOID = {"meta", "link", "br", "input", "line", "circle"}
TITLES = ["frontier", "choices", "importance", "volume", "reliability", "family", "failures", "reproduce"]


class Page(HTMLParser):
    """Parsed page: texts by section, scripts, and every element with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.sections: dict[str, str] = {}
        self.scripts: list[str] = []
        self.text = page
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append((tag, dict(attributes).get("id") or ""))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1][0] == "script":
            self.scripts[-1] += data
        for tag, name in self.open:
            if tag == "section":
                self.sections[name] = self.sections.get(name, "") + data


def page_of(ledger: Ledger, folder: Path) -> Page:
    page = Page(write_report(ledger, folder / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    return page


pytestmark = pytest.mark.usefixtures("clip_cache")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Return the published run, a real one."""
    return page_of(runs.read(FRONTIER), tmp_path_factory.mktemp("published"))


def data_of(page: Page) -> Any:
    return json.loads(page.scripts[0])


def test_every_section_has_its_words(published: Page) -> None:
    assert [name for name in published.sections if name in TITLES] == TITLES
    compared = json.loads((FRONTIER / "comparison.json").read_text())
    volumes = [f"{each['value']:.3f} [{each['low']:.3f}, {each['high']:.3f}]" for each in list(compared.values())[:2]]
    best = frame.selected_front(runs.read(FRONTIER)).iloc[-1]
    label, accuracy = best["label"], f"{best['accuracy']:.3f} [{best['low']:.3f}, {best['high']:.3f}]"
    for name, words in {
        "frontier": (label, accuracy),
        "importance": ("correlation at equal cost", "temporal kernel", "not enough evidence"),
        "volume": ("searched front", *volumes),
        "reliability": ("test_accuracy", "log-FLOPs", "Re-evaluations of 12"),
        "family": ("A6", "281.00", "best expected accuracy at", "posterior mean"),
        "failures": ("No failures",),
        "reproduce": (runs.read(FRONTIER).header.data_hash[:16], "run_search.py reproduce", "2.21.0", "early_stopping"),
    }.items():
        assert all(each in published.sections[name] for each in words), name


def test_the_page_may_run_nothing_but_its_two_scripts_and_ask_for_nothing(published: Page) -> None:
    (policy,) = (a["content"] for tag, a in published.elements if a.get("http-equiv") == "Content-Security-Policy")
    kinds = [a.get("type") for tag, a in published.elements if tag == "script"]
    assert kinds == ["application/json", None, None] and policy is not None
    hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in published.scripts[1:]]
    assert policy.split("; ")[:2] == ["default-src 'none'", "script-src " + " ".join(f"'sha256-{h}'" for h in hashes)]
    assert "unsafe-eval" not in policy and "http:" not in policy and "https:" not in policy
    for tag, attributes in published.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        assert not {"src", "action", "srcset"} & attributes.keys(), tag
        assert (attributes.get("href") or "#").startswith(("#", "data:")), tag


def test_the_data_is_that_of_the_tables(published: Page) -> None:
    ledger, data = runs.read(FRONTIER), data_of(published)
    trials, front = frame.trials(ledger), frame.selected_front(ledger)
    assert data["trials"]["index"] == trials["index"].tolist()
    kinds = [data["trials"]["kind"]["levels"][code] for code in data["trials"]["kind"]["codes"]]
    assert kinds == trials["kind"].tolist()
    accuracy = [np.nan if each is None else each for each in data["trials"]["accuracy"]]
    np.testing.assert_allclose(accuracy, trials["accuracy"], atol=1e-5)
    networks = data["networks"]
    assert [networks["fingerprint"][i] for i in data["trials"]["network"]] == trials["fingerprint"].tolist()
    assert [networks["costs"]["macs"][i] for i in data["front"]["network"]] == front["macs"].tolist()
    assert [each["name"] for each in data["members"]] == [f"a{i}" for i in range(7)]
    assert data["volume"]["value"] == sorted(data["volume"]["value"])
    for measure in data["measures"]:
        assert len(measure["codes"]) == len(networks["fingerprint"]) and max(measure["codes"]) < len(measure["levels"])


def test_of_a_long_run_some_are_drawn_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = runs.read(FRONTIER)
    every, front = frame.trials(ledger), frame.selected_front(ledger)
    monkeypatch.setattr(report_data, "MOST", 20)
    page = page_of(ledger, tmp_path)
    data = data_of(page)
    drawn = every[every["index"].isin(data["trials"]["index"])]
    assert len(data["trials"]["index"]) == len(drawn) < len(every)
    assert set(front["fingerprint"]) | set(every.loc[every["kind"] != "search", "fingerprint"]) <= {
        *drawn["fingerprint"]
    }
    assert len({*data["networks"]["fingerprint"]}) == drawn["fingerprint"].nunique()
    assert f"{len(drawn)} of {len(every)} trials are drawn" in page.text


def test_a_compact_network_has_everything() -> None:
    for network in sampled(np.random.default_rng(0), 20):
        clip, stem, *blocks, head = report_data.compact(network).split("|")
        data = architecture.to_dict(network)
        assert clip == ".".join(str(data["clip"][name]) for name in ("frames", "resolution", "frame_stride"))
        assert int(stem) == network.stem.width and head == f"{network.head.project}.{network.head.dense}"
        for line, block in zip(blocks, network.blocks, strict=True):
            outline, *layers = line.split(" ")
            assert outline == f"{block.width}.{block.stride}"
            assert layers == [f"{a.expand}.{a.kernel[0]}.{a.kernel[1]}.{a.squeeze_excite:d}" for a in block.layers]


def test_the_same_ledger_gives_the_same_bytes(tmp_path: Path) -> None:
    ledger = run(tmp_path / "run", searched=10, repeats=1)
    one, other = (write_report(read(ledger.path), tmp_path / name).read_bytes() for name in ("a", "b"))
    assert one == other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "run"]


def test_a_run_under_way_says_so_and_what_is_missing(tmp_path: Path) -> None:
    folder = played(tmp_path / "run", trials=3)
    page = page_of(runs.read(folder), tmp_path)
    ledger = runs.read(folder)
    shown = tmp_path / "report.html"
    assert f"Not finished: 3 of {ledger.header.config['trials']} candidates proposed" in shown.read_text()
    assert "Not enough evidence" in page.sections["importance"] and "No comparison" in page.sections["volume"]


def test_a_run_with_stopped_trials_alone_has_a_page(tmp_path: Path) -> None:
    records = story(np.random.default_rng(0), 12, 1, references=False)
    kept = [each for each in records if not isinstance(each, Completed)]
    page = page_of(ledger_of(tmp_path / "run", kept), tmp_path)
    assert "No network was trained to the full budget yet" in page.sections["frontier"]
    assert "No family yet" in page.sections["family"] and "No proxy rank correlation" in page.sections["reliability"]


@pytest.mark.parametrize("records", [[], [Rung(0, 10, {"accuracy": 0.5}, 1.0)], [Failed(0, "out of memory", 3)]])
def test_a_run_without_a_finished_trial_is_one_line(
    records: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (network,) = sampled(np.random.default_rng(0), 1)
    ledger_of(tmp_path / "run", [proposal(0, network), *records])
    assert run_search.main(["report", str(tmp_path / "run")]) == 2
    assert "0 trials have finished; there is nothing to show yet" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["ledger.jsonl"]


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run", searched=8, repeats=1)
    page = tmp_path / "missing/report.html"
    assert run_search.main(["report", str(tmp_path / "run"), "--out", str(page)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {page}: ") and said.count("\n") == 1


def with_nasty_texts(folder: Path) -> Ledger:
    """Return a run with markup in every text that its event log may hold."""
    records = story(np.random.default_rng(0), searched=26, repeats=2)
    ledger = ledger_of(folder, [*records, Note(NASTY), Resumed({NASTY: NASTY})])
    lines = [json.loads(line) for line in ledger.path.read_text().splitlines()]
    for line in lines[1:]:
        for key in ("label", "reason", "fingerprint"):
            if line.get(key):
                line[key] += NASTY
    lines[0] |= {"versions": {"python": NASTY}, "data_hash": NASTY, "created": NASTY}
    lines[0]["config"]["note"] = NASTY
    ledger.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read(ledger.path)


def test_markup_in_a_run_is_text_of_its_page(tmp_path: Path) -> None:
    ledger = with_nasty_texts(tmp_path / "<b>run</b>")
    page = page_of(ledger, tmp_path)
    assert sum(tag == "script" for tag, _ in page.elements) == 3
    assert not any(tag in ("img", "b") for tag, _ in page.elements)
    shown = NASTY.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b")
    for name in ("failures", "reproduce"):
        assert shown in page.sections[name], name
    assert any(label.endswith(shown) for label in data_of(page)["trials"]["label"].values())
    raw = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "\u202e" not in raw and "\x1b" not in raw and "<b>run" not in raw


def test_an_architecture_that_is_none_is_named(tmp_path: Path) -> None:
    ledger = run(tmp_path / "run", searched=8, repeats=1)
    broken = ledger.path.read_text().replace('"frame_stride":', '"frame_strife":')
    ledger.path.write_text(broken)
    with pytest.raises(InputError, match="trial 0: architecture.*frame_strife"):
        write_report(read(ledger.path), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("cost", ['"macs":0', '"sacm":5'])
def test_a_trial_without_its_cost_is_named(cost: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = run(tmp_path / "run", searched=8, repeats=1)
    lines = ledger.path.read_text().splitlines()
    lines[-3] = re.sub('"macs":[0-9]+', cost, lines[-3])
    ledger.path.write_text("\n".join(lines) + "\n")
    assert '"event":"proposal"' in lines[-3] and run_search.main(["report", str(tmp_path / "run")]) == 2
    assert re.fullmatch(r"error: .*cost\.macs: .*\n", capsys.readouterr().err)


def test_what_happened_on_the_way_is_told_and_latencies_are_among_the_costs(tmp_path: Path) -> None:
    records = [
        dataclasses.replace(each, metrics={**each.metrics, "latency_ms": 4.25}) if isinstance(each, Completed) else each
        for each in story(np.random.default_rng(0), searched=20, repeats=1)
    ]
    told = [Note("trial 3: its worker died; attempt 1 of 3"), Resumed({"numpy": "2.9"})]
    page = page_of(ledger_of(tmp_path / "run", [*records, *told]), tmp_path)
    words = page.sections["failures"]
    assert "out of memory" in words and "its worker died; attempt 1 of 3" in words and "resumed" in words
    assert "latency_ms" in page.sections["frontier"] and "4.25" in page.sections["frontier"]


def test_the_command_writes_into_the_folder_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(FRONTIER, tmp_path / "run", ignore=shutil.ignore_patterns("*.png"))
    assert run_search.main(["report", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": [str(tmp_path / "run/report.html")]}


def test_pieces_of_markup() -> None:
    assert text('<a> & "b"') == "&lt;a&gt; &amp; &quot;b&quot;" and text(text("<")) == "&lt;"
    made = table("a < b", ["x", "y"], [["<u>", 1]])
    assert "<u>" not in made and re.findall(r"<t[hd][^>]*>", made) == [
        *("<thead>", '<th scope="col">', '<th scope="col" class="number">'),
        *('<th scope="row">', '<td class="number">'),
    ]
    assert interval(-0.5, float("nan"), float("nan")) == "−0.50" and interval(float("nan"), 0, 1) == "–"
    assert interval(0.25, -0.1, 0.3) == "+0.25 [−0.10, +0.30]"
    assert bar(float("nan"), 0, 0, False) == "" and 'cx="60.0"' in bar(0, -1, 1, False)
    line = script_data({"</script>": "<!--&\u2028"})
    assert not set("<>&\u2028") & set(line) and json.loads(line) == {"</script>": "<!--&\u2028"}
