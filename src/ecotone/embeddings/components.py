"""The first three principal components of a store as a georeferenced picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from PIL import Image as Picture

from ecotone.embeddings.folder import PICTURES, picture_files, read_json
from ecotone.embeddings.parts import Part
from ecotone.embeddings.sampling import take_vectors
from ecotone.embeddings.schema import SourceFacts
from ecotone.embeddings.store import Store, open_store
from ecotone.files import replacing
from ecotone.rasters import write_cog

SAMPLE = 20_000  # rows that the components are fitted on
PICTURE_SIDE = 512  # a picture of few cells is enlarged to about this many pixels
NODATA = 0


@dataclass(frozen=True)
class Components:
    """An affine map from vectors to three display bands.

    Attributes:
        mean: (D,) mean vector.
        axes: (3, D) unit directions of largest variance; rows of zeros where the data have fewer.
        low: (3,) scores shown darkest, the 2nd percentile.
        high: (3,) scores shown brightest, the 98th percentile.
        explained: (3,) share of the variance.
    """

    mean: np.ndarray
    axes: np.ndarray
    low: np.ndarray
    high: np.ndarray
    explained: np.ndarray

    def display(self, vectors: np.ndarray) -> np.ndarray:
        """(n, 3) uint8 from 1 to 255; 0 is kept for nodata."""
        scores = (vectors - self.mean) @ self.axes.T
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        return (1 + 254 * np.clip((scores - self.low) / span, 0, 1)).round().astype(np.uint8)


def fit_components(store: Store, sample: int = SAMPLE) -> Components:
    """Principal components of evenly spaced rows; each axis points to where its largest loading is positive."""
    rows = _sample(store, sample).astype(np.float64)
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False, bias=True).reshape(rows.shape[1], -1))
    order = np.argsort(values)[::-1][:3]
    axes = vectors[:, order].T
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    axes[values[order] <= 1e-12 * max(float(values.max()), 1e-30)] = 0
    axes = np.pad(axes, ((0, 3 - len(axes)), (0, 0)))
    low, high = np.percentile((rows - mean) @ axes.T, (2, 98), axis=0)
    share = np.pad(values[order].clip(0), (0, 3 - len(order))) / max(float(values.clip(0).sum()), 1e-30)
    return Components(mean, axes, low, high, share)


def write_components(part: Part, components: Components, tif: Path, png: Path) -> None:
    """Write the components of a source as a COG on its grid of cells, and as a picture with clear background.

    Args:
        part: The embeddings of the source.
        components: What to show of them; those of a whole store make its pictures comparable.
        tif: uint8, three bands, 0 where there is no embedding.
        png: The same, enlarged if small.
    """
    facts = part.facts
    height, width = facts.grid.size
    image = np.full((3, height, width), NODATA, np.uint8)
    for block in part.blocks():
        image[:, block.row // facts.step, block.col // facts.step] = components.display(block.vectors).T
    write_cog(
        tif,
        image,
        crs=facts.raster.crs,
        transform=grid_transform(facts),
        nodata=NODATA,
        descriptions=[f"principal component {i} ({s:.1%})" for i, s in enumerate(components.explained, 1)],
        tags={"ecotone_version": facts.ecotone_version, "model_hash": facts.model_hash, "source": facts.raster.name},
    )
    _write_png(image, png)


def write_pictures(folder: Path) -> None:
    """Write the pictures that a store still lacks, in the colours of those that it has.

    The components are fitted on the store once and kept beside the pictures, so that the colours of all its sources
    compare; without the folder of pictures they are fitted and all pictures drawn anew.
    """
    store = open_store(folder)
    lacking = [p for p in store.parts if not all(f.is_file() for f in picture_files(folder, p.facts.source_id))]
    if not lacking:
        return
    kept = folder / PICTURES / "components.json"
    if kept.is_file():
        components = Components(**{n: np.array(v) for n, v in read_json(kept).items()})
    else:
        components = fit_components(store)
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps({n: v.tolist() for n, v in vars(components).items()}))
    for part in lacking:
        write_components(part, components, *picture_files(folder, part.facts.source_id))


def grid_transform(facts: SourceFacts) -> Affine:
    """Column and row of the grid of cells to CRS coordinates; overlapping cells are drawn as their middle part."""
    return facts.grid.transform(facts.raster.affine)


def _sample(store: Store, count: int) -> np.ndarray:
    wanted = np.unique(np.linspace(0, len(store) - 1, min(count, len(store))).round().astype(np.int64))
    return take_vectors(store, wanted)


def _write_png(image: np.ndarray, path: Path) -> None:
    seen = (image != NODATA).any(0, keepdims=True)
    rgba = np.concatenate([image, np.where(seen, 255, 0).astype(np.uint8)]).transpose(1, 2, 0)
    factor = max(1, PICTURE_SIDE // max(rgba.shape[:2]))
    with replacing(path) as partial:
        Picture.fromarray(np.ascontiguousarray(rgba.repeat(factor, 0).repeat(factor, 1))).save(partial, format="PNG")
