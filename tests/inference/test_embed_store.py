from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import zarr
from filelock import FileLock
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.embeddings import delete_source, open_store
from ecotone.embeddings.folder import LOCK
from ecotone.errors import DataError, InputError, OutputError
from ecotone.inference import EmbedOptions, embed_raster, embed_sources
from ecotone.inference.embedder import Embedder
from ecotone.rasters import Source, list_sources, open_raster


@pytest.fixture
def scenes(write_tif, scene):
    """Two scenes in a folder of their own."""
    folder = write_tif(scene).parent / "scenes"
    folder.mkdir()
    for shift, name in enumerate(("a.tif", "b.tif")):
        write_tif(np.roll(scene[:, :64, :96], shift, 0), f"scenes/{name}")
    return folder


@pytest.fixture
def embed(means, scenes, tmp_path):
    """Embed the scenes, or these sources, into ``store``."""

    def run(*sources, model=None, sensor="rgb", overwrite=False, zarr=False, on_progress=None, **options):
        listed = sources if sources and isinstance(sources[0], Source) else list_sources(list(sources) or scenes)
        options = EmbedOptions(**options)
        return embed_sources(
            model or means(), listed, out=tmp_path / "store", options=options, choices={"sensor": sensor},
            overwrite=overwrite, zarr=zarr, on_progress=on_progress,
        )  # fmt: skip

    return run


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def ids(store):
    return [part.facts.source_id.rpartition("-")[0] for part in store.parts]


def test_a_folder_of_scenes_becomes_one_store_whose_rows_are_those_of_its_scenes(embed, means, scenes, tmp_path):
    report = embed()
    store = open_store(tmp_path / "store")
    assert ids(store) == ["a", "b"] and len(store) == report.rows == 12 and not report.quarantine
    for name, rows in (("a.tif", slice(0, 6)), ("b.tif", slice(6, 12))):
        with open_raster(scenes / name, sensor="rgb") as raster:
            embed_raster(means(), raster, out=tmp_path / "one.parquet")
        assert np.array_equal(store.vectors[rows], open_store(tmp_path / "one.parquet").vectors)
    table = store.columns(["id", "source"]).to_pydict()
    assert len(set(table["id"])) == 12
    assert sorted(set(table["source"])) == [str((scenes / n).resolve()) for n in ("a.tif", "b.tif")]
    for part in store.parts:
        with rasterio.open(tmp_path / "store" / "pictures" / f"{part.facts.source_id}.tif") as file:
            assert file.shape == (2, 3)


def test_what_is_done_is_skipped_and_more_scenes_append(embed, write_tif, scene, scenes, tmp_path):
    embed()
    before = contents(tmp_path / "store")
    again = embed()
    assert len(again.skipped) == 2 and not again.embedded and contents(tmp_path / "store") == before
    write_tif(scene[:, :32, :32], "scenes/c.tif")
    more = embed()
    assert (len(more.skipped), len(more.embedded), more.sources, more.rows) == (2, 1, 3, 13)
    after = contents(tmp_path / "store")
    assert {k: after[k] for k in before} == before
    assert len(embed(overwrite=True).embedded) == 3


def test_a_scene_or_a_declaration_that_changed_is_embedded_anew(embed, write_tif, scene, scenes, tmp_path):
    embed()
    write_tif(scene[:, :32, :32], "scenes/a.tif")
    changed = embed()
    assert len(changed.skipped) == 1 and changed.rows == 7
    with rasterio.open(next((tmp_path / "store" / "pictures").glob("a-*.tif"))) as file:
        assert file.shape == (1, 1)
    (scenes / "dataset.yaml").write_text("sensor: rgb")
    assert len(embed(sensor=None).embedded) == 2
    for at_gsd in (12.0, "model"):
        assert len(embed(sensor=None, at_gsd=at_gsd).embedded) == 2
        assert len(embed(sensor=None, at_gsd=at_gsd).skipped) == 2
        assert {p.facts.gsd for p in open_store(tmp_path / "store").parts} == {12.0 if at_gsd == 12 else 10.0}


