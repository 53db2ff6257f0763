"""What the materials of the synthetic Earth look like to a sensor, and how plants change through the year."""

from __future__ import annotations

from datetime import date

import numpy as np

from ecotone.data.synthetic.noise import Array
from ecotone.sensors import Sensor

# Centre wavelengths in nm at which the reflectances below are given (those of Sentinel-2).
_NM = (443, 493, 560, 665, 704, 741, 783, 833, 865, 945, 1614, 2202)
# Rounded, plausible values in percent, after the shapes in the USGS Spectral Library Version 7 (Kokaly et al. 2017);
# the last two columns are backscatter in dB (VV, VH), typical of C band at 39 degrees.
_TABLE = {
    "water":       (3.6, 3.8, 3.6, 2.0, 1.6, 1.3, 1.2, 1.1, 1.0, 0.8, 0.5, 0.3, -19.0, -27.0),
    "silty water": (5.5, 6.8, 9.0, 7.4, 6.4, 4.3, 3.9, 3.1, 2.8, 2.2, 1.2, 0.8, -18.0, -26.0),
    "broadleaf":   (2.0, 2.4, 5.3, 2.7, 8.2, 26.0, 34.0, 37.0, 39.0, 38.0, 19.5, 9.2, -9.0, -14.5),
    "conifer":     (1.6, 1.9, 3.3, 2.0, 4.6, 13.0, 16.8, 18.5, 19.6, 19.2, 8.6, 4.0, -9.8, -15.5),
    "twigs":       (4.0, 4.8, 6.6, 8.0, 10.2, 13.0, 14.5, 16.0, 17.0, 17.5, 18.5, 12.5, -10.5, -17.0),
    "grass":       (3.0, 3.8, 8.2, 4.8, 12.2, 29.0, 35.5, 38.5, 40.5, 39.5, 24.5, 13.2, -11.5, -18.0),
    "crop":        (2.4, 3.1, 8.0, 4.0, 10.5, 31.0, 40.0, 43.0, 45.0, 43.5, 20.5, 10.0, -10.8, -16.5),
    "straw":       (6.5, 8.2, 13.2, 18.0, 20.8, 23.5, 25.5, 28.0, 30.5, 31.5, 36.0, 27.5, -12.8, -20.0),
    "flowers":     (3.0, 4.4, 16.0, 15.0, 20.0, 30.0, 35.0, 38.0, 40.0, 39.0, 22.0, 12.0, -10.0, -15.5),
    "soil":        (5.8, 7.4, 10.6, 14.6, 17.0, 19.0, 20.5, 22.2, 23.6, 24.6, 31.5, 27.5, -12.5, -20.5),
    "dark soil":   (3.8, 4.7, 6.3, 8.2, 9.8, 11.2, 12.2, 13.2, 14.2, 14.8, 18.8, 15.8, -11.8, -19.5),
    "sand":        (11.5, 14.5, 19.5, 24.5, 28.0, 33.5, 34.5, 35.5, 37.0, 37.5, 44.0, 41.0, -16.0, -24.5),
    "rock":        (9.5, 11.0, 13.0, 14.8, 15.8, 16.6, 17.4, 18.2, 18.8, 19.2, 22.5, 20.8, -11.0, -18.5),
    "reed":        (3.0, 3.8, 6.2, 5.6, 8.6, 15.5, 18.5, 20.5, 21.5, 21.0, 13.0, 7.0, -8.5, -15.0),
    "asphalt":     (8.6, 9.6, 10.7, 11.4, 11.9, 12.3, 12.7, 13.2, 13.6, 13.6, 15.0, 14.0, -13.5, -22.0),
    "red roof":    (6.0, 7.4, 10.4, 18.5, 21.5, 23.2, 24.7, 26.3, 27.6, 28.6, 33.5, 30.5, -3.5, -12.5),
    "grey roof":   (11.5, 13.2, 15.0, 16.0, 16.5, 17.0, 17.4, 18.0, 18.4, 18.4, 19.5, 18.0, -3.0, -12.0),
    "bright roof": (19.5, 21.6, 23.4, 24.2, 24.6, 25.0, 25.4, 25.8, 26.0, 25.7, 25.0, 23.0, 0.0, -9.5),
    "snow":        (88.0, 88.0, 87.0, 86.0, 85.0, 84.0, 82.0, 80.0, 77.0, 70.0, 12.0, 9.0, -15.0, -22.0),
}  # fmt: skip
MATERIALS = tuple(_TABLE)
ID = {name: i for i, name in enumerate(MATERIALS)}

CROPS = ("winter cereal", "maize", "rapeseed", "ley", "sugar beet", "fallow")
# Day of the year -> green cover in percent, by plant.
_CALENDAR = {
    "winter cereal": ((1, 30), (75, 45), (115, 88), (150, 95), (180, 50), (200, 8), (235, 4), (290, 10), (366, 30)),
    "maize": ((1, 3), (130, 5), (160, 30), (190, 80), (240, 95), (262, 60), (275, 5), (366, 3)),
    "rapeseed": ((1, 45), (80, 60), (110, 95), (150, 90), (185, 45), (200, 6), (240, 8), (280, 40), (366, 45)),
    "ley": ((1, 45), (90, 75), (138, 95), (145, 55), (175, 88), (190, 80), (197, 50), (225, 80), (290, 75), (366, 45)),
    "sugar beet": ((1, 3), (110, 5), (150, 35), (185, 92), (270, 90), (290, 60), (305, 5), (366, 3)),
    "fallow": ((1, 8), (120, 15), (180, 28), (240, 22), (366, 8)),
    "broadleaf": ((1, 4), (95, 6), (128, 85), (160, 100), (250, 92), (290, 45), (318, 5), (366, 4)),
    "grass": ((1, 45), (90, 65), (135, 97), (190, 82), (225, 62), (270, 78), (366, 45)),
    "reed": ((1, 5), (110, 15), (170, 85), (250, 80), (300, 25), (366, 5)),
}


def green(plant: str, day: date) -> float:
    """Fraction of the ground that is green under this plant on this day, on the northern hemisphere."""
    days, percent = zip(*_CALENDAR[plant], strict=True)
    return float(np.interp(day.timetuple().tm_yday, days, percent)) / 100


def flowering(day: date) -> float:
    """Fraction of the green of rapeseed that is yellow on this day: three weeks around the 1st of May."""
    return float(np.exp(-(((day.timetuple().tm_yday - 121) / 13) ** 2)))


def snow_line(day: date) -> float:
    """Metres above which snow lies on this day."""
    return 1050 - 900 * float(np.cos((day.timetuple().tm_yday - 30) / 365.25 * 2 * np.pi))


def reflectances(target: Sensor) -> Array:
    """(materials, C) reflectance as a fraction in the bands of an optical sensor, by their centre wavelengths."""
    common = {"red": 665.0, "green": 560.0, "blue": 493.0}
    nm = [b.wavelength or common[b.common_name or ""] for b in target.bands]
    return np.array([np.interp(nm, _NM, row[:12]) for row in _TABLE.values()], np.float32) / 100


def backscatter(polarisation: str) -> Array:
    """(materials,) linear power in VV or VH."""
    column = {"VV": 12, "VH": 13}[polarisation]
    return np.array([10 ** (row[column] / 10) for row in _TABLE.values()], np.float32)
