import pytest

from ecotone.errors import SensorError
from ecotone.sensors import Band, Sensor, load_sensor_file, register_sensor, registry, sensor, sensor_names, unit

SHIPPED = {
    "sentinel2-l1c": 13,
    "sentinel2-l2a": 12,
    "sentinel1-grd": 2,
    "landsat5-tm": 6,
    "landsat7-etm": 6,
    "landsat8-oli": 7,
    "landsat9-oli2": 7,
    "hls-l30": 8,
    "hls-s30": 13,
    "naip": 4,
    "rgb": 3,
    "dem": 1,
    "sentinel1-orbits": 8,
    "aster": 2,
    "canopy-height-eth": 2,
    "dynamic-world": 1,
    "esa-worldcover": 1,
}
# Rough limits in nm of the roles of the STAC eo extension: a wrong digit in a wavelength falls outside.
ROLES = {
    "coastal": (430, 455),
    "blue": (455, 510),
    "green": (510, 600),
    "red": (600, 690),
    "rededge071": (690, 730),
    "rededge075": (730, 760),
    "rededge078": (760, 800),
    "nir": (760, 900),
    "nir08": (840, 890),
    "nir09": (930, 960),
    "cirrus": (1350, 1390),
    "swir16": (1550, 1750),
    "swir22": (2080, 2350),
}


@pytest.mark.parametrize(("name", "count"), SHIPPED.items())
def test_every_shipped_sensor_loads_with_its_bands_and_a_source(name, count):
    found = sensor(name)
    assert len(found.bands) == count
    assert len(set(found.band_names)) == count
    assert found.source


def test_nothing_else_is_shipped():
    assert set(SHIPPED) <= set(sensor_names())


@pytest.mark.parametrize("name", SHIPPED)
def test_wavelengths_lie_where_the_role_of_the_band_says(name):
    for band in sensor(name).bands:
        if band.wavelength is None:
            assert band.bandwidth is None
            continue
        low, high = ROLES[band.common_name]
        assert low <= band.wavelength <= high
        assert 10 <= band.bandwidth <= 300


@pytest.mark.parametrize("name", [n for n in SHIPPED if n not in ("rgb", "dem")])
def test_every_band_of_an_instrument_has_a_native_gsd(name):
    assert all(0.3 <= b.gsd <= 60 for b in sensor(name).bands)


def test_sentinel2_levels_differ_by_the_cirrus_band_alone():
    l1c, l2a = sensor("sentinel2-l1c"), sensor("sentinel2-l2a")
    assert tuple(b for b in l1c.bands if b.name != "B10") == l2a.bands


@pytest.mark.parametrize("written", ["B02", "b2", "B2", " B02 "])
def test_zero_padding_and_case_do_not_matter(written):
    assert sensor("sentinel2-l2a").band(written).name == "B2"


def test_b8a_is_not_b8():
    found = sensor("sentinel2-l2a")
    assert found.band("B8A").name == "B8A"
    assert found.band("B08").name == "B8"


def test_b10_is_not_b1():
    assert sensor("sentinel2-l1c").band("B10").name == "B10"


def test_aliases_name_the_same_band():
    assert sensor("landsat8-oli").band("SR_B4").name == "B4"
    assert sensor("naip").band("NIR").name == "N"


def test_a_misspelt_sensor_suggests_the_nearest():
    with pytest.raises(SensorError, match="Did you mean 'sentinel2-l2a'"):
        sensor("sentinel2_l2a")


def test_a_misspelt_band_names_the_sensor_and_the_nearest_band():
    with pytest.raises(SensorError, match=r"sentinel2-l2a has no band 'B13'. Did you mean"):
        sensor("sentinel2-l2a").band("B13")


def test_a_user_sensor_is_read_from_yaml(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_added", {})  # tests that follow in this process know nothing of it
    path = tmp_path / "drone.yaml"
    path.write_text(
        "name: drone\ntitle: A drone\nunit: reflectance\nsource: its manual\n"
        "bands:\n  - {name: red, wavelength: 650, bandwidth: 20, gsd: 0.05}\n"
    )
    found = sensor(str(path))
    assert found == load_sensor_file(path)
    assert found.physical_unit == unit("reflectance")
    register_sensor(found)
    assert sensor("drone") is found


def test_a_taken_name_with_other_bands_is_refused():
    other = Sensor(name="rgb", title="other", unit="uint8", source="test", bands=(Band(name="X"),))
    with pytest.raises(SensorError, match="registered already"):
        register_sensor(other)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: x\n", "bands"),
        ("name: x\ntitle: x\nunit: furlong\nsource: x\nbands: [{name: a}]\n", "unknown unit 'furlong'"),
        ("name: x\ntitle: x\nunit: dn\nsource: x\nbands: [{name: a, wavelength: -5}]\n", "greater than 0"),
        ("name: x\ntitle: x\nunit: dn\nsource: x\nband: []\nbands: [{name: a}]\n", "band"),
        ("{[", "does not describe a sensor"),
    ],
)
def test_a_bad_sensor_file_is_refused_with_the_reason(tmp_path, text, reason):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SensorError, match=reason):
        load_sensor_file(path)


def test_a_missing_sensor_file_is_named(tmp_path):
    with pytest.raises(SensorError, match="cannot read the sensor file"):
        load_sensor_file(tmp_path / "none.yaml")
