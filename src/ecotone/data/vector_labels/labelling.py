"""From rasters and vector labels to a dataset folder with splits by place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ecotone.data.vector_labels.options import SPLITS, LabelOptions
from ecotone.data.vector_labels.plane import Plane
from ecotone.data.vector_labels.selection import check_splits, select, settle, split_samples
from ecotone.data.vector_labels.shapes import Shapes
from ecotone.data.vector_labels.spots import Spot, chip_spots, mask_spots, pixel_spots, point_spots
from ecotone.data.vector_labels.writing import Written, common_facts, write_declaration, write_manifest, write_sample
from ecotone.errors import DataError
from ecotone.files import new_folder
from ecotone.rasters import Raster
from ecotone.rasters.ground import Ground

OnProgress = Callable[[str, int, int], None]  # what is being done, how many are done, how many in all


@dataclass(frozen=True)
class LabelSummary:
    """What was made of vector labels.

    Attributes:
        folder: The dataset folder.
        task: ``segmentation``, ``classification`` or ``multilabel``.
        samples: How many were written.
        splits: Split -> samples.
        classes: Class -> split -> samples, or pixels of masks.
        block: Side of a block in metres; None for a random split.
        counts: What was left out or mended, and how often: ``mended``, ``empty``, ``other`` (lines), ``unclassed``
            (no class), ``outside`` (meets no raster), ``overlaps`` (pairs of polygons of two classes), ``same pixel``
            (points), ``unlabelled`` and ``undecided`` (tiles), ``nodata`` (samples), ``pixels on nodata``, ``thinned``
            (beyond the limit, or too near to another) and ``too near to another split``.
    """

    folder: str
    task: str
    samples: int
    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    block: float | None
    counts: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def label_rasters(
    rasters: Sequence[Raster],
    shapes: Shapes,
    out: str | Path,
    options: LabelOptions | None = None,
    *,
    area: Shapes | None = None,
    name: str | None = None,
    source: str = "",
    on_progress: OnProgress | None = None,
) -> LabelSummary:
    """Write a dataset folder of rasters and the shapes over them, which ``finetune`` and ``evaluate`` read.

    Rasters are read and samples written one window at a time. The folder appears when all is written.

    Args:
        rasters: Georeferenced rasters, alike in bands and unit.
        shapes: Their labels, in any CRS.
        out: A new folder.
        options: How labels become samples.
        area: Polygons of the area that was labelled; outside nothing is known.
        name: Name of the dataset; the folder's by default.
        source: Name of the vector file, kept as provenance.
        on_progress: Told of samples written.

    Raises:
        DataError: A raster has no CRS or differs from the others, no shape meets one, or the samples cannot be split;
            a clear sentence each.
    """
    options, tell = options or LabelOptions(), on_progress or (lambda *_: None)
    facts = common_facts(rasters)
    planes = [Plane(r, shapes, area, all_touched=options.all_touched) for r in rasters]
    counts = _met(planes, shapes)
    ground = Ground([(r.place.lon, r.place.lat) for r in rasters if r.place])
    task = _task(shapes, options)
    with new_folder(out) as folder:
        spots = select(_spots(planes, options, counts, tell), rasters, ground, shapes, options, counts)
        done: list[Written] = []
        for number, spot in enumerate(spots, 1):
            written = write_sample(folder, spot, planes[spot.raster], task, options, several=len(rasters) > 1)
            counts["nodata"] += written is None
            done += [written] if written else []
            tell("writing samples", number, len(spots))
        if not done:
            raise DataError("no sample came of these labels", found=_said(counts), mend="See the counts.")
        splits, block = split_samples(done, rasters, ground, options)
        kept = settle(done, splits, rasters, ground, options)
        counts["too near to another split"] = _remove(folder, done, kept)
        done, splits = [w for w, k in zip(done, kept, strict=True) if k], splits[kept]
        check_splits(splits, options)
        write_manifest(folder, done, splits, facts.bands if options.kind == "pixels" else ())
        kind = f"random, seed {options.seed}" if block is None else _kind_of_blocks(block, options)
        summary = _summary(out, task, done, splits, shapes, block, counts)
        provenance = {"vectors": source, "rasters": [r.name for r in rasters], **asdict(options)}
        provenance |= {"shares": list(options.shares), "counts": summary.counts}
        write_declaration(folder, name or Path(out).name, task, shapes, facts, kind, provenance)
    for raster in rasters:
        raster.close()
    return summary


def _met(planes: Sequence[Plane], shapes: Shapes) -> Counter[str]:
    """Counts of the shapes, of which at least one meets a raster."""
    met = np.any([p.met for p in planes], axis=0)
    if not met.any():
        box, own = shapely.total_bounds(planes[0].shapes.geometries), planes[0].raster.bounds
        raise DataError(
            "none of the shapes meets a raster",
            found=f"in the raster's CRS, shapes within {', '.join(f'{v:.6g}' for v in box)}",
            expected=f"within {', '.join(f'{v:.6g}' for v in own or ())} (left, bottom, right, top)",
            mend="Check the CRS of the shapes, and whether x and y are swapped.",
        )
    found = Counter(shapes.counts)
    found["outside"] = int((~met).sum())
    found["overlaps"] = 0 if shapes.points else shapes.overlaps()
    return found


def _spots(planes: Sequence[Plane], options: LabelOptions, counts: Counter[str], tell: OnProgress) -> list[Spot]:
    find = {"masks": mask_spots, "pixels": pixel_spots}.get(options.kind)
    spots: list[Spot] = []
    for number, plane in enumerate(planes):
        if options.side > min(plane.raster.shape):
            raise DataError(
                f"{plane.raster.paths[0]} is smaller than a sample",
                found=f"{plane.raster.shape[0]} x {plane.raster.shape[1]} pixels",
                expected=f"at least {options.side}",
                mend="Make samples smaller with --size.",
            )
        chosen = find or (point_spots if plane.shapes.points else chip_spots)
        spots += chosen(number, plane, options, counts)
        plane.raster.close()
        tell("burning shapes", number + 1, len(planes))
    return spots


def _remove(folder: Path, done: Sequence[Written], kept: NDArray[np.bool_]) -> int:
    """Remove the files of the samples that do not stay; how many these are."""
    gone = [w for w, k in zip(done, kept, strict=True) if not k]
    for written in gone:
        for file in written.files:
            (folder / file).unlink()
    return len(gone)


def _kind_of_blocks(block: float, options: LabelOptions) -> str:
    return f"spatial blocks of {block:g} m, buffer {options.buffer:g} m, seed {options.seed}"


def _task(shapes: Shapes, options: LabelOptions) -> str:
    if options.kind == "masks":
        return "segmentation"
    several = options.kind == "chips" and options.rule == "any" and not shapes.points
    return "multilabel" if several and len(shapes.classes) - shapes.background > 1 else "classification"


def _summary(
    out: str | Path,
    task: str,
    done: Sequence[Written],
    splits: NDArray[np.int64],
    shapes: Shapes,
    block: float | None,
    counts: Counter[str],
) -> LabelSummary:
    table = np.array([w.counts for w in done], np.int64)
    used = [s for i, s in enumerate(SPLITS) if (splits == i).any()]
    classes = {
        name: {s: int(table[splits == SPLITS.index(s), k].sum()) for s in used} for k, name in enumerate(shapes.classes)
    }
    return LabelSummary(
        folder=str(out),
        task=task,
        samples=len(done),
        splits={s: int((splits == SPLITS.index(s)).sum()) for s in used},
        classes=classes,
        block=block,
        counts={k: v for k, v in counts.items() if v},
    )


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.items() if n) or "nothing"
