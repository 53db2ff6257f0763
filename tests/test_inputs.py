from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ecotone.errors import InputError, SensorError
from ecotone.inputs import (
    Identity,
    InputSpec,
    MinMaxPerImage,
    RoleSpec,
    TwoSigmaToUnit,
    ZScore,
    ZScoreByLevel,
    rgb8,
)
from ecotone.rasters import open_raster
from ecotone.samples import Batch, ImageBatch, Sample, collate
from ecotone.sensors import sensor, unit

S2 = sensor("sentinel2-l2a").band_names
X10000 = "reflectance x 10000"


def spec(bands=("B2", "B3", "B4"), **facts):
    facts = {"unit": X10000, "sensor": "sentinel2-l2a", "normaliser": Identity(), **facts}
    return RoleSpec(bands=tuple(bands), **facts)


def images(bands, *, size=8, value=None, name=X10000, **facts):
    """Channel c of image n holds 1000 n + c."""
    values = torch.arange(2)[:, None] * 1000.0 + torch.arange(len(bands)) if value is None else value
    pixels = values[:, :, None, None].expand(2, len(bands), size, size).clone()
    return ImageBatch.of(pixels, bands=bands, unit=unit(name), **facts)


def batch(image, role="optical"):
    return Batch({role: image}, tuple("ab"[: len(image.pixels)]), torch.zeros(len(image.pixels), dtype=torch.int64))


def prepared(role_spec, image):
    return role_spec.prepare("optical", image)


@given(st.permutations(S2), st.lists(st.sampled_from(S2), min_size=1, max_size=5, unique=True))
def test_bands_are_taken_by_name_whatever_their_order(order, wanted):
    out = prepared(spec(wanted), images(tuple(order)))
    expected = [order.index(b) for b in wanted]
    assert out.pixels[0, 0, :, 0, 0].tolist() == expected
    assert out.bands == tuple(wanted)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.uint8, torch.int16])
def test_a_model_sees_float32_whatever_the_raster_holds(kind):
    bands = ("B2", "B3")
    image = images(bands, value=torch.tensor([[1.0, 2.0], [3.0, 4.0]]).to(kind))
    for normaliser in (Identity(), ZScore(mean=(1.0, 1.0), std=(2.0, 2.0)), MinMaxPerImage()):
        assert prepared(spec(bands, normaliser=normaliser), image).pixels.dtype == torch.float32


@pytest.mark.parametrize("written", [("B02", "B03", "B04"), ("b2", "b3", "b4")])
def test_other_spellings_of_a_band_are_the_band(written):
    assert prepared(spec(), images(written)).pixels[0, 0, :, 0, 0].tolist() == [0, 1, 2]


def test_missing_bands_are_named_with_what_was_found_and_expected():
    with pytest.raises(InputError, match=r"lack 2 bands .*: B3, B4; found 2 bands \(B2, B8\).*sentinel2-l2a with B2"):
        prepared(spec(), images(("B2", "B8")))


def test_an_rgb_image_is_refused_by_a_model_of_twelve_bands():
    with pytest.raises(InputError, match=r"lack 12 bands .*found 3 bands \(R, G, B\)"):
        prepared(spec(S2), images(("R", "G", "B"), name="uint8"))


def test_a_missing_band_may_be_filled_with_the_mean_which_is_zero_after_the_z_score():
    role = spec(normaliser=ZScore(mean=(5, 6, 7), std=(1, 1, 1)), fill="mean")
    out = prepared(role, images(("B4", "B2")))
    assert out.pixels[0, 0, :, 0, 0].tolist() == [1 - 5, 0, 0 - 7]


def test_filling_needs_a_mean():
    with pytest.raises(InputError, match="needs a normaliser that knows the mean"):
        prepared(spec(fill="mean"), images(("B2", "B4")))


def test_filling_does_not_invent_a_whole_image():
    role = spec(normaliser=ZScore(mean=(5, 6, 7), std=(1, 1, 1)), fill="mean")
    with pytest.raises(InputError, match="lack 3 bands"):
        prepared(role, images(("VV", "VH")))


@pytest.mark.parametrize(
    ("stored", "name"), [(2500.0, X10000), (3500.0, "reflectance x 10000 + 1000"), (0.25, "reflectance")]
)
def test_units_are_converted_before_the_statistics_apply(stored, name):
    role = spec(("B2",), normaliser=ZScore(mean=(2000,), std=(500,)))
    out = prepared(role, images(("B2",), value=torch.full((2, 1), stored), name=name))
    torch.testing.assert_close(out.pixels, torch.ones_like(out.pixels))


def test_another_quantity_is_refused():
    with pytest.raises(SensorError, match=r"found uint8 \(display\); expected reflectance x 10000.*rgb8"):
        prepared(spec(), images(("B2", "B3", "B4"), name="uint8"))


def test_undeclared_digital_numbers_are_refused():
    with pytest.raises(SensorError, match="found dn"):
        prepared(spec(), images(("B2", "B3", "B4"), name="dn"))


def test_normalised_images_are_not_normalised_again():
    once = prepared(spec(), images(("B2", "B3", "B4")))
    with pytest.raises(InputError, match="normalised already"):
        prepared(spec(), once)


