from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecotone.data import Cached, DatasetInfo, DataStream, Quarantine, band_statistics, batches, open_dataset
from ecotone.errors import DataError
from ecotone.randomness import stream_seeds
from ecotone.samples import Image, Sample
from ecotone.sensors import unit


class Numbers:
    """Sample i is an image whose pixels are i; some are broken."""

    info = DatasetInfo("numbers", bands=("elevation",), unit="metre")

    def __init__(self, count, broken=()):
        self.count, self.broken = count, frozenset(broken)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.broken:
            raise DataError(f"sample {index} is broken")
        pixels = torch.full((1, 1, 2, 2), index, dtype=torch.int32)
        return Sample({"dem": Image(pixels, ("elevation",), unit("metre"), gsd=1.0)}, str(index))

    def keys(self):
        return [str(i) for i in range(self.count)]

    def labels(self):
        return [""] * self.count

    def splits(self):
        return [""] * self.count


def drawn(stream, limit=None):
    found = []
    for batch in stream:
        found.append(([int(k) for k in batch.keys], batch.seeds.tolist()))
        if len(found) == limit:
            break
    return found


streams = st.tuples(st.integers(1, 40), st.integers(1, 7), st.integers(0, 2**31)).filter(lambda t: t[1] <= t[0])


@given(streams)
def test_an_epoch_is_a_permutation_cut_to_whole_batches(given_):
    count, size, seed = given_
    stream = DataStream(Numbers(count), size, seed=seed, epochs=1)
    found = [i for keys, _ in drawn(stream) for i in keys]
    assert len(found) == count // size * size
    assert len(set(found)) == len(found)
    assert sorted(stream.order(0).tolist()) == list(range(count))


@given(streams, st.integers(0, 12))
@settings(deadline=None)
def test_resuming_goes_on_with_exactly_the_next_batch(given_, stop):
    count, size, seed = given_
    whole = drawn(DataStream(Numbers(count), size, seed=seed, epochs=3))
    stop = min(stop, len(whole) - 1)
    first = DataStream(Numbers(count), size, seed=seed, epochs=3)
    before = drawn(first, stop) if stop else []
    second = DataStream(Numbers(count), size, seed=seed, epochs=3)
    second.load_state_dict(first.state_dict())
    assert before + drawn(second) == whole


@given(streams, st.integers(1, 4))
def test_ranks_share_the_global_batch_in_contiguous_parts(given_, world):
    count, size, seed = given_
    if count < size * world:
        return
    alone = drawn(DataStream(Numbers(count), size * world, seed=seed, epochs=2))
    parts = [
        drawn(DataStream(Numbers(count), size, seed=seed, rank=r, world_size=world, epochs=2)) for r in range(world)
    ]
    together = [
        ([k for keys, _ in step for k in keys], [s for _, seeds in step for s in seeds])
        for step in zip(*parts, strict=True)
    ]
    assert together == alone


def test_the_seeds_of_samples_are_a_function_of_seed_epoch_and_index():
    for epoch, batch in enumerate(drawn(DataStream(Numbers(8), 8, seed=5, epochs=2))):
        keys, seeds = batch
        assert seeds == stream_seeds(5, epoch, torch.tensor(keys)).tolist()


def test_epochs_and_seeds_give_other_orders():
    stream = DataStream(Numbers(50), 10, seed=1)
    orders = [stream.order(0), stream.order(1), DataStream(Numbers(50), 10, seed=2).order(0)]
    assert len({tuple(o.tolist()) for o in orders}) == 3


def test_the_order_is_frozen():
    # Checkpoints of earlier versions resume with this order.
    assert DataStream(Numbers(8), 1, seed=0).order(0).tolist() == [7, 5, 0, 1, 6, 2, 4, 3]


def test_positions_in_the_order_are_spread_evenly():
    places = torch.stack([DataStream(Numbers(20), 1, seed=s).order(0).argsort() for s in range(2000)]).double()
    # The mean place of each sample, against its standard error under uniform places.
    error = math.sqrt((20**2 - 1) / 12 / 2000)
    assert (places.mean(0) - 9.5).abs().max() < 4.5 * error


