"""Searches of a STAC API on this machine: a real server of items whose assets are cloud-optimised GeoTIFFs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
import shapely
from file_server import running

from ecotone.errors import DataError, EcotoneError, RecipeError
from ecotone.rasters import list_sources, open_raster, write_cog

pytest.importorskip("pystac_client", reason="the extra 'stac' is not installed")

SIDE = 64
COLOURS = {"blue": ("B2", 0.492), "red": ("B4", 0.665), "rededge1": ("B5", 0.704), "nir": ("B8", 0.833)}
CONFORMS = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]


def grid(number, pitch=10):
    return {"crs": "EPSG:32633", "transform": rasterio.Affine(pitch, 0, 6e5 + 640 * number, 0, -pitch, 5e6)}


def values(name, number):
    side = SIDE // 2 if name == "rededge1" else SIDE
    return np.full((1, side, side), 1500 + 100 * number + list(COLOURS).index(name), np.uint16)


class Catalogue:
    """A STAC API of three items, two to a page."""

    def __init__(self, server, folder):
        self.server, self.url, self.items, self.asked = server, f"{server.url}/api", [], []
        links = [{"rel": "self", "href": self.url}, {"rel": "root", "href": self.url}]
        links += [{"rel": "search", "href": f"{self.url}/search", "type": "application/geo+json", "method": "POST"}]
        landing = {"type": "Catalog", "id": "test", "stac_version": "1.0.0", "description": "Test", "links": links}
        server.files["/api"] = json.dumps({**landing, "conformsTo": CONFORMS}).encode()
        server.types["/api"] = "application/json"
        server.answers["/api/search"] = self.search
        self.items = [self.item(number, folder) for number in range(3)]

    def item(self, number, folder):
        assets = {"thumbnail": {"href": "thumb.png", "type": "image/png", "roles": ["thumbnail"]}}
        for name, (_, centre) in COLOURS.items():
            pitch = 20 if name == "rededge1" else 10
            self.publish(folder, f"{number}/{name}.tif", values(name, number), **grid(number, pitch))
            band = {"name": name, "center_wavelength": centre}
            cog = {"href": f"{self.server.url}/{number}/{name}.tif", "type": "image/tiff; application=geotiff"}
            cog |= {"roles": ["data"], "eo:bands": [band], "raster:bands": [{"scale": 1e-4, "offset": -0.1}]}
            assets[name] = cog
            assets[f"{name}-jp2"] = {**cog, "href": "s3://elsewhere/x.jp2", "type": "image/jp2"}
        classes = np.full((1, SIDE // 2, SIDE // 2), 4, np.uint8)
        classes[:, :8] = 9
        self.publish(folder, f"{number}/SCL.tif", classes, **grid(number, 20))
        assets["scl"] = {"href": f"../../{number}/SCL.tif", "type": "image/tiff", "roles": ["data"]}
        west = 16.2 + number
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"S2A_{number}",
            "collection": "sentinel-2-l2a",
            "bbox": [west, 45.0, west + 0.1, 45.1],
            "geometry": json.loads(shapely.to_geojson(shapely.box(west, 45, west + 0.1, 45.1))),
            "properties": {"datetime": f"2024-06-0{number + 1}T10:00:00Z", "s2:processing_baseline": "05.10"},
            "links": [{"rel": "self", "href": f"{self.url}/items/S2A_{number}"}],
            "assets": assets,
        }

    def publish(self, folder, name, array, **place):
        self.server.files[f"/{name}"] = write_cog(folder / "x.tif", array, **place).read_bytes()

    def search(self, asked):
        self.asked.append(asked)
        found = [i for i in self.items if i["collection"] in asked.get("collections", [i["collection"]])]
        if "bbox" in asked:
            found = [i for i in found if shapely.box(*i["bbox"]).intersects(shapely.box(*asked["bbox"]))]
        start = asked.get("token", 0)
        links = []
        if len(found) > start + 2:
            body = {**asked, "token": start + 2}
            links = [{"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": body}]
        return {"type": "FeatureCollection", "features": found[start : start + 2], "links": links}


@pytest.fixture
def catalogue(tmp_path):
    with running() as server:
        yield Catalogue(server, tmp_path)


def test_all_pages_of_a_search_are_scenes_in_order_and_nothing_is_opened(catalogue):
    sources = list_sources(f"stac:{catalogue.url}?collections=sentinel-2-l2a,other&datetime=2024-06-01/2024-06-30")
    assert [str(s) for s in sources] == [f"sentinel-2-l2a/S2A_{n}" for n in range(3)]
    assert [s.id[:-13] for s in sources] == ["S2A_0", "S2A_1", "S2A_2"]
    assert len({s.id for s in sources}) == 3
    assert catalogue.asked[0]["collections"] == ["sentinel-2-l2a", "other"] and len(catalogue.asked) == 2
    assert {path for path, _ in catalogue.server.requests} == {"/api"}


def test_a_search_by_place_keeps_the_ids(catalogue):
    whole = {str(s): s.id for s in list_sources(f"stac:{catalogue.url}")}
    (one,) = list_sources(f"stac:{catalogue.url}?bbox=17.25,45.05,17.26,45.06")
    assert whole[str(one)] == one.id and one.id.startswith("S2A_1-")
    assert len(list_sources(f"stac:{catalogue.url}?max_items=1")) == 1


def test_the_assets_of_an_item_are_bands_on_one_grid_with_unit_time_and_origin(catalogue):
    source = list_sources(f"stac:{catalogue.url}")[1]
    with source.open() as raster:
        image = raster.read()
    assert (raster.bands, raster.sensor, raster.level) == (("B2", "B4", "B5", "B8"), "sentinel2-l2a", "L2A")
    assert (raster.unit.name, raster.gsd, raster.name) == ("reflectance x 10000 + 1000", 10.0, "S2A_1")
    assert image.times == (datetime(2024, 6, 2, 10, tzinfo=UTC),)
    assert raster.origin["s2:processing_baseline"] == "05.10"
    for band, name in zip(image.pixels[0], COLOURS, strict=True):
        assert (band.numpy() == values(name, 1)[0, 0, 0]).all()


def test_only_the_wanted_assets_are_asked_for(catalogue):
    source = list_sources(f"stac:{catalogue.url}")[0]
    with source.open(bands=["B08", "B4"]) as raster:
        pixels = raster.read((3, 4, 5, 6)).pixels[0, :, 0, 0].tolist()
    assert (raster.bands, pixels) == (("B08", "B4"), [1503, 1501])
    assert {p for p, _ in catalogue.server.requests} == {"/api", "/0/nir.tif", "/0/red.tif"}


def test_a_mask_and_a_gsd_work_on_items_too(catalogue):
    source = list_sources(f"stac:{catalogue.url}")[2]
    with source.open(bands=["B4"], mask="clouds", at_gsd=20) as raster:
        valid = raster.read().valid[0]
    assert not valid[:8].any() and valid[8:].all()


def test_an_offset_that_is_taken_off_already_is_not_taken_off_again(catalogue):
    item = catalogue.items[0]
    item["properties"]["earthsearch:boa_offset_applied"] = True
    with list_sources(f"stac:{catalogue.url}")[0].open() as raster:
        assert raster.unit.name == "reflectance x 10000"


def test_an_item_that_is_silent_about_its_offset_must_be_declared(catalogue):
    for asset in catalogue.items[0]["assets"].values():
        asset.pop("raster:bands", None)
    source = list_sources(f"stac:{catalogue.url}")[0]
    with pytest.raises(DataError, match=r"baseline 05\.10 and no offset.*--unit"):
        source.open()
    with source.open(unit="reflectance x 10000") as raster:
        assert raster.unit.name == "reflectance x 10000"
    catalogue.items[0]["properties"]["s2:processing_baseline"] = "02.14"
    with list_sources(f"stac:{catalogue.url}")[0].open() as raster:
        assert raster.unit.name == "reflectance x 10000"


def test_missing_bands_are_named(catalogue):
    source = list_sources(f"stac:{catalogue.url}")[0]
    with pytest.raises(DataError, match=r"sentinel-2-l2a/S2A_0 lacks the bands B12; found B2, B4, B5, B8"):
        source.open(bands=["B4", "B12"])


@pytest.mark.parametrize("href", ["/etc/hostname", "file:///etc/hostname", "/vsicurl/http://127.0.0.1/x.tif"])
def test_a_catalogue_cannot_make_this_machine_read_its_own_files(catalogue, href):
    catalogue.items[0]["assets"]["red"]["href"] = href
    catalogue.items[0]["links"] = [{"rel": "self", "href": "/local/item.json"}]
    source = list_sources(f"stac:{catalogue.url}")[0]
    with pytest.raises(DataError, match="no address on the network"):
        source.open(bands=["B4"])


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ("?collection=a", RecipeError, "Did you mean 'collections'"),
        ("?bbox=1,2,x,4", RecipeError, "wrong number"),
        ("?collections", RecipeError, "key=value"),
        ("?collections=none", DataError, "holds no such item; found none for collections=none"),
    ],
)
def test_searches_that_cannot_be_are_refused(catalogue, asked, error, words):
    with pytest.raises(error, match=words):
        list_sources(f"stac:{catalogue.url}{asked}")


def test_catalogues_that_are_none_are_refused(catalogue):
    with pytest.raises(DataError, match="cannot search the STAC catalogue"):
        list_sources("stac:http://127.0.0.1:9/api")
    catalogue.server.files["/api"] = b"<html>no STAC</html>"
    with pytest.raises(EcotoneError, match="cannot search the STAC catalogue"):
        list_sources(f"stac:{catalogue.url}")


def test_a_list_may_hold_a_search(catalogue, tmp_path):
    (tmp_path / "list.txt").write_text(f"stac:{catalogue.url}?max_items=2\n")
    assert len(list_sources(f"@{tmp_path}/list.txt")) == 2


def test_an_item_of_one_file_with_all_bands_is_that_file(catalogue, tmp_path):
    array = np.full((3, 8, 8), 7, np.uint8)
    catalogue.publish(tmp_path, "rgb.tif", array, **grid(0))
    image = {"href": f"{catalogue.server.url}/rgb.tif", "type": "image/tiff", "roles": ["data"]}
    catalogue.items = [{**catalogue.items[0], "collection": "drone", "properties": {}, "assets": {"image": image}}]
    with list_sources(f"stac:{catalogue.url}")[0].open() as raster, open_raster(image["href"]) as plain:
        assert raster.read().pixels.tolist() == plain.read().pixels.tolist() == [array.tolist()]
