"""Prediction over rasters: tiled is whole, seams, no-data, cells, resume, georeference."""

from __future__ import annotations

import json
import math
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import torch.nn.functional as F
import zarr
from torch import nn

from ecotone.encoders import Encoder, Features, build_encoder
from ecotone.errors import DataError, InputError, OutputError, RecipeError
from ecotone.heads import LinearHead, PixelHead, Predictor
from ecotone.inference import PredictOptions, predict_raster
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.rasters import open_raster
from ecotone.weights import LoadedPredictor, Model
from ecotone.weights.model import Card, EncoderCard
from ecotone.weights.predictor import HeadCard

CLASSES = ("water", "field", "town")


class Blur(Encoder):
    """Two 3 x 3 convolutions at full resolution: each answer depends on pixels up to two away."""

    kind = "blur"

    def __init__(self, spec, readout=None):
        super().__init__(spec, readout)
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 6, 3, padding=1))

    @property
    def width(self):
        return 6

    def config(self):
        return {}

    def forward_intermediates(self, prepared, layers):
        grid = self.layers(prepared["optical"].pixels[:, 0] / 255)
        return Features(maps=[grid], strides=[1], pooled=grid.mean((-2, -1)))

    def forward_features(self, prepared, keep=None):
        return self.forward_intermediates(prepared, (-1,))


def spec(**role):
    values = {"sensor": "rgb", "bands": ("R", "G", "B"), "unit": "uint8", "normaliser": Identity(), **role}
    return InputSpec(roles={"optical": RoleSpec(**values)})


def loaded(encoder, head, task="segmentation", classes=CLASSES, size=32, **options):
    predictor = Predictor(encoder, head, task, classes, **options).eval()
    card = Card(
        name="p",
        encoder=EncoderCard(kind=encoder.kind, config={}, readout=encoder.readout, image_size=size),
        input=encoder.spec,
    )
    hashes = {"encoder_sha256": "e" * 64, "weights_sha256": "h" * 64}
    head_card = HeadCard(task=task, classes=classes, kind=head.kind, config=head.config(), **hashes)
    return LoadedPredictor(predictor, head_card, Model(encoder, card, "e" * 16, None))  # pyright: ignore


@pytest.fixture
def convolutional():
    torch.manual_seed(0)
    encoder, head = Blur(spec()), PixelHead(features=6, outputs=3)
    nn.init.normal_(head.linear.weight, std=20)
    return loaded(encoder, head)


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    encoder = build_encoder("vit", spec(), None, {"patch": 8, "width": 32, "depth": 2, "heads": 2})
    head = PixelHead(features=32, outputs=3)
    nn.init.normal_(head.linear.weight)
    return loaded(encoder, head)


def run(predictor, path, out, **options):
    with open_raster(path, sensor="rgb") as raster:
        return predict_raster(predictor, raster, out=out, options=PredictOptions(**options))


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def whole_image(predictor, pixels):
    """Probabilities (K, H, W) of one forward pass over everything."""
    x = torch.from_numpy(pixels).float().unsqueeze(0)
    with torch.no_grad():
        head, layers = predictor.predictor.head, predictor.predictor.encoder.layers
        maps = layers(x / 255)
        return head(Features(maps=[maps], strides=[1], pooled=maps.mean((-2, -1)))).softmax(1)[0]


def answers_of(predictor, path, **options):
    """Blended probabilities (K, H, W) before they are stored."""
    from ecotone.inference.answering import Answering
    from ecotone.inference.dense import dense_rows
    from ecotone.rasters.tiling import Tiling

    with open_raster(path, sensor="rgb") as raster:
        tiling = Tiling(raster.shape, **options)
        rows = list(dense_rows(Answering(predictor.predictor, raster), tiling, 4))
    return torch.cat([r.answers for r in rows], 1)


@pytest.mark.parametrize("tiled", [False, True])
def test_tiles_of_a_convolutional_model_equal_the_whole_image(convolutional, write_tif, scene, tiled, tmp_path):
    path = write_tif(scene)
    if tiled:
        with rasterio.open(path) as file:
            profile = {**file.profile, "tiled": True, "blockxsize": 32, "blockysize": 16}
        path = tmp_path / "tiled.tif"
        with rasterio.open(path, "w", **profile) as file:
            file.write(scene)
    got = answers_of(convolutional, path, window=32, stride=24, blend="crop")
    assert torch.allclose(got, whole_image(convolutional, scene), atol=1e-5)


