"""Official files are read as data: what they hold arrives, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
import subprocess
from argparse import Namespace
from pathlib import PosixPath

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ecotone.errors import CheckpointError
from ecotone.weights.official import read_checkpoint
from ecotone.weights.official.reading import plain

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}


def save(content, folder, name="x.pth", **options):
    torch.save(content, folder / name, **options)
    return folder / name


def assert_state(found):
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[k], STATE[k]) for k in STATE)


def test_a_whole_training_checkpoint_gives_weights_epoch_and_plain_options(official, official_file):
    read = read_checkpoint(official_file)
    assert read.state.keys() == official.keys()
    assert all(torch.equal(read.state[k], official[k]) for k in official)
    assert read.epoch == 799
    assert read.args == {
        "output_dir": "/data/out", "lr": 1.5e-4, "band_config": [14, 224], "use_l1_loss": True, "seed": None
    }  # fmt: skip
    assert len(read.sha256) == 64


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "content",
    [
        {"model": STATE},
        {"state_dict": STATE, "epoch": 3},
        STATE,
        {f"module.{k}": v for k, v in STATE.items()},
        {"model": {f"module.{k}": v for k, v in STATE.items()}, "args": Namespace(out=PosixPath("/x"))},
    ],
    ids=["model", "state_dict", "flat", "module", "model-module"],
)
def test_every_layout_gives_the_same_weights(content, zipped, tmp_path):
    assert_state(read_checkpoint(save(content, tmp_path, _use_new_zipfile_serialization=zipped)).state)


def test_safetensors_are_read_too(tmp_path):
    save_file(STATE, tmp_path / "x.safetensors")
    assert_state(read_checkpoint(tmp_path / "x.safetensors").state)


def test_a_module_prefix_stays_when_not_all_names_have_it(tmp_path):
    state = read_checkpoint(save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path)).state
    assert state.keys() == {"module.a", "b"}


class Runs:
    """What a hostile file holds: it would run a command when it is loaded."""

    def __init__(self, function, *arguments):
        self.how = (function, arguments)

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", ["args", "model", "alone"])
def test_a_file_that_would_run_code_is_refused_by_name_and_does_not_run(place, zipped, tmp_path):
    mark = tmp_path / "it-ran"
    for function, name in ((os.system, "system"), (subprocess.getoutput, "getoutput"), (eval, "eval")):
        words = f"open({str(mark)!r}, 'w')" if function is eval else f"touch {mark}"
        content = {"alone": Runs(function, words)}.get(place) or {"model": STATE, place: Runs(function, words)}
        file = save(content, tmp_path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match=rf"would run code .*found the global \S*{name}"):
            read_checkpoint(file)
        assert not mark.exists()
    file.unlink()
    torch.load(save(Runs(os.system, f"touch {mark}"), tmp_path), weights_only=False)
    assert mark.exists(), "the file is not hostile, so that this test proves nothing"


def test_a_plain_pickle_is_no_checkpoint_and_does_not_run(tmp_path):
    mark = tmp_path / "it-ran"
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"model": Runs(os.system, f"touch {mark}")}, protocol=2))
    with pytest.raises(CheckpointError, match=r"found the global posix\.system|damaged"):
        read_checkpoint(tmp_path / "x.pth")
    assert not mark.exists()


def test_truncated_files_say_so_at_any_length(official_file):
    whole = official_file.read_bytes()
    for part in (0, 1, 4, 100, len(whole) // 2, len(whole) - 1):
        official_file.write_bytes(whole[:part])
        with pytest.raises(CheckpointError, match=r"incomplete|damaged|is no checkpoint"):
            read_checkpoint(official_file)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_other_bytes_are_no_checkpoint(content, tmp_path):
    for name in ("x.pth", "x.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "found"),
    [([1, 2], "list"), ({"epoch": 3}, "epoch"), ({}, "nothing"), ({"model": {}}, "nothing"), (torch.ones(2), "Tensor")],
)
def test_a_file_without_weights_says_what_it_holds(content, found, tmp_path):
    with pytest.raises(CheckpointError, match=f"holds no weights; found .*{found}"):
        read_checkpoint(save(content, tmp_path))


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="claims more values than the file holds"):
        read_checkpoint(save({"a": torch.ones(1).expand(10_000, 10_000)}, tmp_path))


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * 10_000_000)
    with pytest.raises(CheckpointError, match="not compressed"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint file .*found nothing"):
        read_checkpoint(tmp_path / "nothing.pth")
    with pytest.raises(CheckpointError, match="found a folder"):
        read_checkpoint(tmp_path)


def test_options_become_plain_values():
    args = Namespace(a=(1, PosixPath("/b")), c={"d": Namespace(e=None)}, f=torch.float16)
    assert plain(args) == {"a": [1, "/b"], "c": {"d": {"e": None}}, "f": "torch.float16"}
