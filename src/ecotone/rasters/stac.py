"""STAC: the items that a catalogue's search finds become scenes, their assets bands by name.

The specification is that of https://stacspec.org (STAC 1.0 and 1.1, STAC API item search).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urljoin

from ecotone.errors import DataError, RecipeError, nearest
from ecotone.rasters.declared import Declaration
from ecotone.rasters.opening import open_raster
from ecotone.rasters.quality import quality_kind
from ecotone.rasters.raster import Raster
from ecotone.rasters.remote import gdal_path, is_network, shown
from ecotone.rasters.sources import Source, source_id
from ecotone.rasters.stac_assets import band_assets, sensor_of, unit_of
from ecotone.sensors import sensor

PREFIX = "stac:"
TIMEOUT = 30.0  # seconds for one answer of a catalogue
_SEARCH = ("collections", "ids", "bbox", "datetime", "query", "max_items")


@dataclass(frozen=True)
class StacSource(Source):
    """One item. Its assets are chosen by name when it is opened, and only those are read.

    Attributes:
        item: The item as the catalogue gave it, with full addresses.
    """

    item: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def open(self, **choices: Any) -> Raster:
        """Open the item; ``choices`` are the keyword arguments of ``open_raster``.

        Raises:
            DataError: It has no assets with the wanted bands, or does not say what its numbers mean.
        """
        known = sensor(choices["sensor"]) if choices.get("sensor") else sensor_of(self.item)
        assets = self.item["assets"]
        bands = band_assets(str(self), assets, known, choices.get("bands") or ())
        unit = choices.get("unit") or unit_of(str(self), self.item, [assets[key] for key in bands])
        layers = [asset["href"] for key, asset in assets.items() if quality_kind(key)]
        given = {"declared": Declaration(sensor=known.name if known else None, unit=unit), "layers": layers, **choices}
        if known and all(bands.values()):
            given["bands"] = list(bands.values())
        raster = open_raster([_address(str(self), assets[key]["href"]) for key in bands], **given)
        raster.name, raster.time, raster.origin = self.item["id"], _time(self.item), _origin(self.item)
        return raster

    def __str__(self) -> str:
        return f"{self.item.get('collection')}/{self.item.get('id')}"


def search_items(text: str) -> list[Source]:
    """The scenes of ``stac:URL?…``, the URL of a STAC API and what to look for there.

    Keys after the question mark: ``collections`` and ``ids`` (separated by commas), ``bbox`` (west,south,east,north),
    ``datetime`` (a time, or two with ``/``), ``query`` (such as ``eo:cloud_cover<20``; may be repeated) and
    ``max_items``.

    Raises:
        DataError: pystac-client is not installed, or the catalogue does not answer as STAC asks.
        RecipeError: An unknown key, or one with a wrong value.
    """
    url, _, asked = text.removeprefix(PREFIX).partition("?")
    terms = _terms(asked)
    try:
        from pystac_client import Client
        from pystac_client.exceptions import APIError
    except ImportError:
        raise DataError(
            "a STAC search needs the packages of the extra 'stac'", mend="Install it with: pip install 'ecotone[stac]'"
        ) from None
    try:
        found = list(Client.open(url, timeout=TIMEOUT).search(**terms).items_as_dicts())
    except (APIError, OSError, NotImplementedError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"cannot search the STAC catalogue {url}", found=reason, mend="Check the address.") from error
    if not found:
        raise DataError(f"the STAC catalogue {url} holds no such item", found=f"none for {asked or 'no terms'}")
    return [_source(url, item) for item in found]


def _terms(asked: str) -> dict[str, Any]:
    try:
        given = parse_qs(asked, strict_parsing=bool(asked))
    except ValueError:
        raise RecipeError(f"a STAC search cannot be read from {asked!r}", expected="key=value&key=value") from None
    unknown = next((key for key in given if key not in _SEARCH), None)
    if unknown:
        raise RecipeError(f"a STAC search has no key {unknown!r}", mend=nearest(unknown, _SEARCH))
    terms: dict[str, Any] = {key: values[-1] for key, values in given.items()}
    terms |= {key: terms[key].split(",") for key in ("collections", "ids") if key in terms}
    if "query" in given:
        terms["query"] = given["query"]
    try:
        terms |= {"bbox": [float(v) for v in terms["bbox"].split(",")]} if "bbox" in terms else {}
        terms |= {"max_items": int(terms["max_items"])} if "max_items" in terms else {}
    except ValueError as error:
        raise RecipeError("a STAC search has a wrong number", found=str(error)) from error
    return terms


def _source(url: str, item: dict[str, Any]) -> Source:
    own = next((link["href"] for link in item.get("links", []) if link.get("rel") == "self"), url)
    assets = {k: {**a, "href": urljoin(own, a["href"])} for k, a in item.get("assets", {}).items() if "href" in a}
    name = str(item.get("id"))
    full = f"{url.rstrip('/')}/collections/{item.get('collection')}/items/{name}"
    return StacSource(source_id(name, full), full, item={"properties": {}, **item, "assets": assets})


def _address(source: str, href: str) -> str:
    """An address on the network: a catalogue must not make this machine read its own files."""
    if not is_network(gdal_path(href)) or href.startswith("/"):
        raise DataError(f"{source} has an asset that is no address on the network", found=shown(href))
    return href


def _time(item: Mapping[str, Any]) -> datetime | None:
    text = item["properties"].get("datetime") or item["properties"].get("start_datetime")
    return datetime.fromisoformat(text) if text else None


def _origin(item: Mapping[str, Any]) -> dict[str, str]:
    keys = ("platform", "s2:processing_baseline", "processing:version", "earthsearch:boa_offset_applied")
    properties = {k: str(item["properties"][k]) for k in keys if item["properties"].get(k) is not None}
    return {"collection": str(item.get("collection")), "item": str(item.get("id")), **properties}
