"""Readers of public datasets, one small file per dataset."""

from ecotone.data.catalog.mmearth import MMEarth

__all__ = ["MMEarth"]