def test_the_map_is_georeferenced_and_says_what_it_is(convolutional, write_tif, scene, tmp_path):
    path = write_tif(scene)
    made = run(convolutional, path, tmp_path / "map.tif", blend="crop", overlap=8, probabilities=True, uncertainty=True)
    expected = whole_image(convolutional, scene)
    classes = read(made.files["map"])
    sure = expected.topk(2, 0).values.diff(dim=0).abs()[0].numpy() > 1e-4
    assert np.array_equal(classes[0][sure], expected.argmax(0).numpy()[sure])
    with rasterio.open(path) as source:
        grid = (source.crs, source.transform, source.shape)
    with rasterio.open(made.files["map"]) as file:
        assert (file.crs, file.transform, file.shape) == grid
        assert (file.nodata, file.dtypes, file.descriptions) == (255, ("uint8",), ("class",))
        assert json.loads(file.tags()["classes"]) == list(CLASSES)
        assert file.tags()["model_hash"] == "e" * 16
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert len({file.colormap(1)[i][:3] for i in range(3)}) == 3
    shares = read(made.files["probabilities"])
    with rasterio.open(made.files["probabilities"]) as file:
        assert file.descriptions == CLASSES
        assert np.allclose(shares * file.scales[0], expected.numpy(), atol=0.0021)
    doubt = read(made.files["uncertainty"])
    entropy = torch.special.entr(expected).sum(0) / math.log(3)
    assert np.allclose(doubt[0] / 250, entropy.numpy(), atol=0.0021)
    assert list(tmp_path.glob(".*")) == []


def test_a_zarr_group_holds_the_same_numbers_in_the_same_place(convolutional, write_tif, scene, tmp_path):
    path = write_tif(scene)
    tif = run(convolutional, path, tmp_path / "map.tif", probabilities=True)
    made = run(convolutional, path, tmp_path / "map.zarr", probabilities=True)
    assert made.files == {"map": str(tmp_path / "map.zarr")}
    group = zarr.open_group(tmp_path / "map.zarr", mode="r")
    for name in ("map", "probabilities"):
        assert np.array_equal(group[name][...], read(tif.files[name]))
    with rasterio.open(path) as file:
        assert np.allclose(group["x"][:2], [file.xy(0, 0)[0], file.xy(0, 1)[0]])
        assert np.allclose(group["y"][:2], [file.xy(0, 0)[1], file.xy(1, 0)[1]])
        assert rasterio.crs.CRS.from_wkt(group["spatial_ref"].attrs["crs_wkt"]) == file.crs
    assert group["probabilities"].attrs["scale_factor"] == 1 / 250
    assert group.attrs["model_hash"] == "e" * 16
    with pytest.raises(DataError, match="exists already"):
        run(convolutional, path, tmp_path / "map.zarr")


def test_what_was_not_observed_has_no_answer_and_an_empty_scene_gives_an_empty_map(
    convolutional, write_tif, scene, tmp_path
):
    scene[:, 10:30, 20:95] = 0
    made = run(convolutional, write_tif(scene, nodata=0), tmp_path / "map.tif")
    classes = read(made.files["map"])
    assert np.array_equal(classes[0] == 255, (scene == 0).all(0))
    empty = run(convolutional, write_tif(np.zeros_like(scene), "empty.tif", nodata=0), tmp_path / "empty_map.tif")
    assert (read(empty.files["map"]) == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 100), (31, 33), (33, 31)])
def test_scenes_smaller_than_a_window_are_padded_and_cut_back(convolutional, write_tif, shape, tmp_path):
    pixels = np.random.default_rng(0).integers(1, 255, (3, *shape), dtype=np.uint8)
    made = run(convolutional, write_tif(pixels), tmp_path / "map.tif")
    classes = read(made.files["map"])
    assert classes.shape == (1, *shape)
    assert (classes < 3).all()


