from __future__ import annotations

import io
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from PIL import Image as PIL

from ecotone.data import Dataset, open_dataset
from ecotone.errors import DataError, SensorError
from ecotone.rasters import write_cog

GRID = Affine(10, 0, 600000, 0, -10, 5000000)


def jpeg(path: Path, value=0, size=16, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.new(mode, (size, size), value if mode == "L" else (value,) * len(mode)).save(path)
    return path


def folder(root: Path, rows: str, yaml: str | None = None, images=("a.png", "b.png", "c.png")):
    for number, name in enumerate(images):
        jpeg(root / name, number)
    (root / "manifest.csv").write_text(rows)
    if yaml:
        (root / "dataset.yaml").write_text(yaml)
    return root


# --- real data ---------------------------------------------------------------------------------------------------

REAL = {
    # path: samples by split, first image (role, shape, unit), gsd source
    "eurosat_rgb": ({None: 3500, "train": 2100, "val": 700, "test": 700}, ("optical", (1, 3, 64, 64), "uint8")),
    "eurosat_rgb_unlabelled": ({None: 6000}, ("optical", (1, 3, 64, 64), "uint8")),
    "ucmerced": ({None: 1050, "train": 630, "val": 168, "test": 252}, ("optical", (1, 3, 256, 256), "uint8")),
    "s2_l2a_12band": ({None: 560}, ("optical", (1, 12, 64, 64), "reflectance x 10000")),
    "satclip_s2_12band": (
        {None: 8, "train": 5, "val": 2, "test": 1},
        ("optical", (1, 12, 256, 256), "reflectance x 10000"),
    ),
    "amazon_deforestation_s2rgb": (
        {None: 20, "train": 13, "val": 3, "test": 4},
        ("optical", (1, 3, 512, 512), "uint8"),
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_dataset_is_read_as_it_is_declared(shared_data, name):
    counts, (role, shape, unit) = REAL[name]
    for split, count in counts.items():
        dataset = open_dataset(shared_data / name, split=split)
        assert len(dataset) == len(dataset.keys()) == len(dataset.labels()) == len(dataset.splits()) == count
    assert isinstance(dataset, Dataset)
    assert dataset.info.name == name
    sample = dataset[len(dataset) - 1]
    image = sample.images[role]
    assert (tuple(image.pixels.shape), image.unit.name) == (shape, unit)
    assert image.gsd is not None
    assert sample.key == dataset.keys()[-1]


def test_a_jpeg_is_decoded_as_pil_decodes_it(shared_data):
    dataset = open_dataset(shared_data / "eurosat_rgb", split="val")
    for index in (0, 350, 699):
        sample = dataset[index]
        expected = np.asarray(PIL.open(shared_data / "eurosat_rgb" / sample.key)).transpose(2, 0, 1)
        np.testing.assert_array_equal(sample.images["optical"].pixels[0].numpy(), expected)
        assert dataset.info.classes[sample.targets["label"]] == dataset.labels()[index]


def test_a_tar_shard_is_read_by_position(shared_data):
    root = shared_data / "eurosat_rgb_unlabelled"
    dataset = open_dataset(root)
    keys = dataset.keys()
    assert len(set(keys)) == 6000
    for shard in ("shard-0000", "shard-0003"):
        index = next(i for i, key in enumerate(keys) if key.startswith(shard)) + 7
        with tarfile.open(root / f"{shard}.tar") as tar:
            content = tar.extractfile(keys[index].split("/")[1] + ".jpg").read()
        expected = np.asarray(PIL.open(io.BytesIO(content))).transpose(2, 0, 1)
        np.testing.assert_array_equal(dataset[index].images["optical"].pixels[0].numpy(), expected)


def test_an_hdf5_array_keeps_its_numbers(shared_data):
    dataset = open_dataset(shared_data / "s2_l2a_12band", bands=["B12", "B4"])
    with h5py.File(shared_data / "s2_l2a_12band/patches.h5") as file:
        expected = file["sentinel2_l2a"][41][[11, 3]]
    np.testing.assert_array_equal(dataset[41].images["optical"].pixels[0].numpy(), expected)
    assert dataset.info.bands == ("B12", "B4")


def test_the_hdf5_file_itself_can_be_opened(shared_data):
    assert len(open_dataset(shared_data / "s2_l2a_12band/patches.h5")) == 560


def test_georeferenced_images_know_their_place(shared_data):
    sample = open_dataset(shared_data / "satclip_s2_12band")[0]
    with rasterio.open(shared_data / "satclip_s2_12band" / sample.key) as file:
        assert sample.place.bounds == pytest.approx(tuple(file.bounds))
        assert sample.place.crs == file.crs.to_string()


def test_mixed_units_are_refused_at_opening_and_bands_of_one_unit_accepted(shared_data):
    path = shared_data / "wildfire_s2_burn"
    with pytest.raises(DataError, match="different units"):
        open_dataset(path)
    assert open_dataset(path, bands=["B8", "B12"]).info.unit == "reflectance x 10000"


def test_folders_of_per_band_files_are_samples(shared_data):
    dataset = open_dataset(shared_data / "geotiff_fixtures/bigearthnet_v1_patch")
    assert len(dataset) == 1
    assert dataset[0].images["optical"].pixels.shape == (1, 12, 120, 120)


def test_several_labels_become_a_vector(shared_data):
    dataset = open_dataset(shared_data / "geobench2_benv2", sensor="sentinel1-grd")
    sample = dataset[0]
    assert list(sample.images) == ["sentinel1"]
    vector = sample.targets["label"]
    assert vector.shape == (19,)
    named = {name for name, on in zip(dataset.info.classes, vector, strict=True) if on}
    assert named == set(dataset.labels()[0].split("|"))


# --- layouts ------------------------------------------------------------------------------------------------------


def test_class_folders_give_labels(tmp_path):
    for name in ("forest", "lake"):
        jpeg(tmp_path / name / "1.png")
        jpeg(tmp_path / name / "2.png")
    dataset = open_dataset(tmp_path)
    assert (dataset.info.task, dataset.info.classes) == ("classification", ("forest", "lake"))
    assert [dataset[i].targets["label"] for i in range(4)] == [0, 0, 1, 1]
    with pytest.raises(DataError, match=r"no split 'train'; found no splits"):
        open_dataset(tmp_path, split="train")


def test_split_folders_hold_class_folders(tmp_path):
    for split in ("train", "valid", "test"):
        for name in ("forest", "lake"):
            jpeg(tmp_path / split / name / "1.png")
    dataset = open_dataset(tmp_path, split="val")
    assert dataset.labels() == ["forest", "lake"]
    assert dataset.keys() == ["valid/forest/1.png", "valid/lake/1.png"]


def test_one_folder_of_images_is_no_class(tmp_path):
    for n in range(3):
        jpeg(tmp_path / "images" / f"{n}.png")
    dataset = open_dataset(tmp_path)
    assert (dataset.info.task, len(dataset), dataset[0].targets) == ("none", 3, {})


def test_geotiffs_without_anything_else_are_a_dataset(tmp_path):
    for n in range(2):
        write_cog(
            tmp_path / f"{n}.tif",
            np.ones((2, 8, 8), np.float32),
            crs="EPSG:32633",
            transform=GRID,
            descriptions=("VV", "VH"),
        )
    dataset = open_dataset(tmp_path)
    assert (dataset.info.sensor, dataset.info.gsd, dataset.info.gsd_source) == ("sentinel1-grd", None, "georeference")
    assert dataset[1].images["sentinel1"].gsd == 10


def test_what_the_user_says_comes_before_the_declaration(tmp_path):
    root = folder(tmp_path, "path\na.png\n", "sensor: rgb\nunit: uint8\ngsd: 3\n")
    dataset = open_dataset(root, gsd=0.5, bands=["B", "R"])
    assert dataset[0].images["optical"].gsd == 0.5
    assert dataset.info.bands == ("B", "R")


def test_transparent_pixels_are_not_valid(tmp_path):
    picture = PIL.new("RGBA", (4, 4), (1, 2, 3, 255))
    picture.putpixel((0, 0), (1, 2, 3, 0))
    picture.save(tmp_path / "a.png")
    image = open_dataset(tmp_path)[0].images["optical"]
    assert image.bands == ("R", "G", "B")
    assert image.valid.sum() == 15


def test_numbers_of_webdataset_labels_stand_for_the_declared_classes(tmp_path):
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        for key, label in (("x/1", b"1"), ("x/2", b"0")):
            stream = io.BytesIO()
            PIL.new("RGB", (8, 8)).save(stream, "PNG")
            for suffix, content in (("png", stream.getvalue()), ("cls", label)):
                entry = tarfile.TarInfo(f"{key}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    (tmp_path / "dataset.yaml").write_text("task: classification\nclasses: [forest, lake]\n")
    dataset = open_dataset(tmp_path, split="train")
    assert dataset.labels() == ["lake", "forest"]
    assert dataset[0].targets == {"label": 1}


def test_a_tiff_in_a_shard_keeps_its_georeference(tmp_path):
    path = write_cog(tmp_path / "a.tif", np.full((1, 8, 8), 7, np.int16), crs="EPSG:32633", transform=GRID)
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(path, "a.tif")
    dataset = open_dataset(tmp_path / "s.tar", sensor="dem")
    image = dataset[0].images["dem"]
    assert (image.gsd, image.unit.name) == (10, "metre")
    assert torch.equal(image.pixels, torch.full((1, 1, 8, 8), 7, dtype=torch.int16))


# --- mistakes: one clear sentence each ------------------------------------------------------------------------------

MISTAKES = {
    "nothing there": (None, {}, "there is no dataset"),
    "empty folder": (lambda root: root, {}, "lists no images"),
    "empty manifest": (lambda root: folder(root, "path,label\n"), {}, r"manifest\.csv lists no images"),
    "no path column": (lambda root: folder(root, "file\na.png\n"), {}, "has no column path; found file"),
    "escaping path": (lambda root: folder(root, "path\n../a.png\n"), {}, "names a path outside its folder"),
    "absolute path": (lambda root: folder(root, "path\n/etc/passwd\n"), {}, "names a path outside its folder"),
    "windows escape": (lambda root: folder(root, "path\n..\\a.png\n"), {}, "names a path outside its folder"),
    "missing file": (lambda root: folder(root, "path\nnone.png\n"), {}, r"there is no file .*none\.png"),
    "unknown split": (
        lambda root: folder(root, "path,label,split\na.png,x,train\nb.png,y,val\n"),
        {"split": "tset"},
        r"no split 'tset'; found train, val",
    ),
    "labels missing": (
        lambda root: folder(root, "path,label\na.png,x\nb.png,\n", "task: classification\n"),
        {},
        r"1 of its 2 samples have no label; found none for b\.png",
    ),
    "label outside the classes": (
        lambda root: folder(root, "path,label\na.png,forst\n", "task: classification\nclasses: [forest, lake]\n"),
        {},
        r"label of a\.png .* is not one of the classes; found 'forst'. Did you mean 'forest'",
    ),
    "unknown sensor": (
        lambda root: folder(root, "path\na.png\n"),
        {"sensor": "sentinel2l2a"},
        "Did you mean 'sentinel2",
    ),
    "unknown unit": (lambda root: folder(root, "path\na.png\n"), {"unit": "uint9"}, "Did you mean 'uint8'"),
    "wrong band count": (
        lambda root: folder(root, "path\na.png\n"),
        {"sensor": "naip"},
        r"found 3 bands \(R, G, B\); expected 4 \(R, G, B, N\)",
    ),
    "GSD of zero": (lambda root: folder(root, "path\na.png\n"), {"gsd": 0}, "must be above zero"),
    "declared GSD of zero": (lambda root: folder(root, "path\na.png\n", "gsd: 0\n"), {}, "must be above zero"),
    "unknown format": (lambda root: folder(root, "path\na.png\n", "format: parquet\n"), {}, "unknown format 'parquet'"),
    "no shards": (lambda root: folder(root, "path\na.png\n", "format: webdataset\n"), {}, r"holds no \.tar file"),
    "HDF5 file elsewhere": (
        lambda root: folder(root, "path\na.png\n", "format: hdf5\nfile: ../x.h5\n"),
        {},
        "outside its folder",
    ),
    "HDF5 file missing": (lambda root: folder(root, "path\n", "format: hdf5\nfile: x.h5\n"), {}, r"no file .*x\.h5"),
    "one image": (lambda root: jpeg(root / "a.png"), {}, r"a\.png is not a dataset"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_sentence(tmp_path, mistake):
    make, options, sentence = MISTAKES[mistake]
    path = make(tmp_path) if make else tmp_path / "none"
    with pytest.raises((DataError, SensorError), match=sentence):
        open_dataset(path, **options)


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_a_broken_picture_is_named(tmp_path, content):
    for n in range(3):
        jpeg(tmp_path / f"{n}.jpg", n)
    whole = (tmp_path / "0.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[: len(whole) // 2] if content is None else content)
    dataset = open_dataset(tmp_path)
    with pytest.raises(DataError, match=r"cannot read the picture .*1\.jpg"):
        dataset[1]


def test_a_broken_shard_is_named(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x" * 1000)
    with pytest.raises(DataError, match=r"cannot read the shard .*a\.tar"):
        open_dataset(tmp_path)


def test_an_hdf5_file_without_the_array_lists_those_it_has(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = np.zeros((2, 3, 4, 4), np.uint8)
    (tmp_path / "dataset.yaml").write_text("format: hdf5\nfile: x.h5\ndataset: imges\nsensor: rgb\n")
    with pytest.raises(DataError, match=r"no array 'imges'; found images. Did you mean 'images'"):
        open_dataset(tmp_path)


def test_a_manifest_may_say_where_its_pictures_lie(tmp_path):
    for name in ("a.png", "b.png"):
        PIL.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "manifest.csv").write_text("path,label,split,lon,lat\na.png,x,train,8.5,-47.25\nb.png,x,train,,\n")
    first, second = open_dataset(tmp_path)[0].place, open_dataset(tmp_path)[1].place
    assert first is not None and (first.lon, first.lat) == (8.5, -47.25)
    assert second is None


@pytest.mark.parametrize("place", ["8.5,", "200,10", "east,10", "nan,1"])
def test_a_place_that_is_none_on_the_earth_is_refused(tmp_path, place):
    PIL.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "manifest.csv").write_text(f"path,lon,lat\na.png,{place}\n")
    with pytest.raises(DataError, match=r"a\.png a place that is none"):
        open_dataset(tmp_path)