def test_grids_are_made_of_what_is_done_and_go_with_the_rows_they_show(
    embed, means, write_tif, scene, scenes, tmp_path
):
    embed()
    assert len(embed(zarr=True).skipped) == 2
    grids = sorted((tmp_path / "store" / "grids").iterdir())
    assert [g.name[0] for g in grids] == ["a", "b"]
    write_tif(scene[:, :32, :32], "scenes/a.tif")
    embed()
    assert sorted((tmp_path / "store" / "grids").iterdir()) == grids[1:]
    embed(zarr=True)
    assert zarr.open_group(grids[0])["embedding"].shape == (3, 1, 1)
    for width in (96, 32):
        with open_raster(write_tif(scene[:, :32, :width]), sensor="rgb") as raster:
            files = embed_raster(means(), raster, out=tmp_path / "one.parquet", zarr=True).files
        assert files["grid"] == str(tmp_path / "one.zarr")
        assert zarr.open_group(files["grid"])["embedding"].shape == (3, 1, width // 32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chip": 16}, "chip differ.*found chip 16.*expected chip 32"),
        ({"dtype": "int8"}, "dtype differ"),
        ({"per": "patch", "min_valid": 0.1}, "per and min_valid differ"),
    ],
)
def test_a_store_refuses_rows_that_do_not_compare_with_its_own(embed, tmp_path, options, words):
    embed()
    before = contents(tmp_path / "store")
    with pytest.raises(DataError, match=words):
        embed(**options)
    assert contents(tmp_path / "store") == before


def test_a_store_refuses_another_model_or_input_spec(embed, means, tmp_path):
    embed()
    for other, word in ((means(hash="f" * 16), "model_hash"), (means(gsd=(1, 20)), "spec_hash")):
        with pytest.raises(DataError, match=f"{word} differ"):
            embed(model=other)
    with open_raster(tmp_path / "scene.tif", sensor="rgb") as raster, pytest.raises(DataError, match="model_hash"):
        embed_raster(means(hash="f" * 16), raster, out=tmp_path / "store")


def test_what_fails_is_listed_with_its_reason_and_the_rest_is_done(embed, write_tif, scene, scenes, tmp_path):
    truncated = write_tif(np.tile(scene, (1, 4, 4)), "scenes/aa.tif")
    truncated.write_bytes(truncated.read_bytes()[:200_000])
    write_tif(scene, "scenes/ab.tif", place=None)
    write_tif(np.zeros_like(scene), "scenes/ac.tif", nodata=0)
    (scenes / "ae.tif").write_text("no raster")
    report = embed()
    words = {"aa": "cannot read", "ab": "no usable georeference", "ac": "valid pixels", "ae": "cannot read"}
    assert sorted(Path(p).stem for p in report.quarantine) == sorted(
        {*words} | {"ad"} & {Path(p).stem for p in report.quarantine}
    )
    for uri, reason in report.quarantine.items():
        assert words.get(Path(uri).stem, "GSD") in reason
    assert {"a", "b"} <= set(ids(open_store(tmp_path / "store")))
    listed = json.loads((tmp_path / "store" / "quarantine.json").read_text())["reasons"]
    assert listed == report.quarantine
    write_tif(scene, "scenes/ab.tif")
    mended = embed()
    assert len(mended.embedded) == 1
    left = json.loads((tmp_path / "store" / "quarantine.json").read_text())["reasons"]
    assert {Path(p).stem for p in left} == {Path(p).stem for p in listed} - {"ab"}
    assert list((tmp_path / "store").rglob(".*.tmp")) == []


def test_a_run_in_which_all_fails_leaves_only_its_reasons(embed, write_tif, scene, tmp_path):
    report = embed(write_tif(scene, place=None))
    assert len(report.quarantine) == 1 and report.rows == 0
    assert {str(p) for p in contents(tmp_path / "store")} == {LOCK, "quarantine.json"}


def test_vectors_that_are_not_finite_put_a_source_into_quarantine(embed, means, monkeypatch, tmp_path):
    model = means()
    whole = type(model.encoder).forward_intermediates
    seen = []

    def broken(prepared, layers):
        features = whole(model.encoder, prepared, layers)
        seen.append(1)
        return features if len(seen) != 2 else type(features)(features.maps, features.strides, features.pooled / 0)

    monkeypatch.setattr(model.encoder, "forward_intermediates", broken)
    report = embed(model=model)
    assert len(report.embedded) == 1 and "not finite" in next(iter(report.quarantine.values()))


