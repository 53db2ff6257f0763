"""Sentinel-2 products behind URLs: the same raster as from the local copy, without downloading it."""

from __future__ import annotations

import numpy as np
import pytest
from file_server import running
from safe_product import write_product, zipped

from ecotone.errors import DataError
from ecotone.rasters import open_raster
from ecotone.rasters.remote import is_network


@pytest.fixture
def server():
    with running() as found:
        yield found


def serve(server, safe):
    """The product as a folder and as a zip; returns the two addresses."""
    for file in safe.rglob("*"):
        if file.is_file():
            server.files[f"/archive/{file.relative_to(safe.parent).as_posix()}"] = file.read_bytes()
    archive = zipped(safe)
    for name in (archive.name, "renamed.zip"):
        server.files[f"/archive/{name}"] = archive.read_bytes()
    return f"{server.url}/archive/{safe.name}", f"{server.url}/archive/{archive.name}"


@pytest.mark.parametrize("level", ["L2A", "L1C"])
def test_a_product_behind_a_url_is_the_local_one(server, tmp_path, level):
    safe = write_product(tmp_path, level)
    folder, archive = serve(server, safe)
    with open_raster(safe) as raster:
        expected, facts = raster.read((8, 8, 40, 40)), (raster.bands, raster.unit, raster.level, raster.time)
    renamed = f"/vsizip/{{/vsicurl/{server.url}/archive/renamed.zip}}/{safe.name}/MTD_MSI{level}.xml"
    for address in (folder, f"{folder}/", f"{folder}/MTD_MSI{level}.xml", archive, f"{archive}?sig=secret", renamed):
        with open_raster(address) as raster:
            image = raster.read((8, 8, 40, 40))
            assert (raster.bands, raster.unit, raster.level, raster.time) == facts, address
            assert raster.name == safe.name.removesuffix(".SAFE")
        np.testing.assert_array_equal(image.pixels.numpy(), expected.pixels.numpy())


def test_a_band_within_a_remote_product_has_its_unit_and_offset(server, tmp_path):
    safe = write_product(tmp_path)
    serve(server, safe)
    band = next(safe.rglob("*_B02_10m.jp2"))
    with open_raster(band) as near, open_raster(f"{server.url}/archive/{band.relative_to(tmp_path)}") as far:
        assert (far.unit, far.level, far.bands) == (near.unit, near.level, near.bands)


def test_clouds_of_a_remote_product_are_not_valid(server, tmp_path):
    safe = write_product(tmp_path)
    folder, archive = serve(server, safe)
    with open_raster(safe, mask="clouds") as raster:
        expected = raster.read().valid
    assert expected is not None
    for address in (folder, archive):
        with open_raster(address, mask="clouds") as raster:
            valid = raster.read().valid
            assert valid is not None and valid.equal(expected)


def test_what_is_no_product_or_not_there_is_refused_in_one_sentence(server, tmp_path):
    server.files["/S2A_MSIL2A_X.zip"] = b"PK\5\6" + bytes(18)
    for address in ("S2A_MSIL2A_X.zip", "S2A_MSIL2A_Y.zip", "S2A_MSIL2A_X.SAFE"):
        with pytest.raises(DataError, match=f"cannot read .*{address}"):
            open_raster(f"{server.url}/{address}?sig=secret")
    with pytest.raises(DataError, match="name of a product"):
        open_raster(f"{server.url}/product.zip")


def test_files_outside_the_product_are_not_followed(server, tmp_path):
    safe = write_product(tmp_path)
    text = (safe / "MTD_MSIL2A.xml").read_text().replace("<IMAGE_FILE>GRANULE", "<IMAGE_FILE>../GRANULE", 1)
    (safe / "MTD_MSIL2A.xml").write_text(text)
    folder, _ = serve(server, safe)
    with pytest.raises(DataError, match="outside the product"):
        open_raster(folder)


def test_archives_behind_urls_are_on_the_network():
    assert is_network("/vsizip/{/vsicurl/http://a/b.zip?x=1}/c.jp2") and is_network("/vsizip//vsis3/a/b.zip/c.jp2")
    assert is_network("/vsis3/a/b.tif") and not is_network("/vsizip//data/b.zip/c.jp2")
