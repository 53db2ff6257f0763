"""The synthetic Earth: procedural imagery with known land cover and known changes, for tests, demos and teaching.

It looks like a landscape and is none: whatever is learnt or scored on it says nothing about the real Earth. Every file
made from it carries the tag ``ECOTONE_SYNTHETIC=yes``.
"""

from ecotone.data.synthetic.cover import CLASSES, COLOURS
from ecotone.data.synthetic.dataset import write_dataset
from ecotone.data.synthetic.events import EVENT_CODE, KINDS, Event
from ecotone.data.synthetic.mmearth import write_mmearth
from ecotone.data.synthetic.world import CRS, EASTING, NORTHING, SyntheticScene, World
from ecotone.data.synthetic.writing import write_change, write_land_cover, write_preview, write_scene

__all__ = [
    "CLASSES",
    "COLOURS",
    "CRS",
    "EASTING",
    "EVENT_CODE",
    "KINDS",
    "NORTHING",
    "Event",
    "SyntheticScene",
    "World",
    "write_change",
    "write_dataset",
    "write_land_cover",
    "write_mmearth",
    "write_preview",
    "write_scene",
]
