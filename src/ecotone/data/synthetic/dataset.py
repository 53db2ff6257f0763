"""A labelled dataset of chips cut from the synthetic Earth, with splits by place."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import zip_longest
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from ecotone.data.synthetic.cover import CLASSES
from ecotone.data.synthetic.noise import Array, hash32, uniform
from ecotone.data.synthetic.world import World, to_degrees
from ecotone.data.synthetic.writing import write_png, write_scene
from ecotone.errors import DataError
from ecotone.files import new_folder
from ecotone.sensors import Sensor, sensor

CHIP_CLASSES = tuple(c for c in CLASSES if c != "road")  # no chip is mostly road
DOMINANT = 0.6  # least share of a chip that its label covers
SPLITS = {"train": 0.6, "val": 0.2, "test": 0.2}
_PROBES = 8  # land-cover samples per chip side when chips are chosen
_TILE = 8  # chips per side that are probed at a time
_BLOCK_M = 8000.0  # least side of the squares that belong to one split as a whole
_PER_SIDE = 16, 24  # least and most chips along a block
_SIDE = 12  # blocks along a side of the world that chips are taken from
_SEASON = (60, 310)  # days of the year between which chips are dated, when no date is given


@dataclass(frozen=True)
class Chip:
    """A chosen chip: its north-west corner in metres, class, split and block, and the day it is seen."""

    x: float
    y: float
    label: str
    split: str
    block: int
    day: date


def write_dataset(
    folder: str | Path,
    *,
    n: int = 2000,
    size: int = 64,
    gsd: float = 10.0,
    sensor_name: str = "rgb",
    seed: int = 0,
    day: date | None = None,
    splits: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a classification dataset: chips, ``manifest.csv``, ``places.csv`` and ``dataset.yaml``.

    The label is the class that covers at least 60 % of a chip; classes are equally frequent up to one chip per split.
    Whole blocks of 8 km or more belong to one split, so that no test chip lies beside a training chip.

    Args:
        folder: A new or empty folder.
        n: Number of chips.
        size: Pixels per side.
        gsd: Metres per pixel.
        sensor_name: ``rgb`` is written as PNG, other sensors as GeoTIFF.
        seed: Seed of the world and of the choice.
        day: Date of all chips; without it every chip has its own, from March to November 2021.
        splits: Split -> share of the chips; 60 % train, 20 % val and 20 % test by default.
        progress: Called with the number of chips written so far, and ``n``.

    Raises:
        DataError: The folder is not empty, the numbers make no dataset, or the world has too few places for it.
        SensorError: The sensor is unknown or sees nothing that the synthetic Earth has.
    """
    target = sensor(sensor_name)
    if n < 1 or size < 1 or not gsd > 0:
        raise DataError("a dataset needs chips, pixels and a GSD above zero", found=f"{n} of {size} pixels, {gsd} m")
    world = World(seed)
    with new_folder(folder) as temporary:
        chips = choose_chips(world, n, size * gsd, gsd, day, splits or SPLITS)
        names = _names(chips, "png" if _as_png(target) else "tif")
        # Neighbours one after another, so that the smooth fields under them are computed once.
        for done, i in enumerate(sorted(range(n), key=lambda i: (chips[i].block, chips[i].y, chips[i].x)), 1):
            _write_chip(temporary / names[i], world, chips[i], size, gsd, target)
            if progress:
                progress(done, n)
        _write_tables(temporary, list(zip(names, chips, strict=True)), size * gsd)
        _describe(temporary, target, gsd, seed)
    return Path(folder)


def choose_chips(
    world: World, n: int, extent: float, gsd: float, day: date | None, splits: Mapping[str, float]
) -> list[Chip]:
    """Choose n chips of this extent in metres, the same number of every class in every split.

    Raises:
        DataError: The shares are not positive, or the blocks hold too few places of some class.
    """
    wanted = _quotas(n, splits)
    found: dict[tuple[str, str], list[list[Chip]]] = {key: [] for key in wanted}
    for block, split in enumerate(_block_splits(splits)):
        if all(_supply(found[key], many) >= many for key, many in wanted.items()):
            break
        for label, places in _candidates(world, block, extent, gsd).items():
            chips = [Chip(x, y, label, split, block, day or _day(world.seed, x, y)) for x, y in places]
            found[split, label].append(chips)
    return [chip for key, many in wanted.items() for chip in _deal(key, found[key], many)]


