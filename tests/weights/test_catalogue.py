"""Released weights by name: listed as published, fetched and imported on first use."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

import pytest
import yaml

from ecotone.errors import CheckpointError, DataError
from ecotone.weights import catalogue, entry, fetch_model, load_method_state, load_model, model_folder
from ecotone.weights.official.methods import CONVERTERS

ENTRY = {"method": "scale-mae", "licence": "none", "trained_on": "noise", "heads": 2, "decoder_heads": 2}


@pytest.fixture
def listed(server, official_file, tmp_path, monkeypatch):
    """The test's server holds a released file, and the user's catalogue names it."""
    content = official_file.read_bytes()
    server.files["/small.pth"] = content
    row = {"name": "small", "url": f"{server.url}/small.pth", "sha256": hashlib.sha256(content).hexdigest(), **ENTRY}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump([row, {**row, "name": "gone", "url": f"{server.url}/gone.pth"}]))
    monkeypatch.setenv("ECOTONE_CATALOGUE", str(tmp_path / "mine.yaml"))
    return row


def test_every_released_file_has_a_method_that_can_be_imported_and_a_web_address():
    entries = catalogue()
    assert {e.method for e in entries.values()} == set(CONVERTERS)
    assert len({e.url for e in entries.values()}) == len(entries) == 18
    for e in entries.values():
        assert urlsplit(e.url).scheme == "https" and e.licence and e.trained_on


def test_a_name_that_is_not_listed_suggests_the_nearest():
    with pytest.raises(CheckpointError, match=r"named 'spectral-gtp'\. Did you mean 'spectral-gpt'"):
        entry("spectral-gtp")


def test_a_model_may_be_named_and_is_fetched_once(listed, server, scale_mae, cache, capsys):
    model = load_model("small")
    said = capsys.readouterr().err
    assert "downloading" in said and "Licence: none" in said and "29 of 29 tensors" in said
    assert model.folder == cache / "weights" / "models" / "small"
    assert model.card.provenance["imported_from"]["url"] == listed["url"]
    assert load_method_state("small").keys() == scale_mae.state_dict().keys()
    assert model_folder("small") == model.folder
    assert [path for path, _ in server.requests] == ["/small.pth"]
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("listed")
def test_a_folder_of_that_name_comes_first(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    with pytest.raises(CheckpointError, match="small is not a model; found a folder without them"):
        load_model("small")
    assert not server.requests


@pytest.mark.usefixtures("listed")
def test_a_file_that_moved_leaves_no_model(cache):
    with pytest.raises(DataError, match="found 404"):
        load_model("gone")
    assert not (cache / "weights" / "models" / "gone").exists()


@pytest.mark.usefixtures("listed")
def test_an_import_that_was_cut_off_is_done_again(cache):
    folder = fetch_model("small", lambda text: None)
    (folder / "ecotone.yaml").unlink()  # the card is written last
    assert (fetch_model("small", lambda text: None) / "ecotone.yaml").exists()


@pytest.mark.parametrize(
    "content", ["- {name: x}", "name: [", "3", "- {name: ../x, method: m, url: u, licence: l, trained_on: t}"]
)
def test_a_catalogue_that_is_none_says_so(content, tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(content)
    monkeypatch.setenv("ECOTONE_CATALOGUE", str(tmp_path / "mine.yaml"))
    with pytest.raises(CheckpointError, match=r"mine\.yaml is no list of released weights"):
        catalogue()
    monkeypatch.setenv("ECOTONE_CATALOGUE", str(tmp_path / "nothing.yaml"))
    with pytest.raises(CheckpointError, match="cannot read the catalogue"):
        catalogue()
