from __future__ import annotations

import pickle
import socket
import time

import numpy as np
import pytest
import rasterio
import torch
from file_server import running

from ecotone.errors import DataError
from ecotone.rasters import list_sources, open_raster, write_cog
from ecotone.rasters.remote import gdal_path, shown

GRID = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 600000, 0, -10, 5000000)}


@pytest.fixture
def server():
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def cog(tmp_path_factory):
    """A COG of 2048 x 2048 pixels of noise: its path and array."""
    array = np.random.default_rng(0).integers(1, 255, (3, 2048, 2048), dtype=np.uint8)
    path = write_cog(tmp_path_factory.mktemp("cog") / "a.tif", array, descriptions=("R", "G", "B"), **GRID)
    return path, array


def test_a_window_behind_a_url_is_read_by_ranges(server, cog):
    path, array = cog
    server.files["/data/a.tif"] = path.read_bytes()
    with open_raster(f"{server.url}/data/a.tif") as raster:
        image = raster.read((600, 700, 100, 100))
        again = pickle.loads(pickle.dumps(raster)).read((600, 700, 100, 100))
    np.testing.assert_array_equal(image.pixels[0].numpy(), array[:, 600:700, 700:800])
    assert torch.equal(again.pixels, image.pixels)
    assert (raster.bands, raster.gsd, raster.name) == (("R", "G", "B"), 10.0, "a.tif")
    assert server.served < 0.25 * len(server.files["/data/a.tif"])
    assert {p for p, _ in server.requests} == {"/data/a.tif"}  # no file beside it is asked for


def test_signed_urls_are_read_whole_and_shown_without_their_signature(server, cog):
    server.files["/a.tif"] = cog[0].read_bytes()
    (source,) = list_sources(f"{server.url}/a.tif?sig=secret&se=2030")
    with source.open() as raster:
        assert raster.read((0, 0, 4, 4)).pixels.shape == (1, 3, 4, 4)
    assert server.requests[-1][0].endswith("?sig=secret&se=2030")
    assert "secret" not in source.id and shown(raster.paths[0]) == f"{server.url}/a.tif"
    with pytest.raises(DataError) as error:
        open_raster(f"{server.url}/none.tif?sig=secret")
    assert "secret" not in str(error.value)


def test_a_file_that_the_server_lacks_is_refused_at_once(server):
    started = time.monotonic()
    with pytest.raises(DataError, match=r"cannot read http://.*/none\.tif; found .*404"):
        open_raster(f"{server.url}/none.tif")
    assert time.monotonic() - started < 5


def test_a_server_that_is_not_there_is_refused_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(DataError, match=rf"cannot read http://127\.0\.0\.1:{port}/a\.tif.*Check the address"):
        open_raster(f"http://127.0.0.1:{port}/a.tif")
    assert time.monotonic() - started < 10


def test_a_server_that_never_answers_is_given_up(server, cog, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    server.files["/a.tif"] = cog[0].read_bytes()
    server.silent = True
    started = time.monotonic()
    with pytest.raises(DataError, match=r"cannot read http://.*/a\.tif"):
        open_raster(f"{server.url}/a.tif")
    assert time.monotonic() - started < 15


def test_a_truncated_file_behind_a_url_is_refused(server, cog):
    server.files["/cut.tif"] = cog[0].read_bytes()[:2_000_000]
    with (
        pytest.raises(DataError, match=r"cannot read http://.*/cut\.tif"),
        open_raster(f"{server.url}/cut.tif") as raster,
    ):
        raster.read()


def test_a_server_that_fails_between_two_windows_is_named(server, cog):
    server.files["/gone.tif"] = cog[0].read_bytes()
    with open_raster(f"{server.url}/gone.tif") as raster:
        raster.read((0, 0, 10, 10))
        server.files.clear()
        with pytest.raises(DataError, match=r"cannot read http://.*/gone\.tif"):
            raster.read((1500, 1500, 500, 500))


def test_s3_paths_go_through_gdal_with_its_own_settings(server, cog, monkeypatch):
    path, array = cog
    server.files["/bucket/scenes/a.tif"] = path.read_bytes()
    for name, value in {
        "AWS_S3_ENDPOINT": server.url.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_NO_SIGN_REQUEST": "YES",
    }.items():
        monkeypatch.setenv(name, value)
    with open_raster("s3://bucket/scenes/a.tif") as raster:
        np.testing.assert_array_equal(raster.read((5, 6, 7, 8)).pixels[0].numpy(), array[:, 5:12, 6:14])


def test_several_urls_are_one_stack(server, tmp_path):
    for name, value in (("B02", 2), ("B03", 3)):
        write_cog(tmp_path / "x.tif", np.full((1, 64, 64), value, np.uint16), **GRID)
        server.files[f"/{name}.tif"] = (tmp_path / "x.tif").read_bytes()
    urls = [f"{server.url}/B02.tif", f"{server.url}/B03.tif"]
    with open_raster(urls, sensor="sentinel2-l2a", bands=["B3", "B2"]) as raster:
        assert raster.read().pixels[0, :, 0, 0].tolist() == [3, 2]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("https://h/a.tif?x=1", "/vsicurl/https://h/a.tif?x=1"),
        ("s3://b/a.tif", "/vsis3/b/a.tif"),
        ("gs://b/a.tif", "/vsigs/b/a.tif"),
        ("/vsizip//x.zip/a.tif", "/vsizip//x.zip/a.tif"),
        ("a/b.tif", "a/b.tif"),
    ],
)
def test_paths_of_gdal(source, path):
    assert gdal_path(source) == path


@pytest.mark.parametrize(("url", "reason"), [("foo://b/a.tif", "http"), ("s3://b/S2.zip", "name of a product")])
def test_urls_that_no_reader_takes_are_refused(url, reason):
    with pytest.raises(DataError, match=reason):
        open_raster(url)


def test_a_url_takes_no_declaration_from_the_folder_one_stands_in(server, cog, tmp_path, monkeypatch):
    (tmp_path / "dataset.yaml").write_text("sensor: naip\nlevel: wrong\n")
    monkeypatch.chdir(tmp_path)
    server.files["/a.tif"] = cog[0].read_bytes()
    with open_raster(f"{server.url}/a.tif") as raster:
        assert raster.sensor == "rgb"