def _supply(blocks: list[list[Chip]], many: int) -> int:
    """Chips on offer when no block gives more than a quarter, so that every class comes from several blocks."""
    return sum(min(len(block), -(-many // 4)) for block in blocks)


def _deal(key: tuple[str, str], blocks: list[list[Chip]], many: int) -> list[Chip]:
    """Take one chip of each block in turn until there are as many as wanted."""
    dealt = [chip for turn in zip_longest(*blocks) for chip in turn if chip is not None]
    if len(dealt) < many:
        raise DataError(
            f"this world has too few places of class {key[1]} for the {key[0]} split",
            found=len(dealt),
            expected=many,
            mend="Ask for fewer or smaller chips, or another seed.",
        )
    return dealt[:many]


def _quotas(n: int, splits: Mapping[str, float]) -> dict[tuple[str, str], int]:
    """Chips per split and class; what does not divide goes to the first ones."""
    if not splits or min(splits.values()) <= 0:
        raise DataError("the shares of the splits must be above zero", found=dict(splits))
    ends = np.rint(np.cumsum([0, *splits.values()]) / sum(splits.values()) * n).astype(int)
    k = len(CHIP_CLASSES)
    return {
        (split, label): int(many // k + (i < many % k))
        for split, many in zip(splits, np.diff(ends), strict=True)
        for i, label in enumerate(CHIP_CLASSES)
    }


def _block_splits(splits: Mapping[str, float]) -> list[str]:
    """The split of every block: in every run of blocks the shares are as near to those wanted as they can be."""
    given: Counter[str] = Counter()
    order = []
    for _ in range(_SIDE**2):
        split = min(splits, key=lambda s: (given[s] + 1) / splits[s])
        given[split] += 1
        order.append(split)
    return order


def _candidates(world: World, block: int, extent: float, gsd: float) -> dict[str, list[tuple[float, float]]]:
    """Class -> corners of the block's chips that it dominates, in random order."""
    chips = int(np.clip(_BLOCK_M / extent, *_PER_SIDE))
    stride = np.ceil(max(extent, _BLOCK_M / chips) / gsd) * gsd
    # The outermost ring of every block stays empty, so that chips of two splits never touch.
    pitch = (chips + 2) * stride
    left, top = block % _SIDE * pitch + stride, -(block // _SIDE) * pitch - stride
    dominant = _dominant(world, left + np.arange(chips) * stride, top - np.arange(chips) * stride, extent)
    ix, iy = (a.ravel() for a in np.meshgrid(np.arange(chips), np.arange(chips)))
    order = np.argsort(hash32(ix, iy + block * 4096, world.seed * 1009 + 82), kind="stable")
    found: dict[str, list[tuple[float, float]]] = {label: [] for label in CHIP_CLASSES}
    for k in order:
        label = CLASSES[dominant[iy[k], ix[k]] - 1] if dominant[iy[k], ix[k]] else ""
        if label in found:
            found[label].append((float(left + ix[k] * stride), float(top - iy[k] * stride)))
    return found


def _dominant(world: World, west: Array, north: Array, extent: float) -> NDArray[np.uint8]:
    """(H, W) code of the class that clearly dominates each chip, 0 where none does, from the chips' corners."""
    out = np.zeros((len(north), len(west)), np.uint8)
    probes = (np.arange(_PROBES) + 0.5) * extent / _PROBES
    for row in range(0, len(north), _TILE):
        for column in range(0, len(west), _TILE):
            xs, ys = west[column : column + _TILE, None] + probes, north[row : row + _TILE, None] - probes
            cover = world.ground(xs.ravel(), ys.ravel()).cover.reshape(len(ys), _PROBES, len(xs), _PROBES)
            shares = np.stack([(cover == code).mean((1, 3)) for code in range(1, len(CLASSES) + 1)])
            # A margin over DOMINANT, because the probes are fewer than the pixels.
            best = np.where(shares.max(0) > DOMINANT + 0.04, shares.argmax(0) + 1, 0)
            out[row : row + len(ys), column : column + len(xs)] = best
    return out


def _day(seed: int, x: float, y: float) -> date:
    first, last = _SEASON
    luck = float(uniform(np.array([int(x)]), int(y), seed * 1009 + 83)[0])
    return date(2021, 1, 1) + timedelta(days=int(first + luck * (last - first)))


def _as_png(target: Sensor) -> bool:
    return target.physical_unit.name == "uint8"


def _names(chips: list[Chip], suffix: str) -> list[str]:
    return [f"{chip.label}/{chip.label}_{i:05d}.{suffix}" for i, chip in enumerate(chips)]


def _write_chip(path: Path, world: World, chip: Chip, size: int, gsd: float, target: Sensor) -> None:
    scene = world.scene((chip.x, chip.y), size, gsd=gsd, sensor=target, day=chip.day)
    path.parent.mkdir(exist_ok=True)
    if _as_png(target):
        write_png(scene.image.pixels[0].numpy(), path)
    else:
        write_scene(scene, path)


def _write_tables(folder: Path, rows: list[tuple[str, Chip]], extent: float) -> None:
    half, degrees = extent / 2, to_degrees()
    listed = ((p, c.label, c.split, *degrees.transform(c.x + half, c.y - half)) for p, c in rows)
    _write_csv(folder / "manifest.csv", ("path", "label", "split", "lon", "lat"), listed)
    places = ((p, c.x, c.y, c.block, c.split, c.day.isoformat()) for p, c in rows)
    _write_csv(folder / "places.csv", ("path", "x", "y", "block", "split", "date"), places)


def _write_csv(path: Path, head: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        table.writerows(rows)


def _describe(folder: Path, target: Sensor, gsd: float, seed: int) -> None:
    facts = {
        "name": f"synthetic-{target.name}-seed{seed}",
        "synthetic": True,
        "task": "classification",
        "sensor": target.name,
        "bands": list(target.band_names),
        "unit": target.unit,
        "gsd": gsd,
        "classes": list(CHIP_CLASSES),
        "split_kind": "spatial blocks",
        "licence": "CC0-1.0; procedurally generated by Ecotone, not imagery of the Earth",
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), "utf-8")
