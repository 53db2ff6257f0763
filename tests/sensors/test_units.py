import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecotone.errors import SensorError
from ecotone.sensors import unit
from ecotone.sensors.units import UNITS

REFLECTANCE = [name for name, u in UNITS.items() if u.quantity == "reflectance"]


@pytest.mark.parametrize(
    ("name", "stored", "reflectance"),
    [
        ("reflectance x 10000", 2500, 0.25),
        ("reflectance x 10000 + 1000", 3500, 0.25),
        ("landsat c2 reflectance", 18181.818, 0.3),
        ("reflectance", 0.25, 0.25),
    ],
)
def test_digital_numbers_mean_the_reflectance_of_the_product_guide(name, stored, reflectance):
    value = unit(name).to(unit("reflectance"), torch.tensor([stored]))
    torch.testing.assert_close(value, torch.tensor([reflectance]))


@given(st.sampled_from(REFLECTANCE), st.sampled_from(REFLECTANCE), st.floats(0, 1))
def test_conversion_and_back_gives_the_same_value(a, b, value):
    there = unit(a).to(unit(b), torch.tensor([value], dtype=torch.float64))
    back = unit(b).to(unit(a), there)
    torch.testing.assert_close(back, torch.tensor([value], dtype=torch.float64), atol=1e-9, rtol=1e-9)


def test_decibels_are_ten_times_the_logarithm_of_power():
    power = unit("dB").to(unit("linear power"), torch.tensor([-10.0, 0.0, 10.0]))
    torch.testing.assert_close(power, torch.tensor([0.1, 1.0, 10.0]))
    torch.testing.assert_close(unit("linear power").to(unit("dB"), power), torch.tensor([-10.0, 0.0, 10.0]))


def test_integers_become_floating_point_even_without_a_conversion():
    assert unit("uint8").to(unit("uint8"), torch.tensor([3], dtype=torch.uint8)).dtype == torch.float32


def test_other_quantities_are_refused_with_both_names():
    with pytest.raises(SensorError, match=r"found uint8 \(display\); expected reflectance"):
        unit("uint8").to(unit("reflectance"), torch.zeros(1))


def test_a_misspelt_unit_suggests_the_nearest():
    with pytest.raises(SensorError, match="Did you mean 'reflectance x 10000'"):
        unit("reflectance x 1000")
