"""Turn a query image into a vector that compares with a store."""

from __future__ import annotations

import numpy as np

from ecotone.embeddings import Store
from ecotone.errors import CheckpointError
from ecotone.inference.embedder import Embedder, EmbedOptions, nothing_valid, spec_hash
from ecotone.inference.feed import Rasters
from ecotone.weights import Model


def embed_query(model: Model, raster: Rasters, store: Store) -> np.ndarray:
    """One vector (D,) for a query image, cut up and shown to the model as the store's raster was.

    An image larger than one window is the mean of its windows or patches. It needs no georeference.

    Raises:
        CheckpointError: The store was made by another model, or by this one with another InputSpec.
        DataError: The image has too few valid pixels.
    """
    facts = store.facts
    for what, own, other in (
        ("model", model.hash, facts.model_hash),
        ("InputSpec", spec_hash(model.encoder.spec), facts.spec_hash),
    ):
        if own != other:
            raise CheckpointError(
                f"the store {store.path} was made with another {what}, whose vectors do not compare with this one's",
                found=f"{what} hash {own}",
                expected=other,
                mend="Give the model that made the store, or embed the raster again.",
            )
    options = EmbedOptions(
        per=facts.per, chip=facts.chip, overlap=facts.overlap, min_valid=facts.min_valid, convert=facts.conversion
    )
    embedder = Embedder(model, raster, options)
    total, count = np.zeros(facts.dimension), 0
    for rows in embedder.rows():
        total += rows.vectors.sum(0, dtype=np.float64)
        count += len(rows.row)
    if not count:
        raise nothing_valid(embedder)
    return (total / count).astype(np.float32)