@pytest.mark.parametrize(("workers", "context"), [(1, "fork"), (2, "fork"), (1, "spawn")])
def test_workers_change_nothing(workers, context):
    data = Numbers(30, broken={4})
    alone = DataStream(data, 4, seed=3, epochs=3)
    helped = DataStream(data, 4, seed=3, epochs=3, workers=workers, context=context)
    assert drawn(helped) == drawn(alone)
    assert helped.quarantine == alone.quarantine


def test_workers_read_ahead_and_the_cursor_does_not():
    whole = drawn(DataStream(Numbers(40), 4, seed=3, epochs=2))
    stream = DataStream(Numbers(40), 4, seed=3, epochs=2, workers=2, context="fork")
    before = drawn(stream, 7)
    assert (stream.epoch, stream.batch) == (0, 7)
    later = DataStream(Numbers(40), 4, seed=3, epochs=2)
    later.load_state_dict(stream.state_dict())
    assert before + drawn(later) == whole


def test_an_endless_stream_goes_on_past_the_epoch():
    assert len(drawn(DataStream(Numbers(4), 2, seed=0), 9)) == 9


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 2}, {"count": 21}])
def test_a_cursor_of_another_run_is_refused(change):
    state = DataStream(Numbers(20), 4, seed=0).state_dict()
    made = DataStream(Numbers(change.get("count", 20)), change.get("batch_size", 4), seed=change.get("seed", 0))
    with pytest.raises(DataError, match="cannot be continued"):
        made.load_state_dict(state)


def test_the_cursor_holds_when_the_global_batch_is_spread_over_more_ranks():
    first = DataStream(Numbers(20), 4, seed=0, epochs=1)
    next(iter(first))
    spread = DataStream(Numbers(20), 2, seed=0, world_size=2, epochs=1)
    spread.load_state_dict(first.state_dict())
    assert spread.state_dict() == first.state_dict()


def test_a_dataset_smaller_than_a_batch_is_refused():
    with pytest.raises(DataError, match="found 3 samples; expected at least 4"):
        DataStream(Numbers(3), 2, seed=0, world_size=2)


def test_a_broken_sample_is_replaced_recorded_and_counted():
    stream = DataStream(Numbers(100, broken={7, 8}), 10, seed=0, epochs=1)
    found = [i for keys, _ in drawn(stream) for i in keys]
    assert len(found) == 100
    assert sorted(found) == sorted([i for i in range(100) if i not in (7, 8)] + [9, 9])
    assert set(stream.quarantine.reasons) == {"7", "8"}
    assert "sample 7 is broken" in stream.quarantine.reasons["7"]
    assert stream.quarantine.seen == 100


def test_too_many_broken_samples_stop_the_stream():
    with pytest.raises(DataError, match=r"samples could not be read; found \d+: sample \d+ is broken"):
        drawn(DataStream(Numbers(100, broken=range(0, 100, 5)), 10, seed=0, epochs=3))