def test_another_processing_level_is_refused_with_the_bands():
    role = spec(S2, level="L2A")
    l1c = sensor("sentinel2-l1c").band_names
    with pytest.raises(InputError, match=r"found L1C with bands B1, .*B10, .*; expected L2A with bands B1"):
        prepared(role, images(l1c, level="L1C", sensor="sentinel2-l1c"))


def test_one_name_for_two_bands_is_refused():
    # Landsat 7 calls green, red and near infrared B2, B3 and B4.
    with pytest.raises(InputError, match=r"band B2 .*found landsat7-etm: 560 nm; expected sentinel2-l2a: 492.7 nm"):
        prepared(spec(), images(("B2", "B3", "B4"), sensor="landsat7-etm", name="landsat c2 reflectance"))


def test_the_same_band_of_another_sensor_is_accepted():
    out = prepared(spec(), images(("B2", "B3", "B4"), sensor="landsat8-oli", name="landsat c2 reflectance"))
    assert out.pixels.shape[2] == 3


@pytest.mark.parametrize(("gsd", "fits"), [(10.0, True), (30.2, True), (9.95, True), (9.0, False), (31.0, False)])
def test_the_gsd_must_lie_in_the_range_of_training(gsd, fits):
    role, image = spec(gsd=(10.0, 30.0)), images(("B2", "B3", "B4"), gsd=gsd)
    if fits:
        prepared(role, image)
        return
    with pytest.raises(InputError, match=rf"outside the range .*found {gsd:g} m; expected 10 to 30 m"):
        prepared(role, image)


def test_a_missing_gsd_is_an_error_only_where_the_model_needs_it():
    image = images(("B2", "B3", "B4"), gsd=torch.tensor([10.0, math.nan]))
    prepared(spec(gsd=(10.0, 30.0)), image)
    with pytest.raises(InputError, match="needs the GSD of every optical image"):
        prepared(spec(gsd_required=True), image)


def test_pixels_that_were_not_observed_are_zero_after_normalisation():
    pixels = torch.full((2, 1, 8, 8), 700.0)
    pixels[1, 0, 2, 2] = math.nan
    valid = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    valid[1, 0, 2, 2] = False
    masked = ImageBatch.of(pixels, bands=("B2",), unit=unit(X10000), valid=valid)
    out = prepared(spec(("B2",), normaliser=ZScore(mean=(0,), std=(100,))), masked)
    assert out.pixels[1, 0, 0, 2, 2] == 0
    assert (out.pixels == 7).sum() == 2 * 64 - 1


def test_nan_where_a_pixel_is_said_to_be_observed_is_an_error():
    image = images(("B2", "B3"))
    image.pixels[1, 0, 1, 3, 3] = math.nan
    with pytest.raises(InputError, match=r"NaN.*found 1 values, the first in image 1 of the batch, B3"):
        prepared(spec(("B2", "B3")), image)


