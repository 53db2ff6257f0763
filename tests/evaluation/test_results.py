"""Folders of results: the contract first, no score twice, none lost, whenever a process is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecotone.errors import DataError, RecipeError
from ecotone.evaluation import evaluate
from ecotone.evaluation.contract import Contract, Data, Gsd, Resize
from ecotone.evaluation.protocols import LinearProbe
from ecotone.evaluation.result_files import Question
from ecotone.evaluation.results import Kept, ResultFolder
from ecotone.metrics import Answers
from ecotone.weights import save_model

METRICS = ("accuracy", "macro_f1")
CONTRACT = Contract(
    ecotone="0.1.0",
    data=Data(name="d", manifest="m", split="s", split_kind=None, n={"train": 3, "val": 2, "test": 9}),
    inputs=(),
    resize=Resize(size=(32, 32), multiple=4, scale_protocol="native", scales=(1.0, 0.5)),
    gsd=Gsd(source="declared", metres=10.0),
    task="classification",
    metrics={"knn": METRICS},
    protocols={"knn": {"k": 20}},
    seeds=(0,),
)


def question(number: int) -> Question:
    return Question(contestant=f"c{number}", floor=False, model=f"{number:016x}", protocol="knn", scale=1.0, seed=0)


def kept(number: int, *, chosen: int = 1) -> Kept:
    g = torch.Generator().manual_seed(number)
    truth, decisions = torch.randint(3, (2, 9), generator=g)
    return Kept(Answers(truth, decisions), {"k": chosen})


def lines(folder: Path) -> list[str]:
    return (folder / "results.jsonl").read_text("utf-8").splitlines()


def same(one: Kept | None, other: Kept) -> bool:
    return one is not None and one.settings == other.settings and one.answers.decisions.equal(other.answers.decisions)


@pytest.fixture
def three(tmp_path):
    folder = ResultFolder(tmp_path / "out", CONTRACT)
    for i in range(3):
        folder.add(question(i), METRICS, kept(i))
    return tmp_path / "out"


def test_the_contract_lies_there_before_any_score_with_the_hash_of_its_very_characters(tmp_path):
    ResultFolder(tmp_path, CONTRACT)
    text = (tmp_path / "contract.json").read_text("utf-8")
    assert text == f'{{"contract":"{CONTRACT.hash}","settings":{CONTRACT.canonical()}}}\n'
    assert not (tmp_path / "results.jsonl").exists()


def test_every_line_names_its_contract_and_a_complete_one_is_never_written_again(three):
    before = (three / "results.jsonl").read_bytes()
    again = ResultFolder(three, CONTRACT)
    assert same(again.add(question(1), METRICS, kept(1, chosen=7)), kept(1))
    assert (three / "results.jsonl").read_bytes() == before
    content = [json.loads(line) for line in lines(three)]
    assert {c["contract"] for c in content} == {CONTRACT.hash}
    assert [c["id"] for c in content] == [f"{i:016x}/knn/1.0/0/{m}" for i in range(3) for m in METRICS]


@given(cut=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_at_any_byte_is_completed_to_what_it_was(three, cut):
    file = three / "results.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: cut % (len(whole) + 1)])
    folder = ResultFolder(three, CONTRACT)
    assert file.read_bytes() == whole[: whole.rfind(b"\n", 0, cut % (len(whole) + 1)) + 1]
    for i in range(3):
        assert same(folder.recall(question(i), METRICS) or folder.add(question(i), METRICS, kept(i)), kept(i))
    assert file.read_bytes() == whole


def test_the_last_line_cut_at_every_byte_is_repaired(three):
    file = three / "results.jsonl"
    whole = file.read_bytes()
    start = whole.rfind(b"\n", 0, -1) + 1
    for cut in range(start, len(whole)):
        file.write_bytes(whole[:cut])
        ResultFolder(three, CONTRACT).add(question(2), METRICS, kept(2))
        assert file.read_bytes() == whole


def add_all(folder: Path, order: list[int]) -> None:
    results = ResultFolder(folder, CONTRACT)
    for i in order:
        results.add(question(i), METRICS, kept(i))


def test_processes_that_write_at_once_lose_and_repeat_nothing(tmp_path):
    order = list(range(40))
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(add_all, [tmp_path] * 2, [order, order[::-1]]))
    found = [json.loads(line)["id"] for line in lines(tmp_path)]
    assert sorted(found) == sorted(question(i).line_id(m) for i in order for m in METRICS)
    folder = ResultFolder(tmp_path, CONTRACT)
    assert all(same(folder.recall(question(i), METRICS), kept(i)) for i in order)


def test_lost_answers_are_made_again_only_to_the_bit(three):
    for file in (three / "answers").iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    folder = ResultFolder(three, CONTRACT)
    with pytest.warns(UserWarning, match="lost or damaged"):
        assert folder.recall(question(0), METRICS) is None
    with pytest.warns(UserWarning, match="lost or damaged"):
        folder.add(question(0), METRICS, kept(0))
    assert same(folder.recall(question(0), METRICS), kept(0))
    with pytest.warns(UserWarning), pytest.raises(DataError, match="are lost, and the new ones are not the same"):
        folder.add(question(1), METRICS, kept(5))


def test_another_contract_is_refused_and_the_settings_are_named(three):
    other = CONTRACT.model_copy(
        update={"protocols": {"knn": {"k": 5}}, "resize": CONTRACT.resize.model_copy(update={"scales": (1.0,)})}
    )
    with pytest.raises(RecipeError, match=r"2 settings differ; found protocols.knn.k 20; resize.scales \[1.0, 0.5\]"):
        ResultFolder(three, other)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "contract.json").unlink(), "holds no contract.json"),
        (lambda f: (f / "contract.json").write_text("{"), "cannot be read"),
        (lambda f: edit(f / "contract.json", '"metres":10.0', '"metres":20.0'), "was changed"),
        (lambda f: edit(f / "results.jsonl", '"value": ', '"worth": '), "no score"),
        (lambda f: edit(f / "results.jsonl", CONTRACT.hash, "0" * 64), "another contract"),
        (lambda f: edit(f / "results.jsonl", '"model": "0', '"model": "/'), "no score"),
    ],
)
def test_what_was_changed_by_hand_is_refused(three, damage, message):
    damage(three)
    with pytest.raises(DataError, match=message):
        ResultFolder(three, CONTRACT)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot write"):
        ResultFolder(tmp_path / "file" / "out", CONTRACT)


@pytest.fixture
def data(lamps):
    return lamps("multilabel", counts=(30, 20, 24))


def test_a_finished_folder_gives_the_same_report_without_fitting_or_asking_again(
    data, tiny_encoder, tmp_path, monkeypatch
):
    options = {"scales": (1, 0.5), "protocols": ["knn", "linear", "retrieval"], "seeds": 2}
    plain = evaluate([tiny_encoder(patch=8)], data, **options)
    first = evaluate([tiny_encoder(patch=8)], data, out=tmp_path / "out", **options)
    before = lines(tmp_path / "out")
    said = [json.loads(line) for line in before]
    assert len({line["id"] for line in said}) == len(said)
    assert {(line["contestant"], line["protocol"], line["scale"], line["metric"]) for line in said} == {
        (r.encoder, r.protocol, r.scale, r.metric) for r in (*first.rows, *first.others)
    }
    assert {line["seed"] for line in said if line["contestant"] == "random init"} == {0, 1}
    monkeypatch.setattr(LinearProbe, "select", None)
    again = evaluate([tiny_encoder(patch=8)], data, out=tmp_path / "out", **options)
    assert lines(tmp_path / "out") == before
    assert again.to_json() == first.to_json() == plain.to_json()
    again.save_html(tmp_path / "again.html")
    first.save_html(tmp_path / "first.html")
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "first.html").read_bytes()


@pytest.mark.parametrize("change", ["pixels", "order", "unit"])
def test_a_change_of_data_that_moves_scores_changes_the_contract(data, tiny_encoder, tmp_path, change):
    def contract():
        return evaluate([tiny_encoder()], data, scales=(1,), protocols=["knn"], floors=False).contract

    before = contract()
    if change == "pixels":
        (data / "test1.png").write_bytes((data / "test2.png").read_bytes())
    elif change == "order":
        head, one, two, *rest = (data / "manifest.csv").read_text().splitlines()
        (data / "manifest.csv").write_text("\n".join([head, two, one, *rest]) + "\n")
    else:
        edit(data / "dataset.yaml", "gsd: 10.0", "gsd: 10.0\nlicence: CC0")
    after = contract()
    assert after.hash != before.hash and after.data.manifest == before.data.manifest


def command(run: Path, data: Path, out: Path, kept: Path) -> list[str]:
    options = f"--data {data} --protocol knn,linear --scales 1,0.5 --out {out} --cache {kept} --json {out}.json"
    return [sys.executable, "-m", "ecotone", "evaluate", str(run), *options.split()]


def start(*args: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(*args), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_after(process: subprocess.Popen[bytes], out: Path, count: int) -> None:
    """End a process the hard way as soon as there is a contract and so many bytes of scores."""
    file = out / "results.jsonl"
    while process.poll() is None:
        if (out / "contract.json").exists() and (not count or (file.exists() and file.stat().st_size >= count)):
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.0005)
    process.wait()


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_an_evaluation_killed_again_and_again_ends_with_the_report_of_one_that_was_not(data, tiny_encoder, tmp_path):
    save_model(tiny_encoder(patch=8), tmp_path / "run" / "model", name="x", image_size=16)
    whole, out, kept = tmp_path / "whole", tmp_path / "out", tmp_path / "kept"
    assert start(tmp_path / "run", data, whole, kept).wait() == 0
    size = (whole / "results.jsonl").stat().st_size
    for count in (0, 1, size // 2):
        kill_after(start(tmp_path / "run", data, out, kept), out, count)
    pair = [start(tmp_path / "run", data, out, kept) for _ in range(2)]  # and two at once bring it to its end
    assert [p.wait() for p in pair] == [0, 0]
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert sorted(lines(out)) == sorted(lines(whole))
    shutil.rmtree(out / "answers")
    assert start(tmp_path / "run", data, out, kept).wait() == 0
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
