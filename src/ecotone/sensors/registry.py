"""The sensor registry: one YAML file per sensor, the package's own and the user's."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path

import yaml
from pydantic import ValidationError

from ecotone.errors import SensorError, nearest
from ecotone.sensors.band import Sensor

_added: dict[str, Sensor] = {}


def load_sensor_file(path: str | Path) -> Sensor:
    """Read one sensor from YAML.

    Raises:
        SensorError: The file is missing, is not YAML, or does not describe a sensor.
    """
    try:
        return Sensor.model_validate(yaml.safe_load(Path(path).read_text("utf-8")))
    except OSError as error:
        raise SensorError(f"cannot read the sensor file {path}", found=error.strerror) from error
    except (ValidationError, yaml.YAMLError) as error:
        raise SensorError(f"{path} does not describe a sensor: {error}") from error


def register_sensor(new: Sensor | str | Path) -> Sensor:
    """Add a sensor, or the YAML file of one, to the registry for this process.

    Raises:
        SensorError: The name is taken by a different sensor.
    """
    new = new if isinstance(new, Sensor) else load_sensor_file(new)
    known = {**_shipped(), **_added}.get(new.name)
    if known is not None and known != new:
        raise SensorError(f"sensor {new.name!r} is registered already, with other bands", mend="Choose another name.")
    _added[new.name] = new
    return new


@cache
def _shipped() -> dict[str, Sensor]:
    """Sensors of the package, and those of installed packages with an ``ecotone.sensors`` entry point."""
    folder = resources.files("ecotone.sensors") / "catalog"
    found = [load_sensor_file(str(f)) for f in folder.iterdir() if f.name.endswith(".yaml")]
    found += [entry.load() for entry in entry_points(group="ecotone.sensors")]
    return {s.name: s for s in found}


def sensor(name: str | Sensor) -> Sensor:
    """The sensor of this name, or the one described by a YAML file of this path.

    Raises:
        SensorError: No such sensor; the nearest name is suggested.
    """
    if isinstance(name, Sensor):
        return name
    known = {**_shipped(), **_added}
    if name in known:
        return known[name]
    if name.endswith((".yaml", ".yml")):
        return load_sensor_file(name)
    raise SensorError(f"unknown sensor {name!r}", mend=nearest(name, known))


def sensor_names() -> list[str]:
    """All registered names, sorted."""
    return sorted({**_shipped(), **_added})
