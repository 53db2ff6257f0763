"""Sensors: ordered bands with physical meaning, and the digital-number convention of their products."""

from ecotone.sensors.band import Band, Sensor
from ecotone.sensors.registry import load_sensor_file, register_sensor, sensor, sensor_names
from ecotone.sensors.units import Unit, unit

__all__ = ["Band", "Sensor", "Unit", "load_sensor_file", "register_sensor", "sensor", "sensor_names", "unit"]
