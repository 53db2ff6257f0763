"""Outputs are whole or absent."""

from __future__ import annotations

import resource
import signal

import pytest
import torch
from safetensors.torch import save_file

from ecotone.errors import DataError
from ecotone.files import new_folder, replacing


def test_a_whole_file_takes_the_place_of_the_old_one(tmp_path):
    file = tmp_path / "deep" / "a.txt"
    for text in ("first", "second"):
        with replacing(file) as temporary:
            temporary.write_text(text)
        assert file.read_text() == text
    assert [p.name for p in file.parent.iterdir()] == ["a.txt"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(file) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_that_may_grow_no_further_is_one_sentence(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the kernel ends the process
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DataError, match=r"cannot write .*big\.bin"), replacing(tmp_path / "big.bin") as temporary:
            temporary.write_bytes(b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(DataError, match="no space left on the disk"), replacing(tmp_path / "a.bin") as temporary:
        temporary.touch()
        with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 (a device, not a path of ours)
            full.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_be_read_by_whom_the_user_lets_read_any_other_file(tmp_path):
    save = {"a": torch.ones(2)}
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "x.safetensors") as temporary:
        save_file(save, temporary)
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_of_two_that_write_one_folder_the_first_to_end_wins(tmp_path):
    with pytest.raises(DataError, match="cannot write"), new_folder(tmp_path / "a") as slow:
        (slow / "half").touch()
        with new_folder(tmp_path / "a") as quick:
            (quick / "whole").touch()
        assert (slow / "half").exists()
    assert sorted(f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*")) == ["a", "a/whole"]
