from __future__ import annotations

import numpy as np
import pytest

from ecotone.embeddings import RasterFacts, Rows, StoreFacts, StoreWriter, open_store

UTM = ("EPSG:32632", (10.0, 0.0, 600_000.0, 0.0, -10.0, 5_300_000.0))


@pytest.fixture
def facts_of():
    """Facts of a store over a raster of this shape, cut into touching cells."""

    def make(shape=(100, 80), cell=20, step=None, dimension=4, crs=UTM[0], transform=UTM[1], **changes):
        raster = RasterFacts(
            paths=("scene.tif",), name="scene.tif", crs=crs, transform=transform, shape=shape, bands=("R",), unit="dn"
        )
        values = {
            "per": "chip",
            "chip": cell,
            "overlap": cell - (step or cell),
            "cell": cell,
            "step": step or cell,
            "min_valid": 0.5,
            "conversion": None,
            "gsd": 10.0,
            "gsd_source": "georeference",
            "model_hash": "m" * 16,
            "spec_hash": "s" * 16,
            "command": "ecotone embed scene.tif",
            "ecotone_version": "0",
        }
        return StoreFacts(dimension=dimension, raster=raster, **{**values, **changes})

    return make


@pytest.fixture
def store_of(tmp_path, facts_of):
    """A store that holds these vectors in the cells of a grid, in row order; ``only`` keeps some of them."""

    def make(vectors=None, *, only=None, name="store.parquet", **changes):
        facts = facts_of(**({} if vectors is None else {"dimension": np.shape(vectors)[1]}), **changes)
        height, width = facts.grid.size
        row, col = (a.ravel() * facts.step for a in np.mgrid[:height, :width])
        if vectors is None:
            vectors = np.random.default_rng(0).normal(size=(len(row), facts.dimension))
        keep = np.arange(len(row)) if only is None else np.asarray(only)
        with StoreWriter(tmp_path / name, facts) as writer:
            for part in np.array_split(keep, 3):
                values = np.asarray(vectors, np.float32)[part]
                writer.write(Rows(row[part], col[part], np.ones(len(part)), values))
        return open_store(tmp_path / name)

    return make
