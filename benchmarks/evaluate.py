"""Speed and memory of the evaluator.

    python -m benchmarks.evaluate --json

Prints JSON lines. ``extraction``: features of JPEG tiles from disk and of the same tiles in memory, in turns, with a
ViT-S/16; ``ratio`` is the share of the pure model's speed that remains. ``probe``: a whole evaluation, kNN and linear,
for a quarter, a half and all of the tiles, each in a process of its own. ``knn``: 10,000 queries against a million
features, in turns with the matrix products alone; memory is what it adds to its arguments. The tiles are synthetic:
figures of speed, not of quality.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.machine import machine, matmul_peak, peak_memory, reset_peak_memory, seconds
from ecotone.data import open_dataset
from ecotone.encoders import Encoder, Readout, build_encoder
from ecotone.encoders.vit import SIZES
from ecotone.evaluation import evaluate
from ecotone.evaluation.features import Reader, encode, extract
from ecotone.evaluation.scales import View
from ecotone.heads.knn import BANK, QUERIES, neighbours
from ecotone.inputs import InputSpec, RoleSpec, ZScore

CPU = torch.device("cpu")
SIDE, CLASSES = 64, 10


def model(size: str = "small") -> Encoder:
    """A ViT of patch 16 with random weights."""
    torch.manual_seed(0)
    normaliser = ZScore(mean=(90.0,) * 3, std=(50.0,) * 3)
    role = RoleSpec(sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=normaliser)
    config = {"patch": 16, **SIZES[size]}
    return build_encoder("vit", InputSpec(roles={"optical": role}, size_multiple=16), Readout(), config).eval()


def write_tiles(folder: Path, count: int) -> Path:
    """JPEG tiles of smooth noise around a colour for each class; six of ten train, two val, two test."""
    draw = np.random.default_rng(0)
    colours = draw.uniform(60, 200, (CLASSES, 3))
    folder.mkdir()
    rows = ["path,label,split"]
    for i in range(count):
        small = draw.normal(colours[i % CLASSES], 30, (16, 16, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=90)
        split = ("train", "train", "train", "val", "test")[i // CLASSES % 5]
        rows.append(f"{i}.jpg,class {i % CLASSES},{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "dataset.yaml").write_text("name: tiles\nsensor: rgb\nbands: [R, G, B]\nunit: uint8\ngsd: 10.0\n")
    return folder


def extraction_row(folder: Path, repeats: int) -> dict[str, object]:
    encoder, dataset = model(), open_dataset(folder)
    reader, view = Reader(("optical",), (SIDE, SIDE)), View(1.0, (SIDE, SIDE), (SIDE, SIDE))
    source, batches = encode(encoder), list(reader.batches(dataset, view))

    def alone() -> None:
        with torch.inference_mode():
            for batch in batches:
                source(batch)

    def from_disk() -> None:
        extract(reader, dataset, view, {"vit": [source]})

    best = _in_turns({"model_alone": alone, "extraction": from_disk}, repeats)
    speed = {f"{name}_images_per_s": len(dataset) / each for name, each in best.items()}
    return {"name": "extraction", "images": len(dataset), "ratio": best["model_alone"] / best["extraction"], **speed}


def probe_rows(folder: Path, counts: list[int]) -> list[dict[str, object]]:
    rows = []
    for count in counts:
        tiles = write_tiles(folder / str(count), count)
        command = [sys.executable, "-m", "benchmarks.evaluate", "--probe", str(tiles)]
        command += ["--threads", str(torch.get_num_threads())]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return rows


def probe_row(folder: Path) -> dict[str, object]:
    started, count = time.perf_counter(), sum(1 for _ in folder.glob("*.jpg"))
    evaluate([model()], folder, scales=(1,), protocols=["knn", "linear"], floors=False)
    taken = time.perf_counter() - started
    return {
        "name": "probe",
        "images": count,
        "seconds": taken,
        "ms_per_image": 1000 * taken / count,
        "peak_mib": peak_memory(CPU),
    }


def knn_row(gallery: int, queries: int, width: int, repeats: int) -> dict[str, object]:
    draw = torch.Generator().manual_seed(0)
    train, asked = torch.randn(gallery, width, generator=draw), torch.randn(queries, width, generator=draw)

    def products() -> None:
        for part in train.split(BANK):
            for some in asked.split(QUERIES):
                torch.mm(some, part.T)

    before = reset_peak_memory(CPU)
    best = _in_turns({"knn": lambda: neighbours(train, asked, 20), "products": products}, repeats)
    added = peak_memory(CPU) - before
    some = asked[:16]
    exact = (F.normalize(some.double(), dim=1) @ F.normalize(train.double(), dim=1).T).topk(20, dim=1).values
    worst = (neighbours(train, some, 20)[0] - exact).abs().max()
    work = 2 * gallery * queries * width / 1e9
    peak = matmul_peak(torch.float32, CPU)
    return {
        "name": "knn",
        "gallery": gallery,
        "queries": queries,
        "width": width,
        "seconds": best["knn"],
        "share_of_products_speed": best["products"] / best["knn"],
        "share_of_matmul_peak": work / best["knn"] / peak,
        "added_mib": added,
        "largest_error_of_similarity": float(worst),
    }


def _in_turns(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Shortest time of each; they take turns, so that other work on the machine disturbs all alike."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            found[name].append(seconds(work, CPU))
    return {name: min(each) for name, each in found.items()}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a line (the only format there is)")
    parser.add_argument("--only", default="extraction,probe,knn", help="names, joined by commas")
    parser.add_argument("--images", type=int, default=27_000, help="of the largest probe")
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--probe", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    if options.probe:
        return _print(probe_row(options.probe))
    names = options.only.split(",")
    _print({"name": "machine", **machine(CPU)})
    with tempfile.TemporaryDirectory() as folder:
        if "extraction" in names:
            _print(extraction_row(write_tiles(Path(folder) / "some", min(2000, options.images)), options.repeats))
        if "probe" in names:
            for row in probe_rows(Path(folder), [options.images // 4, options.images // 2, options.images]):
                _print(row)
    if "knn" in names:
        _print(knn_row(options.gallery, options.queries, 256, max(1, options.repeats - 1)))


def _print(row: dict[str, object]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
