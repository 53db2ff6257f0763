"""Speed and memory of predicting a raster.

    python -m benchmarks.rasters --json

Makes a tiled, deflated GeoTIFF of 12 bands of uint16 (synthetic: figures of speed, not of quality) and predicts it with
windows of 224 pixels, stride 192, cosine blend. Prints JSON lines, for one pinned core and then for two, each in a
process of its own; the parts and the whole run in turns, and medians are divided:

``trivial``  A 1 x 1 convolution. ``ratio`` is the whole over (every block of the raster read once + the model on the
             same windows, in memory + the map written).
``vit``      A ViT-S/16 on fewer rows. ``ratio`` is the whole over the model alone on the same windows, in memory.
``memory``   Largest resident memory of a process that predicts the raster, and one with a quarter of its rows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ.setdefault("GDAL_CACHEMAX", "64")  # before GDAL starts: the part of memory that it would choose itself
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch starts, as `ecotone predict` does

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window

from benchmarks.machine import machine
from ecotone.encoders import Encoder, Features, build_encoder
from ecotone.encoders.vit import SIZES
from ecotone.heads import PixelHead, Predictor
from ecotone.inference import PredictOptions, predict_raster
from ecotone.inference.answering import Answering
from ecotone.inference.windows import read_windows
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.rasters import Raster, open_raster
from ecotone.rasters.tiling import Tiling
from ecotone.samples import Batch
from ecotone.sensors import sensor
from ecotone.weights import LoadedPredictor, Model
from ecotone.weights.model import Card, EncoderCard
from ecotone.weights.predictor import HeadCard

SENSOR, ROLE, WINDOW, STRIDE, BATCH = "sentinel2-l2a", "optical", 224, 192, 4
BANDS = tuple(b.name for b in sensor(SENSOR).bands)
CLASSES = ("water", "trees", "grass", "built")


class Pixels(Encoder):
    """The normalised pixels themselves: with a linear head on them, a 1 x 1 convolution."""

    kind = "pixels"

    @property
    def width(self) -> int:
        return len(BANDS)

    def config(self) -> dict[str, Any]:
        return {}

    def forward_intermediates(self, prepared: Batch, layers: Any) -> Features:
        pixels = prepared[ROLE].pixels[:, 0]
        return Features(maps=[pixels], strides=[1], pooled=pixels.mean((-2, -1)))

    def forward_features(self, prepared: Batch, keep: Any = None) -> Features:
        return self.forward_intermediates(prepared, (-1,))


def predictor(kind: str) -> LoadedPredictor:
    """A dense predictor with random weights."""
    torch.manual_seed(0)
    normaliser = ZScore(mean=(1200.0,) * len(BANDS), std=(600.0,) * len(BANDS))
    role = RoleSpec(sensor=SENSOR, bands=BANDS, unit="reflectance x 10000", normaliser=normaliser)
    if kind == "vit":
        spec = InputSpec(roles={ROLE: role}, size_multiple=16)
        encoder = build_encoder("vit", spec, None, {"patch": 16, **SIZES["small"]})
    else:
        encoder = Pixels(InputSpec(roles={ROLE: role}))
    head = PixelHead(features=encoder.width, outputs=len(CLASSES))
    torch.nn.init.normal_(head.linear.weight)
    made = Predictor(encoder, head, "segmentation", CLASSES).eval()
    card = EncoderCard(kind=kind, config={}, readout=encoder.readout, image_size=WINDOW)
    model = Model(encoder, Card(name=kind, encoder=card, input=encoder.spec), "0" * 16, Path())
    sums = {"encoder_sha256": "0" * 64, "weights_sha256": "0" * 64}
    head_card = HeadCard.model_validate(
        {"task": "segmentation", "classes": CLASSES, "kind": "pixel", "config": {}, **sums}
    )
    return LoadedPredictor(made, head_card, model)


def write_raster(path: Path, rows: int, cols: int) -> Path:
    """Smooth land with noise of a few counts, as a sensor gives it."""
    draw = np.random.default_rng(0)
    profile = {"count": len(BANDS), "height": rows, "width": cols, "dtype": "uint16", "crs": "EPSG:32632"}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 2}
    transform = Affine(10, 0, 600_000, 0, -10, 5_300_000)
    with rasterio.open(path, "w", driver="GTiff", transform=transform, num_threads="all_cpus", **profile) as file:
        file.descriptions = BANDS
        for top in range(0, rows, 512):
            size = min(512, rows - top)
            land = draw.uniform(300, 3000, (len(BANDS), 1 + size // 32, 1 + cols // 32)).astype(np.float32)
            block = land.repeat(32, 1).repeat(32, 2)[:, :size, :cols]
            noise = draw.integers(0, 40, (size, cols), dtype=np.uint16)
            file.write(block.astype(np.uint16) + noise, window=Window(0, top, cols, size))  # pyright: ignore
    return path


def opened(path: Path) -> Raster:
    return open_raster(path, sensor=SENSOR)


def read_alone(path: Path) -> None:
    """Every block once, into one strip of memory."""
    with rasterio.open(path) as file:
        out = np.empty((file.count, 512, file.width), file.dtypes[0])
        for top in range(0, file.height, 512):
            size = min(512, file.height - top)
            file.read(window=Window(0, top, file.width, size), out=out[:, :size])  # pyright: ignore


def windows_in_memory(path: Path) -> tuple[list[np.ndarray], int]:
    """Batches of a row of windows, more than a cache holds, and how many windows the raster has."""
    with opened(path) as raster:
        tiling = Tiling(raster.shape, WINDOW, STRIDE)
        batches = islice(read_windows({ROLE: raster}, tiling, BATCH), -(-len(tiling.cols) // BATCH))
        return [b.pixels[ROLE] for b in batches], len(tiling)


def model_alone(loaded: LoadedPredictor, path: Path, batches: list[np.ndarray], count: int) -> None:
    """The answers for as many windows as the raster has, with torch's own threads."""
    with opened(path) as raster:
        answering = Answering(loaded.predictor, raster)
        for start, pixels in zip(range(0, count, BATCH), cycle(batches), strict=False):
            size = min(BATCH, count - start)
            answering({ROLE: pixels[:size]}, None)