def test_blending_removes_the_seams_of_a_transformer(transformer, write_tif, tmp_path):
    """The mean step between pixels on both sides of a seam, beside that of all pixels: 1 is no seam."""
    pixels = np.random.default_rng(0).integers(1, 255, (3, 24, 32)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    path = write_tif(pixels)

    def seam(**tiling):
        steps = answers_of(transformer, path, window=32, **tiling).diff(dim=2).abs().mean((0, 1))
        return float(steps[31::32].mean() / steps.mean())

    hard, soft = seam(stride=32, blend="crop"), seam(stride=16, blend="cosine")
    assert hard > 1.3
    assert soft < 1.1


def test_flips_answer_the_same_for_a_mirrored_scene(transformer, write_tif, scene, tmp_path):
    both = scene[:, :64, :64], np.ascontiguousarray(scene[:, :64, 63::-1])
    maps = []
    for i, pixels in enumerate(both):
        made = run(
            transformer,
            write_tif(pixels, f"{i}.tif"),
            tmp_path / f"map{i}.tif",
            overlap=0,
            flips=True,
            probabilities=True,
        )
        maps.append(read(made.files["probabilities"]).astype(int))
    assert np.abs(maps[0] - maps[1][..., ::-1]).max() <= 1


def test_a_predictor_of_images_gives_one_cell_for_each_window(write_tif, scene, tmp_path):
    torch.manual_seed(0)
    head = LinearHead(features=6, outputs=3)
    nn.init.normal_(head.linear.weight, std=20)
    predictor = loaded(Blur(spec()), head, "classification")
    scene[:, :32, 32:64] = 0
    made = run(predictor, write_tif(scene, nodata=0), tmp_path / "map.tif", probabilities=True)
    classes = read(made.files["map"])
    assert classes.shape == (1, 3, 4)
    assert classes[0, 0, 1] == 255
    x = F.pad(torch.from_numpy(scene).float(), (0, 28, 0, 16))
    with torch.no_grad():
        first = predictor.predictor.encoder.layers(x[None, :, :32, :32] / 255).mean((-2, -1))
        expected = head.linear(first).softmax(1)[0]
    shares = read(made.files["probabilities"])
    assert np.allclose(shares[:, 0, 0] / 250, expected.numpy(), atol=0.0021)
    with rasterio.open(made.files["map"]) as file:
        assert file.transform.a == 320
        assert (file.transform.c, file.transform.f) == (600_000, 5_300_000)


def test_values_and_several_labels(write_tif, scene, tmp_path):
    torch.manual_seed(0)
    encoder, head = Blur(spec()), PixelHead(features=6, outputs=1)
    nn.init.normal_(head.linear.weight)
    scene[:, :5] = 0
    path = write_tif(scene, nodata=0)
    values = run(loaded(encoder, head, "regression", (), scaling=(10.0, 2.0)), path, tmp_path / "v.tif")
    array = read(values.files["map"])
    with rasterio.open(values.files["map"]) as file:
        assert math.isnan(file.nodata)
    assert np.isnan(array[0, :5]).all()
    assert np.isfinite(array[0, 5:]).all()
    assert abs(float(array[0, 5:].mean()) - 10) < 10
    with pytest.raises(InputError, match="gives no probabilities"):
        run(loaded(encoder, head, "regression", ()), path, tmp_path / "w.tif", uncertainty=True)
    head = PixelHead(features=6, outputs=2)
    nn.init.normal_(head.linear.weight, std=20)
    several = loaded(encoder, head, "multilabel", ("wet", "green"), thresholds=(0.5, 0.5))
    made = run(several, path, tmp_path / "l.tif", uncertainty=True)
    labels = read(made.files["map"])
    with rasterio.open(made.files["map"]) as file:
        assert file.descriptions == ("wet", "green")
    assert set(np.unique(labels[:, 5:])) <= {0, 1}


def test_a_scene_may_be_resampled_to_the_gsd_of_the_model(write_tif, scene, tmp_path):
    torch.manual_seed(0)
    predictor = loaded(Blur(spec(gsd=(20.0, 40.0))), PixelHead(features=6, outputs=3))
    path = write_tif(scene)
    with pytest.raises(InputError, match="GSD outside the range"):
        run(predictor, path, tmp_path / "map.tif")
    made = run(predictor, path, tmp_path / "map.tif", at_gsd="model")
    assert (made.shape, made.gsd, made.gsd_source) == ((40, 50), 20.0, "resampled")
    with rasterio.open(made.files["map"]) as file:
        assert (file.transform.a, file.transform.c) == (20, 600_000)


def test_bad_outputs_and_options_are_refused_before_any_work(convolutional, write_tif, scene, tmp_path):
    path = write_tif(scene)
    with pytest.raises(DataError, match=r"path that ends in \.tif, or for one scene in \.zarr"):
        run(convolutional, path, tmp_path / "map.png")
    with pytest.raises(RecipeError, match="batch size"):
        run(convolutional, path, tmp_path / "map.tif", batch_size=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        run(convolutional, path, tmp_path / "file" / "map.tif")
    with open_raster(path, bands=["red_edge", "nir", "x"]) as raster, pytest.raises(InputError, match="lack 3 bands"):
        predict_raster(convolutional, raster, out=tmp_path / "map.tif")
    assert not (tmp_path / "map.tif").exists()


KILLED = """
import sys
import torch
sys.path.insert(0, {tests!r})
from test_predict import PredictOptions, loaded, open_raster, predict_raster, spec
from ecotone.encoders import build_encoder
from ecotone.heads import PixelHead
from ecotone.rasters import layers

layers.SAVE_SECONDS = 0.0
torch.manual_seed(0)
encoder = build_encoder("vit", spec(), None, {{"patch": 8, "width": 32, "depth": 2, "heads": 2}})
head = PixelHead(features=32, outputs=3)
torch.nn.init.normal_(head.linear.weight)
with open_raster({raster!r}, sensor="rgb") as raster:
    options = PredictOptions(probabilities=True, batch_size=5, overlap=20)
    say = lambda done, total: print(done, flush=True)
    made = predict_raster(loaded(encoder, head), raster, out=sys.argv[1], options=options, on_progress=say)
print("resumed", made.resumed_rows, flush=True)
"""


def test_a_killed_run_goes_on_and_gives_the_same_bytes(write_tif, tmp_path):
    pixels = np.random.default_rng(0).integers(1, 255, (3, 600, 90), dtype=np.uint8)
    script = tmp_path / "script.py"
    script.write_text(KILLED.format(tests=str(Path(__file__).parent), raster=str(write_tif(pixels))))
    command = [sys.executable, str(script)]
    subprocess.run([*command, str(tmp_path / "whole.tif")], check=True, capture_output=True)
    process = subprocess.Popen([*command, str(tmp_path / "map.tif")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) > 150:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert not (tmp_path / "map.tif").exists()
    again = subprocess.run([*command, str(tmp_path / "map.tif")], check=True, capture_output=True, text=True)
    assert int(again.stdout.split()[-1]) > 0
    for name in ("{}.tif", "{}.probabilities.tif"):
        whole, resumed = (tmp_path / name.format(stem) for stem in ("whole", "map"))
        assert whole.read_bytes() == resumed.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(convolutional, write_tif, tmp_path):
    pixels = np.random.default_rng(0).integers(1, 255, (3, 400, 100), dtype=np.uint8)
    path, out = write_tif(pixels), tmp_path / "map.tif"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match="cannot write"):
            run(convolutional, path, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not out.exists()
    run(convolutional, path, out)
    whole = run(convolutional, path, tmp_path / "whole.tif")
    assert out.read_bytes() == Path(whole.files["map"]).read_bytes()


def test_other_settings_do_not_go_on_from_what_was_left(convolutional, write_tif, scene, tmp_path):
    path = write_tif(scene)

    def stop(done, total):
        raise KeyboardInterrupt

    with open_raster(path, sensor="rgb") as raster, pytest.raises(KeyboardInterrupt):
        predict_raster(convolutional, raster, out=tmp_path / "map.tif", on_progress=stop)
    assert list(tmp_path.glob(".map.tif.unfinished"))
    assert run(convolutional, path, tmp_path / "map.tif", overlap=8).resumed_rows == 0
    assert not list(tmp_path.glob(".map.tif.unfinished"))
