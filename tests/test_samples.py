import math
import pickle
from dataclasses import replace

import pytest
import torch

from ecotone.errors import DataError
from ecotone.samples import Image as Picture
from ecotone.samples import ImageBatch, Place, Sample, collate
from ecotone.sensors import unit


def image(value=0.0, *, bands=("VV",), size=(4, 4), dates=1, **facts):
    pixels = torch.full((dates, len(bands), *size), value)
    return Picture(pixels, bands, unit(facts.pop("unit", "dB")), **facts)


def sample(key, picture, **targets):
    return Sample({"sentinel1": picture}, key, targets)


def test_an_image_needs_four_dimensions():
    with pytest.raises(DataError, match=r"shape \(T, C, H, W\); found \(1, 4, 4\)"):
        Picture(torch.zeros(1, 4, 4), ("VV",), unit("dB"))


def test_channels_must_match_the_band_names():
    with pytest.raises(DataError, match=r"found 2 channels; expected 1 \(VV\)"):
        Picture(torch.zeros(1, 2, 4, 4), ("VV",), unit("dB"))


@pytest.mark.parametrize("gsd", [0.0, -1.0, math.nan])
def test_a_gsd_must_be_above_zero(gsd):
    with pytest.raises(DataError, match="GSD must be above zero"):
        image(gsd=gsd)


def test_the_effective_gsd_is_the_gsd_unless_said_otherwise():
    assert image(gsd=10.0).effective_gsd == 10.0
    assert image(gsd=5.0, effective_gsd=20.0).effective_gsd == 20.0


def test_a_batch_keeps_every_gsd_and_marks_unknown_ones():
    batch = collate([sample("a", image(gsd=10.0, effective_gsd=20.0)), sample("b", image())])
    assert batch["sentinel1"].gsd[0] == 10
    assert batch["sentinel1"].effective_gsd[0] == 20
    assert batch["sentinel1"].gsd[1].isnan()
    assert batch.keys == ("a", "b")


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (image(size=(4, 5)), "shape"),
        (image(dates=2), "shape"),
        (image(bands=("VH",)), "bands"),
        (image(unit="linear power"), "unit"),
    ],
)
def test_images_that_cannot_share_a_batch_are_named_with_their_difference(other, what):
    with pytest.raises(DataError, match=rf"sentinel1 images of odd and even cannot share a batch: their {what}"):
        collate([sample("even", image()), sample("odd", other)])


def test_no_samples_make_no_batch():
    with pytest.raises(DataError, match="no samples"):
        collate([])


def test_a_role_that_a_sample_lacks_is_blank_absent_and_not_valid():
    both = Sample({"sentinel1": image(1.0, gsd=10.0), "dem": image(5.0, bands=("elevation",), unit="metre")}, "both")
    batch = collate([sample("radar", image(2.0)), both])
    assert batch["dem"].present.tolist() == [False, True]
    assert batch["dem"].pixels[0].abs().sum() == 0
    assert batch["dem"].valid[0].sum() == 0 and batch["dem"].valid[1].all()
    assert batch["sentinel1"].present.all()
    assert batch["sentinel1"].valid is None


def test_a_mask_in_one_image_is_kept_and_the_other_is_valid_everywhere():
    valid = torch.tensor([[[True, False], [True, True]]])
    batch = collate([sample("a", image(size=(2, 2), valid=valid)), sample("b", image(size=(2, 2)))])
    assert torch.equal(batch["sentinel1"].valid, torch.stack([valid, torch.ones_like(valid)]))


def test_targets_stack_where_they_can():
    batch = collate(
        [
            sample("a", image(), label=1, vector=torch.zeros(3), mask=torch.zeros(2, 2), text="x"),
            sample("b", image(), label=2, vector=torch.ones(3), mask=torch.zeros(3, 3), text="y"),
        ]
    )
    assert batch.targets["label"].tolist() == [1, 2]
    assert batch.targets["vector"].shape == (2, 3)
    assert [m.shape for m in batch.targets["mask"]] == [(2, 2), (3, 3)]
    assert batch.targets["text"] == ["x", "y"]


def test_seeds_are_64_bit():
    assert collate([sample("a", image())], [-(2**63)]).seeds.tolist() == [-(2**63)]


def test_places_travel_with_the_batch():
    place = Place(10.0, 50.0)
    with_place = replace(sample("a", image()), place=place)
    assert collate([with_place, sample("b", image())]).places == (place, None)
    assert collate([sample("b", image())]).places == ()


def test_sixteen_bit_pixels_stay_sixteen_bit():
    pixels = torch.full((1, 1, 2, 2), 60000, dtype=torch.uint16)
    batch = collate([sample(k, Picture(pixels, ("VV",), unit("dB"))) for k in "ab"])
    assert batch["sentinel1"].pixels.dtype == torch.uint16
    assert batch["sentinel1"].pixels.float().mean() == 60000


def test_moving_and_replacing_keep_everything_else():
    batch = collate([sample("a", image(1.0, gsd=3.0), label=4)], [9])
    moved = batch.to("cpu").replace_images(sentinel1=replace(batch["sentinel1"], pixels=batch["sentinel1"].pixels + 1))
    assert moved["sentinel1"].pixels.mean() == 2
    assert (moved.keys, moved.seeds.tolist(), moved.targets["label"].tolist()) == (("a",), [9], [4])
    assert moved["sentinel1"].gsd.tolist() == [3.0]


def test_a_batch_of_bare_pixels_has_one_gsd_for_all():
    batch = ImageBatch.of(torch.zeros(3, 2, 8, 6), bands=("VV", "VH"), unit=unit("dB"), gsd=10)
    assert batch.pixels.shape == (3, 1, 2, 8, 6)
    assert (batch.size, batch.gsd.tolist()) == ((8, 6), [10, 10, 10])
    assert ImageBatch.of(torch.zeros(1, 1, 2, 2), bands=("VV",), unit=unit("dB")).gsd.isnan().all()


def test_samples_are_picklable():
    found = pickle.loads(pickle.dumps(sample("a", image(3.0, gsd=2.0))))
    assert found.images["sentinel1"].gsd == 2.0


def test_one_batch_may_mix_processing_levels():
    batch = collate([Sample({"optical": image(level=level)}, str(level)) for level in ("L1C", "L2A")])
    assert batch["optical"].levels == ("L1C", "L2A")
    assert batch.part(1, 2)["optical"].levels == ("L2A",)