def write_alone(path: Path, classes: np.ndarray) -> None:
    """A map in memory, as the same kind of file."""
    height, width = classes.shape
    profile = {"count": 1, "height": height, "width": width, "dtype": "uint8", "nodata": 255, "crs": "EPSG:32632"}
    transform = Affine(10, 0, 600_000, 0, -10, 5_300_000)
    options = {"compress": "deflate", "blocksize": 512, "overview_resampling": "mode", "num_threads": "all_cpus"}
    with rasterio.open(path, "w", driver="COG", transform=transform, **profile, **options) as file:
        file.write(classes, 1)


def whole(loaded: LoadedPredictor, path: Path, out: Path) -> None:
    with opened(path) as raster:
        options = PredictOptions(window=WINDOW, overlap=WINDOW - STRIDE, batch_size=BATCH)
        predict_raster(loaded, raster, out=out, options=options)


def in_turns(parts: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each; one round of all first."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeats):
        for name, work in parts.items():
            started = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}


def timed(kind: str, path: Path, repeats: int) -> dict[str, object]:
    loaded, out = predictor(kind), path.with_name("map.tif")
    batches, count = windows_in_memory(path)
    whole(loaded, path, out)
    with rasterio.open(out) as file:
        classes = file.read(1)
    parts = {
        "read": lambda: read_alone(path),
        "model": lambda: model_alone(loaded, path, batches, count),
        "write": lambda: write_alone(path.with_name("alone.tif"), classes),
        "whole": lambda: whole(loaded, path, out),
    }
    spent = in_turns(parts, repeats)
    floor = spent["model"] if kind == "vit" else spent["read"] + spent["model"] + spent["write"]
    mpix = classes.size / 1e6 / spent["whole"]
    return {"windows": count, "ratio": spent["whole"] / floor, "seconds": spent, "mpix_per_s": mpix}


def memory(kind: str, path: Path) -> dict[str, object]:
    with opened(path) as raster:
        rows = raster.shape[0]
    whole(predictor(kind), path, path.with_name("map.tif"))
    return {"rows": rows, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def child(what: str, kind: str, path: Path, cores: int, repeats: int) -> dict[str, Any]:
    """As ``worker``, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.rasters", "--worker", what, "--model", kind, "--raster", str(path)]
    command += ["--cores", str(cores), "--repeats", str(repeats)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def worker(options: argparse.Namespace) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    torch.set_num_threads(options.cores)
    path = options.raster
    row = memory(options.model, path) if options.worker == "memory" else timed(options.model, path, options.repeats)
    print(json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON lines, which is all there is")
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--cols", type=int, default=8192)
    parser.add_argument("--vit-rows", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("trivial", "vit", "memory"))
    parser.add_argument("--worker", choices=("time", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=("pixels", "vit"), help=argparse.SUPPRESS)
    parser.add_argument("--raster", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
        return
    _say({"name": "machine", **machine(torch.device("cpu"))})
    with tempfile.TemporaryDirectory() as folder:
        _measure(options, Path(folder))


def made(path: Path, rows: int, cols: int) -> Path:
    """The raster, written by another process: a child's peak memory starts from what its parent holds."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(write_raster, path, rows, cols).result()


def _measure(options: argparse.Namespace, folder: Path) -> None:
    wanted = (options.only,) if options.only else ("trivial", "vit", "memory")
    full = made(folder / "full.tif", options.rows, options.cols) if wanted != ("vit",) else None
    cores = [n for n in (1, 2) if n <= len(os.sched_getaffinity(0))]
    if full and "trivial" in wanted:
        for n in cores:
            row = child("time", "pixels", full, n, options.repeats)
            _say({"name": "trivial", "cores": n, "rows": options.rows, "cols": options.cols, **row})
    if "vit" in wanted:
        some = made(folder / "some.tif", options.vit_rows, options.cols)
        for n in cores:
            row = child("time", "vit", some, n, options.repeats)
            _say({"name": "vit", "cores": n, "rows": options.vit_rows, "cols": options.cols, **row})
    if full and "memory" in wanted:
        quarter = made(folder / "quarter.tif", options.rows // 4, options.cols)
        pair = [child("memory", "pixels", path, 1, 1) for path in (quarter, full)]
        growth = pair[1]["peak_mib"] / pair[0]["peak_mib"]
        _say({"name": "memory", "cols": options.cols, "growth": growth, "quarter": pair[0], "full": pair[1]})


def _say(row: dict[str, object]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