def test_a_damaged_source_is_made_anew(embed, tmp_path):
    embed()
    before = contents(tmp_path / "store")
    part = next((tmp_path / "store" / "sources").glob("a-*"))
    part.write_bytes(part.read_bytes()[:500])
    with pytest.raises(DataError, match="Delete it and run the same ecotone embed again"):
        open_store(tmp_path / "store")
    assert len(embed().embedded) == 1
    assert contents(tmp_path / "store") == before


def test_sources_of_one_id_are_refused(embed, scenes, tmp_path):
    with pytest.raises(DataError, match="two sources have the same id"):
        embed(Source("x", str(scenes / "a.tif")), Source("x", str(scenes / "b.tif")))
    embed(Source("x", str(scenes / "a.tif")))
    report = embed(Source("x", str(scenes / "b.tif")))
    assert "belongs to another source" in next(iter(report.quarantine.values()))


def test_deleting_a_source_by_its_path_takes_its_pictures_along(embed, scenes, tmp_path, monkeypatch):
    embed()
    monkeypatch.chdir(scenes)
    assert delete_source(tmp_path / "store", "a.tif") and not delete_source(tmp_path / "store", "a.tif")
    assert [p.name[0] for p in (tmp_path / "store").rglob("?-*")] == ["b"] * 3
    with pytest.raises(DataError, match="not a store"):
        delete_source(scenes, "a.tif")


def test_pictures_of_embeddings_are_not_taken_for_scenes(embed, means, scenes, tmp_path):
    with open_raster(scenes / "a.tif", sensor="rgb") as raster:
        embed_raster(means(), raster, out=scenes / "one.parquet")
        embed_raster(means(), raster, out=scenes / "other")
    assert len(list_sources(scenes)) > 2
    embed()
    assert ids(open_store(tmp_path / "store")) == ["a", "b"]


def test_an_output_that_cannot_be_written_is_one_sentence(embed, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "sources").symlink_to("/proc/nowhere")
    with pytest.raises(OutputError, match=r"cannot write .*store"):
        embed()


def test_a_store_that_lost_its_facts_says_so(embed, tmp_path):
    embed()
    (tmp_path / "store" / "store.json").unlink()
    with pytest.raises(DataError, match=r"has lost its store.json.*Put it back"):
        embed()


@pytest.mark.parametrize("name", ["quarantine.json", "pictures/components.json"])
def test_a_damaged_small_file_is_named_and_made_again_once_deleted(embed, write_tif, scene, tmp_path, name):
    embed()
    file = tmp_path / "store" / name
    file.write_text("{half")
    with pytest.raises(DataError, match=rf"{name} is damaged.*Delete it"):
        embed(write_tif(scene), overwrite=True)
    file.unlink()
    assert embed(write_tif(scene)).sources == 3


def test_two_writers_do_not_share_a_store(embed, tmp_path):
    (tmp_path / "store").mkdir()
    with FileLock(tmp_path / "store" / LOCK), pytest.raises(DataError, match="another process writes into the store"):
        embed()


def test_a_folder_with_other_content_is_left_alone(embed, scenes, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"not empty and holds no store.*found notes.txt"):
        embed()
    assert {str(p) for p in contents(tmp_path / "store")} == {"notes.txt"}


