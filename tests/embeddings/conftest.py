from __future__ import annotations

import numpy as np
import pytest

from ecotone.embeddings import RasterFacts, Rows, SourceFacts, StoreWriter, open_store
from ecotone.embeddings.folder import begin_folder, source_file

UTM = ("EPSG:32632", (10.0, 0.0, 600_000.0, 0.0, -10.0, 5_300_000.0))


@pytest.fixture
def facts_of():
    """Facts of a store over a raster of this shape, cut into touching cells."""

    def make(
        shape=(100, 80), cell=20, step=None, dimension=4, crs=UTM[0], transform=UTM[1], name="scene.tif", **changes
    ):
        raster = RasterFacts(
            paths=(name,), name=name, crs=crs, transform=transform, shape=shape, bands=("R",), unit="dn"
        )
        values = {
            "per": "chip",
            "chip": cell,
            "overlap": cell - (step or cell),
            "cell": cell,
            "step": step or cell,
            "min_valid": 0.5,
            "conversion": None,
            "source_id": name,
            "uri": f"/data/{name}",
            "gsd": 10.0,
            "gsd_source": "georeference",
            "model_hash": "m" * 16,
            "spec_hash": "s" * 16,
            "command": "ecotone embed scene.tif",
            "ecotone_version": "0",
        }
        return SourceFacts(dimension=dimension, raster=raster, **{**values, **changes})

    return make


def fill(path, facts, vectors, only=None):
    """Write these vectors in the cells of the grid, in row order; ``only`` keeps some of them."""
    height, width = facts.grid.size
    row, col = (a.ravel() * facts.step for a in np.mgrid[:height, :width])
    keep = np.arange(len(row)) if only is None else np.asarray(only)
    path.parent.mkdir(parents=True, exist_ok=True)
    with StoreWriter(path, facts) as writer:
        for part in np.array_split(keep, 3):
            writer.write(Rows(row[part], col[part], np.ones(len(part)), np.asarray(vectors, np.float32)[part]))


@pytest.fixture
def store_of(tmp_path, facts_of):
    """A store of one file that holds these vectors in the cells of a grid; ``only`` keeps some of them."""

    def make(vectors=None, *, only=None, name="store.parquet", **changes):
        facts = facts_of(**({} if vectors is None else {"dimension": np.shape(vectors)[1]}), **changes)
        if vectors is None:
            vectors = np.random.default_rng(0).normal(size=(np.prod(facts.grid.size), facts.dimension))
        fill(tmp_path / name, facts, vectors, only)
        return open_store(tmp_path / name)

    return make


@pytest.fixture
def folder_of(tmp_path, facts_of):
    """A store with several sources side by side, 5 x 4 cells each: name -> vectors (20, D)."""

    def make(sources, *, name="store", **changes):
        for east, (source, vectors) in enumerate(sources.items()):
            transform = (10.0, 0.0, 600_000.0 + 1000 * east, 0.0, -10.0, 5_300_000.0)
            facts = facts_of(dimension=np.shape(vectors)[1], transform=transform, name=source, **changes)
            begin_folder(tmp_path / name, facts)
            fill(source_file(tmp_path / name, source), facts, vectors)
        return open_store(tmp_path / name)

    return make
