"""Every real raster at hand, with the bands, CRS, GSD and no-data value that it should be read with."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import rasterio
import torch

from ecotone.errors import DataError
from ecotone.rasters import GsdWarning, open_raster

S2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
L1C = (*S2[:10], "B10", *S2[10:])
S2X = "reflectance x 10000"
NAN = math.nan
BEN = "geotiff_fixtures/bigearthnet_v1_patch"
STEM = "S2A_MSIL2A_20170617T113321_36_85"


def unnamed(count):
    return tuple(f"band{i + 1}" for i in range(count))


# path: shape, bands, sensor, unit, level, EPSG, GSD, no-data
TABLE = {
    f"{BEN}/{STEM}_B01.tif": ((20, 20), ("B1",), "sentinel2-l2a", S2X, "L2A", 32629, 60.0, 0),
    f"{BEN}/{STEM}_B02.tif": ((120, 120), ("B2",), "sentinel2-l2a", S2X, "L2A", 32629, 10.0, 0),
    f"{BEN}/{STEM}_B03.tif": ((120, 120), ("B3",), "sentinel2-l2a", S2X, "L2A", 32629, 10.0, 0),
    f"{BEN}/{STEM}_B04.tif": ((120, 120), ("B4",), "sentinel2-l2a", S2X, "L2A", 32629, 10.0, 0),
    f"{BEN}/{STEM}_B05.tif": ((60, 60), ("B5",), "sentinel2-l2a", S2X, "L2A", 32629, 20.0, 0),
    f"{BEN}/{STEM}_B06.tif": ((60, 60), ("B6",), "sentinel2-l2a", S2X, "L2A", 32629, 20.0, 0),
    f"{BEN}/{STEM}_B07.tif": ((60, 60), ("B7",), "sentinel2-l2a", S2X, "L2A", 32629, 20.0, 0),
    f"{BEN}/{STEM}_B08.tif": ((120, 120), ("B8",), "sentinel2-l2a", S2X, "L2A", 32629, 10.0, 0),
    f"{BEN}/{STEM}_B8A.tif": ((60, 60), ("B8A",), "sentinel2-l2a", S2X, "L2A", 32629, 20.0, 0),
    f"{BEN}/{STEM}_B09.tif": ((20, 20), ("B9",), "sentinel2-l2a", S2X, "L2A", 32629, 60.0, 0),
    f"{BEN}/{STEM}_B11.tif": ((60, 60), ("B11",), "sentinel2-l2a", S2X, "L2A", 32629, 20.0, 0),
    f"{BEN}/{STEM}_B12.tif": ((60, 60), ("B12",), "sentinel2-l2a", S2X, "L2A", 32629, 20.0, 0),
    "geotiff_fixtures/copernicus_fm/s2_l1c_13band_264.tif": (
        (264, 264),
        unnamed(13),
        None,
        "dn",
        None,
        32760,
        10.0,
        0,
    ),
    # Old surface reflectance x 10000: the sensor is known by the product name, the Collection 2 unit does not hold.
    "geotiff_fixtures/opengeo/LE70220491999322EDC01_stack.gtif": (
        (250, 250),
        ("B1", "B2", "B3", "B4", "B5", "B7", "band7", "band8"),
        "landsat7-etm",
        "dn",
        None,
        32615,
        30.0,
        -9999,
    ),
    "geotiff_fixtures/opengeos_landsat/1985.tif": ((377, 697), unnamed(4), None, "dn", None, 4326, 89.22470, 0),
    "geotiff_fixtures/opengeos_landsat/2020.tif": ((377, 697), unnamed(4), None, "dn", None, 4326, 89.22470, 0),
    "geotiff_fixtures/rasterio/RGB.byte.tif": (
        (718, 791),
        ("R", "G", "B"),
        "rgb",
        "uint8",
        None,
        32618,
        300.0399,
        0,
    ),
    "geotiff_fixtures/sen1floods11/Spain_7370579_LabelHand.tif": (
        (512, 512),
        unnamed(1),
        None,
        "dn",
        None,
        4326,
        8.863438,
        None,
    ),
    "geotiff_fixtures/sen1floods11/Spain_7370579_S1Hand.tif": (
        (512, 512),
        ("VV", "VH"),
        "sentinel1-grd",
        "dB",
        None,
        4326,
        8.863438,
        NAN,
    ),
    "geotiff_fixtures/sen1floods11/Spain_7370579_S2Hand.tif": (
        (512, 512),
        L1C[:10] + L1C[10:],
        "sentinel2-l1c",
        S2X,
        "L1C",
        4326,
        8.863438,
        0,
    ),
    "geotiff_fixtures/solaris/sample_geotiff.tif": ((900, 900), unnamed(1), None, "dn", None, 32616, 0.5, 0),
    "geotiff_fixtures/stars/L7_ETMs.tif": ((352, 349), unnamed(6), None, "dn", None, 31985, 28.5, None),
    "geotiff_fixtures/terratorch/hls_10band_224.tif": ((224, 224), unnamed(10), None, "dn", None, 32614, 30.0, -9999),
    BEN: ((120, 120), S2, "sentinel2-l2a", S2X, "L2A", 32629, 10.0, 0),
    "landsat_cd/Taizhou/2000TM": (
        (400, 400),
        ("B1", "B2", "B3", "B4", "B5", "B7"),
        "landsat7-etm",
        "dn",
        None,
        32651,
        30.0,
        None,
    ),
    "landsat_cd/Taizhou/2003TM": (
        (400, 400),
        ("B1", "B2", "B3", "B4", "B5", "B7"),
        "landsat7-etm",
        "dn",
        None,
        32651,
        30.0,
        None,
    ),
    "landsat_cd/Taizhou/taizhou2000.jpg": ((400, 400), ("R", "G", "B"), "rgb", "uint8", None, None, None, None),
    "terramesh_examples/S2L1C/282D_485L_3_3.tif": ((224, 224), unnamed(13), None, "dn", None, 32722, 10.0, None),
    "terramesh_examples/S2L2A/637U_59R_1_3.tif": ((224, 224), unnamed(12), None, "dn", None, 32632, 10.0, None),
    "terramesh_examples/S1RTC/637U_59R_1_3.tif": ((224, 224), unnamed(2), None, "dn", None, 32632, 10.0, None),
    "terramesh_examples/DEM/282D_485L_3_3.tif": ((224, 224), unnamed(1), None, "dn", None, 32722, 10.0, None),
    "satclip_s2_12band/tif/patch_286743.tif": ((256, 256), S2, "sentinel2-l2a", S2X, "L2A", 32638, 10.0, 0),
    "satclip_s2_12band/tif/patch_33188.tif": ((256, 256), S2, "sentinel2-l2a", S2X, "L2A", 32612, 10.0, 0),
}


@pytest.mark.parametrize("path", TABLE)
def test_real_raster_is_read_as_it_is(shared_data, path):
    shape, bands, sensor, unit, level, epsg, gsd, nodata = TABLE[path]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raster = open_raster(shared_data / path)
    assert (raster.shape, raster.bands, raster.sensor, raster.unit.name, raster.level) == (
        shape,
        bands,
        sensor,
        unit,
        level,
    )
    assert (raster.crs.to_epsg() if raster.crs else None) == epsg
    assert raster.gsd == (None if gsd is None else pytest.approx(gsd, rel=1e-5))
    assert raster.gsd_source == ("unknown" if gsd is None else "georeference")
    assert raster.nodata == nodata or (nodata is NAN and math.isnan(raster.nodata))
    image = raster.read()
    assert image.pixels.shape == (1, len(bands), *shape)
    raster.close()


def test_the_table_covers_every_raster_of_the_fixtures(shared_data):
    found = {p.relative_to(shared_data).as_posix() for p in (shared_data / "geotiff_fixtures").rglob("*.*tif")}
    assert len(found) == 23
    assert found <= set(TABLE)


@pytest.mark.parametrize("path", [p for p in TABLE if p != BEN])
def test_pixels_are_the_pixels_that_gdal_reads(shared_data, path):
    with open_raster(shared_data / path) as raster, rasterio.open(shared_data / path) as file:
        np.testing.assert_array_equal(raster.read().pixels[0].numpy(), file.read())


def test_declaring_the_sensor_names_unnamed_bands(shared_data):
    path = shared_data / "geotiff_fixtures/copernicus_fm/s2_l1c_13band_264.tif"
    raster = open_raster(path, sensor="sentinel2-l1c")
    assert raster.bands == L1C
    assert (raster.unit.name, raster.level) == (S2X, "L1C")


def test_a_sensor_with_another_number_of_bands_is_refused_with_both_lists(shared_data):
    path = shared_data / "geotiff_fixtures/copernicus_fm/s2_l1c_13band_264.tif"
    with pytest.raises(DataError, match=r"found 13 bands \(band1, .*band13\); expected 12 \(B1, B2, .*B12\)"):
        open_raster(path, sensor="sentinel2-l2a")


def test_masks_beside_imagery_are_not_taken_for_imagery(shared_data):
    with pytest.raises(DataError, match=r"found 1 band .*expected 5 \(TCI_R"):
        open_raster(shared_data / "wildfire_s2_burn/masks/APACHE_20240624.tif")


def test_bands_of_different_units_cannot_be_mixed_and_can_be_chosen(shared_data):
    path = sorted((shared_data / "wildfire_s2_burn/post_fire").glob("*.tif"))[0]
    with pytest.raises(DataError, match=r"different units.*TCI_R in uint8.*B8 in reflectance"):
        open_raster(path)
    with open_raster(path, bands=["B12", "B8"]) as raster, rasterio.open(path) as file:
        image = raster.read()
        assert (image.bands, image.unit.name) == (("B12", "B8"), S2X)
        np.testing.assert_array_equal(image.pixels[0].numpy(), file.read([5, 4]))


def test_the_declared_gsd_wins_over_a_wrong_georeference_with_a_warning_that_names_both(shared_data):
    path = sorted((shared_data / "geobench2_benv2").glob("*/s2.tif"))[0]
    with pytest.warns(GsdWarning, match=r"claims 60 m per pixel and 10 m is declared"):
        raster = open_raster(path, sensor="sentinel2-l2a", gsd=10)
    assert (raster.gsd, raster.gsd_source) == (10, "declared")
    assert raster.read().gsd == 10


def test_a_folder_of_two_sensors_needs_the_sensor_named(shared_data):
    folder = sorted((shared_data / "geobench2_benv2").glob("*/B02.tif"))[0].parent
    with pytest.raises(DataError, match=r"more than one sensor.*VH.*--sensor"):
        open_raster(folder)
    with open_raster(folder, sensor="sentinel2-l2a") as optical, open_raster(folder, sensor="sentinel1-grd") as radar:
        assert (optical.bands, optical.shape, optical.gsd, optical.nodata) == (S2, (120, 120), 10.0, 0.0)
        assert (radar.bands, radar.dtype, radar.unit.name) == (("VV", "VH"), "float32", "dB")
        with rasterio.open(folder / "VV.tif") as vv:
            np.testing.assert_array_equal(radar.read().pixels[0, 0].numpy(), vv.read(1))


def test_coarser_bands_are_interpolated_onto_the_finest_grid(shared_data):
    with open_raster(shared_data / BEN) as raster:
        whole = raster.read().pixels[0]
        for name, factor in (("B02", 1), ("B05", 2), ("B01", 6)):
            with rasterio.open(shared_data / BEN / f"{STEM}_{name}.tif") as file:
                native = torch.from_numpy(file.read(1)).float()
            stacked = whole[raster.bands.index("B" + name[1:].lstrip("0"))].float()
            if factor == 1:
                torch.testing.assert_close(stacked, native)
                continue
            # Bilinear interpolation between pixel centres: torch's own agrees away from rounding to integers.
            expected = torch.nn.functional.interpolate(native[None, None], scale_factor=factor, mode="bilinear")[0, 0]
            torch.testing.assert_close(stacked, expected, atol=0.51, rtol=0)


def test_a_window_of_a_stack_is_the_same_as_a_cut_of_the_whole(shared_data):
    with open_raster(shared_data / BEN) as raster:
        whole = raster.read().pixels
        part = raster.read((37, 51, 40, 23)).pixels
    torch.testing.assert_close(part.float(), whole[..., 37:77, 51:74].float())


def test_web_mercator_is_corrected_for_the_latitude(shared_data):
    path = sorted((shared_data / "geobench2_spacenet7").glob("*/images.tif"))[0]
    raster = open_raster(path)
    assert raster.gsd == pytest.approx(4.777314 * math.cos(math.radians(raster.place.lat)), rel=1e-6)
    assert raster.bands == ("R", "G", "B")  # the fourth channel is transparency


def test_a_local_crs_has_a_gsd_but_no_place(shared_data):
    raster = open_raster(sorted((shared_data / "geobench2_flair2").glob("*/mask.tif"))[0])
    assert raster.gsd == pytest.approx(0.2)
    assert raster.place is None


def test_degrees_beyond_the_poles_give_no_gsd(shared_data):
    raster = open_raster(sorted((shared_data / "geobench2_biomassters").glob("*/*S2_January.tif"))[0])
    assert (raster.gsd, raster.gsd_source, raster.place) == (None, "unknown", None)


def test_nodata_pixels_are_not_valid(shared_data):
    path = shared_data / "geotiff_fixtures/rasterio/RGB.byte.tif"
    with open_raster(path) as raster, rasterio.open(path) as file:
        np.testing.assert_array_equal(raster.read().valid[0].numpy(), file.dataset_mask() > 0)