def test_in_order_without_quarantine_a_broken_sample_is_an_error():
    with pytest.raises(DataError, match="sample 3 is broken"):
        list(batches(Numbers(5, broken={3}), 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_in_order_with_quarantine_a_broken_sample_is_left_out(workers):
    quarantine = Quarantine()
    found = list(batches(Numbers(7, broken={2, 3}), 2, workers=workers, quarantine=quarantine))
    assert [b.keys for b in found] == [("0", "1"), ("4", "5"), ("6",)]
    assert set(quarantine.reasons) == {"2", "3"}


def test_a_mistake_in_a_worker_arrives_as_its_sentence_alone():
    class Odd(Numbers):
        def __getitem__(self, index):
            pixels = torch.zeros(1, 1, 2, 2 + index)
            return Sample({"dem": Image(pixels, ("elevation",), unit("metre"))}, str(index))

    with pytest.raises(DataError, match=r"^the dem images of 1 and 0 cannot share a batch") as caught:
        list(batches(Odd(4), 2, workers=1, context="fork"))
    assert "Traceback" not in str(caught.value)


class Joined(Numbers):
    """Samples of several real datasets, each kind of reader among them."""

    def __init__(self, datasets):
        self.at = [(d, i) for d in datasets for i in range(0, len(d), max(1, len(d) // 25))]
        super().__init__(len(self.at))

    def __getitem__(self, index):
        dataset, i = self.at[index]
        sample = dataset[i]
        return Sample(sample.images, str(index), sample.targets, sample.place)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_real_samples_read_by_workers_are_the_samples_read_here(shared_data, context):
    names = ("eurosat_rgb", "eurosat_rgb_unlabelled", "s2_l2a_12band", "satclip_s2_12band")
    plain = [open_dataset(shared_data / name) for name in names]
    for dataset in plain:
        dataset[0]  # open handles here, which workers must not inherit
    direct = Joined([*plain, plain[-1]])
    workers = 2 if context == "fork" else 1  # a spawned worker takes seconds to import torch
    joined = Joined([*plain, Cached(plain[-1])])
    stream = DataStream(joined, 1, seed=0, workers=workers, context=context, epochs=1)
    checked = 0
    for batch in stream:
        expected = direct[int(batch.keys[0])].images["optical"].pixels
        assert torch.equal(batch["optical"].pixels[0].float(), expected.float())
        checked += 1
    assert checked == len(direct) > 75
    assert not stream.quarantine.reasons


def test_cached_samples_are_the_samples():
    plain = Numbers(9, broken={4})
    cached = Cached(plain)
    assert (len(cached), cached.keys(), cached.info) == (9, plain.keys(), plain.info)
    for i in range(9):
        if i == 4:
            with pytest.raises(DataError, match="sample 4 is broken"):
                cached[i]
            continue
        a, b = cached[i].images["dem"], plain[i].images["dem"]
        assert torch.equal(a.pixels, b.pixels)
        assert (a.bands, a.unit, a.gsd) == (b.bands, b.unit, b.gsd)


# --- statistics -----------------------------------------------------------------------------------------------------


def test_statistics_of_the_whole_array_are_those_of_numpy(shared_data):
    dataset = open_dataset(shared_data / "s2_l2a_12band")
    pixels = torch.stack([dataset[i].images["optical"].pixels[0] for i in range(60)]).double()
    few = [dataset[i] for i in range(60)]

    class Few(Numbers):
        def __getitem__(self, index):
            return few[index]

    mean, std = band_statistics(Few(60))
    torch.testing.assert_close(torch.tensor(mean).double(), pixels.mean((0, 2, 3)), rtol=1e-6, atol=0)
    expected = pixels.transpose(0, 1).flatten(1).std(1, correction=0)
    torch.testing.assert_close(torch.tensor(std).double(), expected, rtol=1e-6, atol=0)


def test_statistics_follow_the_unit_and_the_seed(shared_data):
    dataset = open_dataset(shared_data / "s2_l2a_12band")
    stored = band_statistics(dataset, sample=12)
    reflectance = band_statistics(dataset, sample=12, unit="reflectance")
    assert reflectance[0] == pytest.approx([m / 1e4 for m in stored[0]])
    assert stored == band_statistics(dataset, sample=12)
    assert stored != band_statistics(dataset, sample=12, seed=1)


def test_statistics_leave_out_pixels_that_were_not_observed():
    class Holes(Numbers):
        def __getitem__(self, index):
            pixels = torch.tensor([[[[1.0, 3.0], [1e9, math.nan]]]])
            valid = torch.tensor([[[True, True], [False, True]]])
            return Sample({"dem": Image(pixels, ("elevation",), unit("metre"), valid=valid)}, str(index))

    assert band_statistics(Holes(3)) == ((2.0,), (1.0,))


def test_statistics_of_a_flat_band_are_refused():
    with pytest.raises(DataError, match="elevation of numbers hold one value everywhere"):
        band_statistics(Numbers(1))
