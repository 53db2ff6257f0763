"""Search a store: what resembles a place, an image or a few examples, by the cosine of centred vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from ecotone.embeddings.fewshot import Model, fit
from ecotone.embeddings.filters import Filter
from ecotone.embeddings.hits import Hit, hits_of
from ecotone.embeddings.places import Place, metres_between, rows_at
from ecotone.embeddings.scan import Found, Scan, nearest
from ecotone.embeddings.store import Store
from ecotone.errors import DataError

NO_ROWS = np.empty(0, np.int64)


def search(
    store: Store,
    *,
    point: tuple[float, float] | None = None,
    vector: np.ndarray | None = None,
    polygon: shapely.Geometry | None = None,
    ids: Sequence[str] = (),
    positives: Sequence[Place] = (),
    negatives: Sequence[Place] = (),
    k: int = 10,
    each: bool = False,
    where: Filter | None = None,
    radius: float = 0,
    exclude_self: bool = True,
    centre: bool = True,
    exact: bool = False,
) -> list[Hit]:
    """The k rows nearest to a query, nearest first; ties go to the earlier row.

    Vectors are centred by the store's mean first: the features of one encoder share a large common direction
    (anisotropy; Ethayarajh, EMNLP 2019), so that without it all cosines lie close to 1 and say little.

    The query is one of ``point``, ``vector``, ``polygon``, ``ids`` and ``positives``. The rows of a polygon or of
    several ids are averaged, or searched one by one. Positives, and negatives where there are any, fit a logistic
    regression, and rows are ranked by its score.

    Args:
        store: The embeddings.
        point: Longitude and latitude in degrees; the query is the row whose footprint holds it.
        vector: (D,) query vector of the store's model, or (q, D), of which each row is searched.
        polygon: A shape in degrees; the query is the rows whose centres lie in it.
        ids: Ids of rows.
        positives: Examples: points, ids or shapes.
        negatives: Counter-examples; without any, rows drawn from the store stand for them.
        k: How many rows.
        each: Search the rows of a polygon or of several ids one by one, and keep the best of each row's distances.
        where: Only rows that pass this filter.
        radius: Leave out rows whose centre lies within so many metres of the query's own rows.
        exclude_self: Leave out the query's own rows.
        centre: Subtract the store's mean.
        exact: Do not use the graph of an index, if it has one.

    Raises:
        DataError: There is no such place, no row passes the filter, the vector has another length, or k is below one.
    """
    if k < 1:
        raise DataError("the number of neighbours must be at least 1", found=k)
    given = [point is not None, vector is not None, polygon is not None, bool(ids), bool(positives)]
    if sum(given) != 1 or (negatives and not positives):
        raise DataError("a search needs one query", expected="either a point, a vector, a polygon, ids or positives")
    scan = store.scan.complete if exact else store.scan
    own = query_rows(store, point=point, polygon=polygon, ids=ids, positives=positives)
    model = fit(scan, own, rows_at(store, negatives), centre=centre) if positives else None
    directions = _directions(scan, own, vector, model, each=each, centre=centre)
    allowed = _allowed(store, where, own, radius)
    left_out = own if exclude_self else NO_ROWS
    found = _union(nearest(scan, directions, k + len(left_out), centre=centre, allowed=allowed))
    keep = ~np.isin(found[0], left_out)
    rows, cosines = (column[keep][:k] for column in found)
    return hits_of(store, rows, 1 - cosines, None if model is None else model.probabilities(cosines))


def query_rows(
    store: Store,
    *,
    point: tuple[float, float] | None = None,
    polygon: shapely.Geometry | None = None,
    ids: Sequence[str] = (),
    positives: Sequence[Place] = (),
    negatives: Sequence[Place] = (),
) -> np.ndarray:
    """(m,) rows that are the query of a search with these arguments; negatives are none of them.

    Raises:
        DataError: There is no such place.
    """
    return rows_at(store, [*(p for p in (point, polygon) if p is not None), *ids, *positives])


def _directions(
    scan: Scan, own: np.ndarray, vector: np.ndarray | None, model: Model | None, *, each: bool, centre: bool
) -> np.ndarray:
    """(q, D) unit vectors to search for."""
    if model is not None:
        return model.direction[None]
    vectors = np.atleast_2d(scan.take(own) if vector is None else np.asarray(vector, np.float32))
    if vectors.ndim != 2 or vectors.shape[1:] != scan.mean.shape:
        raise DataError(
            "the query vector has another length than the store's", found=vectors.shape[1:], expected=scan.mean.shape
        )
    wanted = (vectors if each or vector is not None else vectors.mean(0, keepdims=True)) - (scan.mean if centre else 0)
    lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
    if (lengths <= 1e-6 * np.linalg.norm(vectors, axis=1).max().clip(1e-30)).any():
        raise DataError(
            "the query vector equals the store's mean, so no row is nearer to it than another",
            mend="Use a smaller query image, a store of more varied places, or --no-centre.",
        )
    return wanted / lengths


def _allowed(store: Store, where: Filter | None, own: np.ndarray, radius: float) -> np.ndarray | None:
    allowed = None if where is None else where.mask(store)
    if radius > 0 and len(own):
        away = metres_between(store, own) > radius
        allowed = away if allowed is None else allowed & away
    return allowed


def _union(found: list[Found]) -> Found:
    """Rows found for any direction, each with the best of its cosines, nearest first."""
    rows, cosines = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((rows, -cosines))
    _, first = np.unique(rows[order], return_index=True)
    best = order[np.sort(first)]
    return rows[best], cosines[best]