def test_a_disk_without_space_stops_the_run_and_keeps_what_was_done(embed, tmp_path):
    """The second source meets a limit on the size of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the kernel ends the process

    def fill(step):
        if step.number == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))

    try:
        with pytest.raises(OutputError, match=r"cannot write .*b-"):
            embed(on_progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert ids(open_store(tmp_path / "store")) == ["a"]
    assert len(embed().skipped) == 1 and ids(open_store(tmp_path / "store")) == ["a", "b"]


@pytest.fixture
def two_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_windows_are_read_ahead_while_the_model_runs_with_the_same_result(means, tmp_path, scene, two_cores):
    """Reading and what uses the rows wait for each other: one after the other they would never meet."""
    path, met = tmp_path / "tall.tif", threading.Barrier(2)
    profile = {"count": 3, "height": 320, "width": 32, "dtype": "uint8", "blockysize": 32, "photometric": "rgb"}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(np.tile(scene[:, :, :32], (1, 4, 1)))
    options = EmbedOptions(batch_size=1, min_valid=0)
    with open_raster(path, sensor="rgb", gsd=10) as raster:
        alone = np.concatenate([r.vectors for r in Embedder(means(), raster, options).rows()])
        embedder, read = Embedder(means(), raster, options), raster.read_rows
        reads = []

        def waiting(start, stop, out):
            reads.append(start)
            if len(reads) == 5:
                met.wait(30)
            return read(start, stop, out)

        raster.read_rows = waiting
        found = []
        for rows in embedder.rows():
            found.append(rows.vectors)
            if len(found) == 1:
                met.wait(30)
    assert np.array_equal(np.concatenate(found), alone) and len(reads) == len(found) == 10


def test_progress_counts_sources_windows_pixels_and_area(embed):
    steps = []
    report = embed(on_progress=steps.append, batch_size=2)
    assert [(s.number, s.done, s.total) for s in steps if s.total > 1] == [(n, d, 6) for n in (0, 1) for d in (2, 4, 6)]
    assert [s.mpix for s in steps] == sorted(s.mpix for s in steps)
    assert steps[-1].mpix == report.mpix == pytest.approx(2 * 64 * 96 / 1e6)
    assert steps[-1].km2 == pytest.approx(report.mpix * 100)


def test_a_model_of_several_roles_is_refused_once(embed, means):
    model = means()
    spec = model.encoder.spec
    model.encoder.spec = spec.model_copy(update={"roles": {**spec.roles, "sentinel1": spec.optical}})
    with pytest.raises(InputError, match="a single raster cannot feed this model"):
        embed(model=model)


KILLED = """
import os, shutil, signal, sys
from ecotone.embeddings.folder import LOCK
from ecotone.inference import EmbedOptions, embed_sources
from ecotone.rasters import list_sources
from ecotone.weights import load_model

def embed(number, done):
    def end(step):
        if (step.number, step.done) == (number, done):
            os.kill(os.getpid(), signal.SIGKILL)
    embed_sources(load_model(sys.argv[1]), list_sources("scenes"), out="store", options=EmbedOptions(batch_size=2),
                  choices={"sensor": "rgb"}, on_progress=end)

for moment in ((9, 0), (0, 2), (0, 6), (0, 1), (1, 4), (1, 1), (9, 0)):
    process = os.fork()
    if not process:
        embed(*moment)
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    names = os.listdir("store/sources")
    print(int(killed), sum(n[0] != "." for n in names), sum(n[0] == "." for n in names))
    if moment == (9, 0):
        os.rename("store", "undisturbed" if not os.path.exists("undisturbed") else "killed")
"""


def test_killed_at_any_moment_a_second_run_continues_and_the_files_are_equal_to_the_byte(vit_folder, scenes, tmp_path):
    words = [sys.executable, "-c", KILLED, vit_folder()]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    # Killed or not, sources that are whole, and those that are half-written.
    assert done.stdout.split("\n")[:-1] == ["0 2 0", "1 0 1", "1 0 1", "1 1 0", "1 1 1", "1 2 0", "0 2 0"]
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


def test_the_command_line_ends_with_an_error_when_a_source_fails(
    vit_folder, write_tif, scene, scenes, tmp_path, monkeypatch
):
    write_tif(scene, "scenes/c.tif", place=None)
    monkeypatch.chdir(tmp_path)
    words = ("embed", "scenes", "--model", vit_folder(), "--sensor", "rgb", "--out", "cli", "--per", "patch",
             "--dtype", "float16", "--json", "out.json")  # fmt: skip
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 1 and "no usable georeference" in done.output
    figures = json.loads((tmp_path / "out.json").read_text())
    assert len(figures["embedded"]) == 2 and len(figures["quarantine"]) == 1 and figures["rows"] == 2 * 96
    assert figures["fidelity"]["rows"] == 2 * 96 and figures["fidelity"]["recall_at_10"] > 0.9
    assert "of the 10 nearest neighbours kept (192 rows)" in " ".join(done.output.split())
    for expected in ("removed", "not in the store"):
        done = CliRunner().invoke(app, ["index", "remove", "cli", "scenes/a.tif"])
        assert done.exit_code == 0 and expected in done.output
    assert ids(open_store("cli")) == ["b"]
