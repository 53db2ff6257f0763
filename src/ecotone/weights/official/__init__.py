"""Official weights: read as data, renamed to ours. One converter per method."""

from ecotone.weights.official.base import Converted
from ecotone.weights.official.reading import OfficialCheckpoint, read_checkpoint

__all__ = ["Converted", "OfficialCheckpoint", "read_checkpoint"]
