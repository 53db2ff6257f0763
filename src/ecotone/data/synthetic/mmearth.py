"""A dataset of the synthetic Earth in the official layout of MMEarth v001."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from pyproj import Transformer

from ecotone.data.catalog.mmearth_layout import LAYERS, SENTINEL2
from ecotone.data.synthetic.mmearth_statistics import BandStatistics
from ecotone.data.synthetic.mmearth_tiles import GSD, Stored, TilePlan, draw_tile
from ecotone.data.synthetic.world import CRS, EASTING, NORTHING, World
from ecotone.data.synthetic.writing import SYNTHETIC
from ecotone.errors import DataError
from ecotone.files import new_folder

_PER_BLOCK = 8  # tiles near each other, so that the smooth fields under them are computed once
_PITCH_M = 1300.0  # between their middles; a tile of 128 pixels is 1280 m wide
_CELL_M, _WIDE, _HIGH = 10_000.0, 30, 250  # one block in each cell of this grid: 6 to 12 degrees east, 37 to 60 north
_VAL = 10  # one block of ten is for validation
# Share of the tiles in which something is missing; part: a corner of it.
_GAPS = {
    "sentinel2 part": 0.04, "dynamic_world": 0.02, "dynamic_world part": 0.04, "canopy_height_eth": 0.03,
    "canopy_height_eth part": 0.05, "esa_worldcover part": 0.05, "era5": 0.03,
}  # fmt: skip
_PASSES = ((0.84, ("VV", "VH")), (0.88, ("VV",)), (0.91, ("HH", "HV")), (1.0, ()))  # cumulative shares
_DTYPES = {
    "sentinel2": "uint16", "sentinel2_cloudmask": "uint16", "sentinel2_cloudprod": "uint16", "sentinel2_scl": "uint8",
    "sentinel1": "float32", "aster": "int16", "era5": "float32", "dynamic_world": "uint8",
    "canopy_height_eth": "int8", "lat": "float32", "lon": "float32", "biome": "uint8", "eco_region": "uint16",
    "month": "float32", "esa_worldcover": "uint8",
}  # fmt: skip


def write_mmearth(
    folder: str | Path,
    *,
    n: int = 2000,
    size: int = 64,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write tiles in all modalities: ``data_*.h5``, its three JSON files, and a ``dataset.yaml`` that says synthetic.

    The files are named after the folder, with ``data_`` before it where it lacks that. About half of the tiles are
    L1C, some lack passes or polarisations of Sentinel-1, or parts of other modalities. Season, snow and haze follow
    the date, temperature follows latitude, elevation and month, the biome follows cover and elevation. One square
    of 10 km in ten is the ``val`` split.

    Args:
        folder: A new or empty folder.
        n: Number of tiles.
        size: Pixels of 10 m per side; the released variants have 64 and 128.
        seed: Seed of the world and of the choice. A smaller size shows the middle of the same tiles.
        progress: Called with the number of tiles written so far, and ``n``.

    Raises:
        DataError: The folder is not empty, or the numbers make no dataset.
    """
    most = _WIDE * _HIGH * _PER_BLOCK
    if not 1 <= n <= most or not 1 <= size <= 128:
        raise DataError(
            "a synthetic MMEarth needs tiles and pixels",
            found=f"{n} tiles of {size} pixels",
            expected=f"1 to {most} tiles of 1 to 128 pixels",
        )
    name = Path(folder).name
    stem = name if name.startswith("data_") else f"data_{name}"
    plans, world, statistics = plan_tiles(seed, n), World(seed), BandStatistics()
    with new_folder(folder) as temporary:
        with h5py.File(temporary / f"{stem}.h5", "w") as file:
            arrays = _create(file, n, size)
            info: dict[str, Any] = {}
            for row, plan in enumerate(plans):
                tile = draw_tile(world, plan, size, np.random.default_rng([seed, 2, row]))
                for array, values in tile.items():
                    arrays[array][row] = values
                arrays["metadata"][row] = (plan.key, plan.level)
                statistics.add(tile, plan.level)
                info[plan.key] = _facts(plan, tile)
                if progress:
                    progress(row + 1, n)
        tables = {"tile_info": info, "splits": _splits(plans, seed), "band_stats": statistics.table()}
        for tail, content in tables.items():
            (temporary / f"{stem}_{tail}.json").write_text(json.dumps(content), "utf-8")
        _describe(temporary, stem, seed)
    return Path(folder)


