"""The three lines: load, embed, search; and what notebooks show of a model and a store."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from PIL import Image as Picture

import ecotone
from ecotone.encoders import Readout, build_encoder
from ecotone.errors import CheckpointError, DataError, RecipeError
from ecotone.heads import LinearHead, Predictor
from ecotone.inference import EmbedOptions, LeftOutWarning
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.rasters import open_raster
from ecotone.weights import save_predictor


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ECOTONE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def predictor_folder(tmp_path):
    torch.manual_seed(0)
    role = RoleSpec(sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=Identity())
    encoder = build_encoder(
        "vit",
        InputSpec(roles={"optical": role}, size_multiple=8),
        Readout(),
        {"patch": 8, "width": 16, "depth": 1, "heads": 2},
    )
    made = Predictor(encoder, LinearHead(features=16, outputs=2), "classification", ("<b>no</b>", "yes"))
    return save_predictor(made, tmp_path / "predictor", name="tiny & small", image_size=16)


def parsed(text: str) -> list[tuple[str, dict]]:
    """Tags and attributes; every tag that needs it is closed in its turn."""
    found, still_open = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, dict(attrs)))
            still_open.append(tag)

        def handle_startendtag(self, tag, attrs):
            found.append((tag, dict(attrs)))

        def handle_endtag(self, tag):
            assert still_open.pop() == tag

    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not still_open
    assert not {tag for tag, _ in found} & {"script", "link", "iframe", "object", "style"}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\(|on\w+=", text)
    return found


def image_of(attributes: dict) -> np.ndarray:
    head, _, data = attributes["href"].partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Picture.open(io.BytesIO(base64.b64decode(data))))


def test_three_lines_find_what_the_long_way_finds(vit_folder, write_tif, scene, tmp_path):
    folder, tif = vit_folder(), write_tif(scene)
    model = ecotone.load(folder)
    store = model.embed(tif, chip=16, overlap=8)
    with open_raster(tif) as raster:
        ecotone.embed_raster(
            ecotone.load_model(folder), raster, out=tmp_path / "long.parquet", options=EmbedOptions(chip=16, overlap=8)
        )
    other = ecotone.open_store(tmp_path / "long.parquet")
    assert np.array_equal(store.vectors, other.vectors)
    place = store.geometries([0])[0].centroid
    found = ecotone.search(store, point=(place.x, place.y), k=3)
    assert [h.id for h in found] == [h.id for h in ecotone.search(other, point=(place.x, place.y), k=3)]


def test_the_cache_is_used_for_the_same_and_for_nothing_else(vit_folder, write_tif, scene, tmp_path):
    model, tif = ecotone.load(vit_folder()), write_tif(scene)
    first = model.embed(tif)
    assert first.path.is_relative_to(tmp_path / "cache")
    written = first.path.stat().st_mtime_ns
    assert model.embed(tif, batch_size=3).path.stat().st_mtime_ns == written
    others = [model.embed(tif, chip=16), model.embed(tif, gsd=12.0), ecotone.load(vit_folder("b", seed=1)).embed(tif)]
    changed = model.embed(write_tif(255 - scene))
    assert len({s.path for s in (first, *others, changed)}) == 5
    assert model.embed(tif, tmp_path / "mine.parquet").path == tmp_path / "mine.parquet"


def test_an_open_raster_is_taken_as_it_is(vit_folder, write_tif, scene):
    model = ecotone.load(vit_folder())
    with open_raster(write_tif(scene)) as raster:
        assert len(model.embed(raster)) == 9
        with pytest.raises(RecipeError, match="an open raster is taken as it is; found gsd"):
            model.embed(raster, gsd=3.0)


def test_a_folder_a_pattern_and_a_list_become_one_store_of_all(vit_folder, write_tif, scene, tmp_path):
    model, folder = ecotone.load(vit_folder()), tmp_path / "scenes"
    folder.mkdir()
    for name in ("a.tif", "b.tif"):
        write_tif(scene, f"scenes/{name}")
    stores = [
        model.embed(folder),
        model.embed(str(folder / "*.tif")),
        model.embed([folder / "a.tif", folder / "b.tif"]),
    ]
    assert len({s.path for s in stores}) == 1 and stores[0].path.is_relative_to(tmp_path / "cache")
    assert len(stores[0].parts) == 2 and len(stores[0]) == 2 * 9
    assert np.array_equal(stores[0].vectors[:9], model.embed(folder / "a.tif").vectors)
    (folder / "broken.tif").write_text("no raster")
    with pytest.warns(LeftOutWarning, match=r"1 of 3 scenes are left out: cannot read .*broken\.tif"):
        mine = model.embed(folder, tmp_path / "mine", chip=16)
    assert mine.path == tmp_path / "mine" and len(mine.parts) == 2 and mine.facts.chip == 16
    with pytest.raises(DataError, match="none of the 3 scenes can be embedded: the optical images lack"):
        model.embed(folder, bands=["x", "y", "z"])
    with pytest.raises(RecipeError, match="a file holds the embeddings of one source"):
        model.embed(folder, tmp_path / "mine.parquet")


def test_a_scene_may_be_resampled_for_the_model(vit_folder, write_tif, scene):
    assert ecotone.load(vit_folder()).embed(write_tif(scene), at_gsd=20).parts[0].raster.shape == (40, 50)


def test_a_predictor_predicts_and_embeds_and_an_encoder_does_not_predict(
    predictor_folder, vit_folder, write_tif, scene, tmp_path
):
    tif, model = write_tif(scene), ecotone.load(predictor_folder)
    done = model.predict(tif, tmp_path / "map.tif", probabilities=True)
    assert set(done.files) == {"map", "probabilities"}
    assert len(model.embed(tif)) == 5 * 6
    assert repr(model) == f"<Loaded 'tiny & small': vit, classification, {model.model.hash}>"
    with pytest.raises(CheckpointError, match="tiny is an encoder without a head"):
        ecotone.load(vit_folder()).predict(tif, tmp_path / "none.tif")


def test_unknown_options_and_devices_are_refused(vit_folder, write_tif, scene):
    with pytest.raises(RecipeError, match=r"no option 'overlapp'\. Did you mean 'overlap'"):
        ecotone.load(vit_folder()).embed(write_tif(scene), overlapp=3)
    with pytest.raises(RecipeError, match="no such device; found tpu"):
        ecotone.load(vit_folder("b"), device="tpu")


def test_a_notebook_shows_the_facts_of_a_model(predictor_folder, vit_folder):
    text = ecotone.load(predictor_folder)._repr_html_()
    parsed(text)
    assert "tiny &amp; small" in text
    assert "classification: &lt;b&gt;no&lt;/b&gt;, yes" in text
    assert "rgb in uint8: R, G, B; any m per pixel" in text
    assert "5 to 20 m per pixel" in ecotone.load(vit_folder())._repr_html_()


def test_a_notebook_shows_a_store_as_a_map_that_lies_where_the_raster_lies(vit_folder, write_tif, scene):
    scene[:, :32, :32] = 0
    store = ecotone.load(vit_folder()).embed(write_tif(scene, nodata=0), chip=8)
    text = store._repr_html_()
    tags = parsed(text)
    images = [image_of(a) for tag, a in tags if tag == "image"]
    assert [i.shape for i in images] == [(10, 13, 4)]
    assert (images[0][:4, :4, 3] == 0).all()
    assert (images[0][5:, :, 3] == 255).all()
    svg = ElementTree.fromstring(re.search(r"<svg.*</svg>", text)[0])  # type: ignore[index]
    image, outline = svg[0], svg[1]
    a, b, c, d, e, f = (float(v) for v in re.search(r"matrix\((.*)\)", image.get("transform"))[1].split())  # type: ignore
    points = np.array([p.split(",") for p in outline.get("points").split()], float)  # type: ignore[union-attr]
    corner = [e, f]
    right_down = [a * 12.5 + c * 10 + e, b * 12.5 + d * 10 + f]  # 100 by 80 pixels in cells of 8
    for place in (corner, right_down):
        assert np.abs(points - place).max(1).min() < 0.5
    width, height = (float(svg.get(k)) for k in ("width", "height"))  # type: ignore[arg-type]
    assert points.min() >= 0
    assert points[:, 0].max() <= width <= 310
    assert points[:, 1].max() <= height <= 310
    assert np.ptp(points[:, 0]) / np.ptp(points[:, 1]) == pytest.approx(100 / 80, rel=0.05)  # true to scale


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(1e-4, 0, 179.996, 0, -1e-4, 10)),  # across the antimeridian
        ("EPSG:3413", Affine(10, 0, -500, 0, -10, 400)),  # around the pole
    ],
)
def test_the_map_of_an_odd_place_is_still_a_map(vit_folder, scene, tmp_path, crs, transform):
    profile = {"driver": "GTiff", "count": 3, "height": 80, "width": 100, "dtype": "uint8"}
    with rasterio.open(tmp_path / "odd.tif", "w", crs=crs, transform=transform, **profile) as file:
        file.write(scene)
        file.descriptions = ("R", "G", "B")
    tags = parsed(ecotone.load(vit_folder()).embed(tmp_path / "odd.tif", chip=8)._repr_html_())
    outline = next(a["points"] for tag, a in tags if tag == "polygon")
    points = np.array([p.split(",") for p in outline.split()], float)
    assert np.ptp(points, axis=0).max() == pytest.approx(300, abs=1)
    assert np.ptp(points, axis=0).min() == pytest.approx(240, abs=10)


def test_a_store_of_hostile_names_stays_a_page(vit_folder, write_tif, scene, tmp_path):
    tif = write_tif(scene, name="<img src=x onerror=alert(1)>.tif")
    text = ecotone.load(vit_folder()).embed(tif, tmp_path / "s.parquet")._repr_html_()
    assert "<img" not in text
    assert "&lt;img src=x" in text