def test_sixteen_bit_pixels_are_read_without_a_sign(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raster = open_raster(sorted((shared_data / "satclip_s2_12band/tif").glob("*.tif"))[0])
    image = raster.read((0, 0, 16, 16))
    assert image.pixels.dtype == torch.uint16
    stacked = collate([Sample({"optical": image}, "a")])
    out = InputSpec(roles={"optical": spec(("B12", "B1"))}).prepare(stacked)["optical"].pixels
    torch.testing.assert_close(out[0, 0], image.pixels[0, [11, 0]].float())


def test_each_processing_level_has_its_own_statistics():
    levels = {"L1C": ZScore(mean=(100,), std=(1,)), "L2A": ZScore(mean=(200,), std=(1,))}
    role = spec(("B2",), normaliser=ZScoreByLevel(levels=levels))
    image = images(("B2",), value=torch.full((2, 1), 201.0), level="L2A")
    assert prepared(role, image).pixels.unique().tolist() == [1]
    mixed = replace(images(("B2",), value=torch.full((2, 1), 201.0)), levels=("L2A", "L1C"))
    assert prepared(role, mixed).pixels.flatten(1).unique(dim=1).flatten().tolist() == [1, 101]
    with pytest.raises(InputError, match="do not cover this processing level; expected L1C or L2A"):
        prepared(role, images(("B2",)))


def test_min_max_stretches_each_band_of_each_image():
    pixels = torch.rand(3, 1, 2, 8, 8) * 1000
    valid = torch.ones(3, 1, 8, 8, dtype=torch.bool)
    out = MinMaxPerImage().apply(pixels, batch_of(pixels))
    assert out.amin((-2, -1)).abs().max() == 0
    torch.testing.assert_close(out.amax((-2, -1)), torch.ones(3, 1, 2))
    flat = torch.full((1, 1, 1, 4, 4), 5.0)
    assert MinMaxPerImage().apply(flat, batch_of(flat)).abs().max() == 0
    pixels[:, :, :, 0, 0], valid[:, :, 0, 0] = -9999.0, False  # no-data must not set the stretch
    stretched = MinMaxPerImage().apply(pixels, replace(batch_of(pixels), valid=valid))
    seen = stretched.masked_select(valid.unsqueeze(2))
    assert (seen.min(), seen.max()) == (0, 1)


def test_two_sigma_rounds_down_to_8_bits():
    values = torch.tensor([0.0, 80, 100, 119.9, 500]).view(1, 1, 1, -1, 1)
    out = TwoSigmaToUnit(mean=(100,), std=(10,)).apply(values, batch_of(values))
    assert (out.flatten() * 255).round().tolist() == [0, 0, 127, 254, 255]


def batch_of(pixels):
    return ImageBatch.of(pixels, bands=("B1", "B2")[: pixels.shape[2]], unit=unit(X10000))


def test_statistics_must_match_the_bands():
    with pytest.raises(ValidationError, match="3 bands but statistics for 1"):
        spec(normaliser=ZScore(mean=(1,), std=(1,)))


def test_a_standard_deviation_of_zero_is_refused():
    with pytest.raises(ValidationError, match="greater than 0"):
        ZScore(mean=(1,), std=(0,))


@pytest.mark.parametrize(("size", "fits"), [(16, True), (24, True), (8, False), (20, False)])
def test_the_size_must_suit_the_model(size, fits):
    inputs = InputSpec(roles={"optical": spec()}, size_multiple=8, min_size=16)
    given_ = batch(images(("B2", "B3", "B4"), size=size))
    if fits:
        inputs.prepare(given_)
        return
    with pytest.raises(InputError, match=rf"found {size} x {size} pixels; expected multiples of 8, at least 16"):
        inputs.prepare(given_)


def test_a_missing_role_is_named():
    inputs = InputSpec(roles={"optical": spec()})
    with pytest.raises(InputError, match="no optical images; found sentinel1; expected optical"):
        inputs.prepare(batch(images(("VV",), name="dB"), "sentinel1"))


def test_a_spec_survives_being_written_and_read():
    inputs = InputSpec(roles={"optical": spec(normaliser=ZScore(mean=(1, 2, 3), std=(1, 1, 1)), gsd=(1, 10))})
    assert InputSpec.model_validate_json(inputs.model_dump_json()) == inputs
    with pytest.raises(ValidationError, match="schema_version"):
        InputSpec.model_validate({**inputs.model_dump(), "schema_version": 2})


def test_rgb8_picks_red_green_and_blue_and_stretches_them():
    values = torch.tensor([[0.0, 600.0, 3000.0, 9000.0]]).expand(2, 4)
    image = images(("B8", "B2", "B3", "B4"), value=values, sensor="sentinel2-l2a", level="L2A")
    shown = rgb8(image)
    assert (shown.bands, shown.unit.name, shown.sensor) == (("R", "G", "B"), "uint8", "rgb")
    torch.testing.assert_close(shown.pixels[0, 0, :, 0, 0], torch.tensor([255.0, 255.0, 51.0]))
    model = spec(("R", "G", "B"), sensor="rgb", unit="uint8")
    assert prepared(model, shown).pixels.shape == (2, 1, 3, 8, 8)


def test_rgb8_leaves_8_bit_images_alone():
    image = images(("R", "G", "B"), name="uint8")
    assert rgb8(image) is image


def test_rgb8_picks_the_colours_of_8_bit_images_and_does_not_stretch_them():
    image = images(
        ("B1", "B2", "B3", "B4"), value=torch.tensor([[1.0, 2.0, 3.0, 4.0]]), name="uint8", sensor="landsat7-etm"
    )
    shown = rgb8(image)
    assert (shown.bands, shown.sensor) == (("R", "G", "B"), "rgb")
    assert shown.pixels[0, 0, :, 0, 0].tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    "image",
    [
        images(("VV", "VH"), name="dB", sensor="sentinel1-grd"),
        images(("B2", "B3", "B4")),
        images(("B2", "B3"), sensor="sentinel2-l2a"),
    ],
    ids=["radar", "no sensor", "no red"],
)
def test_rgb8_needs_reflectance_with_the_three_colours(image):
    with pytest.raises(InputError, match="rgb8 needs reflectance"):
        rgb8(image)


def test_real_rasters_of_other_sensors_are_refused_by_a_model_of_twelve_bands(shared_data):
    inputs = InputSpec(roles={"optical": spec(S2, level="L2A")})
    refused = {
        "geotiff_fixtures/copernicus_fm/s2_l1c_13band_264.tif": r"lack 12 bands.*found 13 bands \(band1",
        "geotiff_fixtures/sen1floods11/Spain_7370579_S2Hand.tif": "found L1C with bands B1",
        "geotiff_fixtures/rasterio/RGB.byte.tif": r"found 3 bands \(R, G, B\)",
    }
    for path, sentence in refused.items():
        with open_raster(shared_data / path) as raster, pytest.raises(InputError, match=sentence):
            inputs.prepare(collate([Sample({"optical": raster.read((0, 0, 16, 16))}, path)]))
    with open_raster(shared_data / "geotiff_fixtures/bigearthnet_v1_patch") as raster:
        inputs.prepare(collate([Sample({"optical": raster.read()}, "patch")]))
