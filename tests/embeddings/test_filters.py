from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecotone.embeddings import Filter, Rows, StoreWriter, build_index, open_store, parse_bbox, parse_time, search
from ecotone.embeddings.folder import begin_folder, source_file
from ecotone.errors import DataError


@pytest.fixture
def dated(tmp_path, facts_of):
    """Three sources of 20 cells: two dates of one sensor side by side, and one of another sensor without a time."""
    random = np.random.default_rng(0)
    for east, (name, sensor, time) in enumerate(
        [("a", "sentinel2-l2a", datetime(2024, 5, 1, 10, tzinfo=UTC)), ("b", "sentinel2-l2a", datetime(2024, 6, 1)),
         ("c", "landsat8-oli", None)]
    ):  # fmt: skip
        transform = (10.0, 0.0, 600_000.0 + 1000 * east, 0.0, -10.0, 5_300_000.0)
        facts = facts_of(transform=transform, name=name)
        facts = facts.model_copy(update={"raster": facts.raster.model_copy(update={"sensor": sensor})})
        begin_folder(tmp_path / "dated", facts)
        row, col = (a.ravel() * 20 for a in np.mgrid[:5, :4])
        path = source_file(tmp_path / "dated", name)
        path.parent.mkdir(exist_ok=True)
        with StoreWriter(path, facts) as writer:
            writer.write(Rows(row, col, np.linspace(0.5, 1, 20), random.normal(size=(20, 4)).astype(np.float32), time))
    return open_store(tmp_path / "dated")


def passing(store, **conditions):
    return np.flatnonzero(Filter(**conditions).mask(store)).tolist()


def test_time_is_half_open_in_utc_and_rows_without_one_do_not_pass(dated):
    first, second = list(range(20)), list(range(20, 40))
    assert passing(dated, after=datetime(2024, 5, 1)) == first + second
    assert passing(dated, after=datetime(2024, 5, 1, 10), before=datetime(2024, 6, 1)) == first
    assert passing(dated, after=datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))) == first + second
    assert passing(dated, after=datetime(2024, 5, 1, 12)) == second


def test_sensor_source_and_valid_share(dated):
    assert passing(dated, sensors=("landsat8-oli",)) == list(range(40, 60))
    assert passing(dated, sources=("[ab]",)) == passing(dated, sensors=("sentinel2-l2a",)) == list(range(40))
    assert passing(dated, sources=("a", "c"), min_valid=1.0) == [19, 59]
    assert len(passing(dated, min_valid=0.0)) == 60


def test_an_area_is_what_footprints_touch(dated):
    shape = shapely.union_all(dated.geometries([3, 4])).buffer(-1e-6)
    near = passing(dated, within=shape)
    assert near == np.flatnonzero(shapely.intersects(dated.geometries(np.arange(60)), shape)).tolist()
    west, south, east, north = shape.bounds
    assert set(near) <= set(passing(dated, bbox=(west, south, east, north)))
    assert passing(dated, bbox=(-180, -90, 180, 90)) == passing(dated, bbox=(170, 40, 20, 60)) == list(range(60))


def test_a_filter_that_nothing_passes_counts_what_each_condition_lets_through(dated):
    with pytest.raises(DataError, match=r"none of the 60 rows.*time 20, sensor 20"):
        search(dated, vector=np.ones(4), where=Filter(before=datetime(2024, 5, 2), sensors=("landsat8-oli",)))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.floats(0.5, 1), st.sampled_from([(), ("a",), ("b", "c")]))
def test_filters_apply_before_ranking_with_and_without_an_index(dated, seed, share, sources):
    build_index(dated)
    query, where = np.random.default_rng(seed).normal(size=4), Filter(min_valid=share, sources=sources)
    every = search(open_store(dated.path), vector=query, k=60)
    allowed = where.mask(dated)
    expected = [h.index for h in every if allowed[h.index]][:7]
    store = open_store(dated.path)
    assert [h.index for h in search(store, vector=query, k=7, where=where)] == expected
    assert [h.index for h in search(store, vector=query, k=7, where=where, exact=True)] == expected


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "1,50,2,40", "nan,1,2,3", "200,0,201,1"])
def test_boxes_that_are_no_boxes_are_refused(text):
    with pytest.raises(DataError, match="WEST,SOUTH,EAST,NORTH"):
        parse_bbox(text)


def test_boxes_and_times_are_read():
    assert parse_bbox("170,-20,-170,-10") == (170, -20, -170, -10)
    assert parse_time("2024-05-01T10:00:00Z") == datetime(2024, 5, 1, 10, tzinfo=UTC)
    with pytest.raises(DataError, match="ISO 8601"):
        parse_time("May")