def plan_tiles(seed: int, n: int) -> list[TilePlan]:
    """Where and when the first n tiles of a seed are seen; a longer plan begins with a shorter one."""
    luck = np.random.default_rng([seed, 1])
    degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    cells = luck.permutation(_WIDE * _HIGH)
    plans = []
    for i in range(n):
        block, place = divmod(i, _PER_BLOCK)
        cell = int(cells[block])
        x = (cell % _WIDE - _WIDE / 2) * _CELL_M + (1.5 + place % 3) * _PITCH_M
        y = (cell // _WIDE - _HIGH / 2) * _CELL_M + (1.5 + place // 3) * _PITCH_M
        lon, lat = degrees.transform(EASTING + x, NORTHING + y)
        day = date(2017, 1, 1) + timedelta(days=int(luck.integers(0, 4 * 365)))
        level = "l2a" if luck.random() < 0.45 else "l1c"
        asc, desc = (next(have for share, have in _PASSES if draw < share) for draw in luck.random(2))
        gaps = frozenset(gap for gap, share in _GAPS.items() if luck.random() < share)
        plans.append(TilePlan(str(i), x, y, float(lat), float(lon), block, day, level, asc, desc, gaps))
    return plans


def _create(file: h5py.File, n: int, size: int) -> dict[str, h5py.Dataset]:
    """The empty arrays, compressed and cut into single tiles as in the released files."""
    file.attrs[SYNTHETIC[0]] = SYNTHETIC[1]
    made = {}
    for name, dtype in _DTYPES.items():
        layer = LAYERS.get(name)
        bands = layer.stored if layer else 1
        shape = (bands,) if layer and layer.scope == "image" else (bands, size, size)
        made[name] = file.create_dataset(name, (n, *shape), dtype, chunks=(1, *shape), compression="gzip")
    kind = np.dtype([("tile_id", "S100"), ("S2_type", "S10")])
    made["metadata"] = file.create_dataset("metadata", (n,), kind, chunks=(1,), compression="gzip")
    return made


def _facts(plan: TilePlan, tile: Stored) -> dict[str, Any]:
    """The entry of ``_tile_info.json``."""
    spectral = [band for band in SENTINEL2 if band != "B10"]
    l2a = [*spectral, "MSK_CLDPRB", "SCL", "QA60"]
    era5 = [[None if np.isnan(v) else float(v) for v in row] for row in tile["era5"].reshape(3, 4)]
    last = plan.day.replace(day=1) - timedelta(days=1)
    kinds = ("temperature_2m", "temperature_2m_min", "temperature_2m_max", "total_precipitation_sum")
    year = ("0_temperature_2m_mean", "1_temperature_2m_min_min", "2_temperature_2m_max_max")
    return {
        "S2_DATE": plan.day.isoformat(),
        "S2_type": plan.level,
        "CRS": CRS,
        "lat": plan.lat,
        "lon": plan.lon,
        "biome": int(tile["biome"].argmax()),
        "eco_region": int(tile["eco_region"].argmax()),
        "NO_DATA": "sentinel2 part" in plan.gaps,
        "BANDS": {
            "sentinel2": l2a if plan.level == "l2a" else [*SENTINEL2, "QA60"],
            "sentinel1_asc": list(plan.asc) or None,
            "sentinel1_desc": list(plan.desc) or None,
            "aster": ["b1", "slope"],
            "era5": [
                *(f"{day:%Y%m}_{kind}" for day in (last, plan.day) for kind in kinds),
                *year,
                "3_total_precipitation_sum_sum",
            ],
            "dynamic_world": None if "dynamic_world" in plan.gaps else ["label"],
            "canopy_height_eth": ["height", "std"],
            "esa_worldcover": ["Map"],
        },
        "era5": dict(zip(("month1", "month2", "year"), era5, strict=True)),
    }


def _splits(plans: list[TilePlan], seed: int) -> dict[str, list[int]]:
    """Whole blocks, so that no tile for validation lies beside a tile for training."""
    val = np.array([plan.block % _VAL == 3 for plan in plans])
    rows = np.random.default_rng([seed, 3]).permutation(len(plans))
    return {"train": rows[~val[rows]].tolist(), "val": rows[val[rows]].tolist(), "test": []}


def _describe(folder: Path, stem: str, seed: int) -> None:
    facts = {
        "name": f"synthetic-mmearth-{stem.removeprefix('data_')}-seed{seed}",
        "format": "mmearth",
        "synthetic": True,
        "gsd": GSD,
        "split_kind": "spatial blocks",
        "licence": "CC0-1.0; procedurally generated by Ecotone, not imagery of the Earth",
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), "utf-8")
