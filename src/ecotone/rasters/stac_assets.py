"""What a STAC item says of itself: its sensor, which assets are bands, and the unit of their numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ecotone.errors import DataError
from ecotone.rasters.quality import quality_kind
from ecotone.sensors import Sensor, sensor, sensor_names

_IMAGES = re.compile(r"image/(tiff|jp2|vnd\.stac\.geotiff)|^$")
_UNITS = {
    (1e-4, 0.0): "reflectance x 10000",
    (1e-4, -0.1): "reflectance x 10000 + 1000",
    (2.75e-5, -0.2): "landsat c2 reflectance",
}


def sensor_of(item: Mapping[str, Any]) -> Sensor | None:
    """The sensor that the collection is called after, or the only one that the platform is."""
    collection, platform = (_plain(str(t or "")) for t in (item.get("collection"), item["properties"].get("platform")))
    names = [n for n in sensor_names() if _plain(n) in collection.replace("c1", "")]
    names = names or [n for n in sensor_names() if platform and _plain(n).startswith(platform)]
    return sensor(names[0]) if len(names) == 1 else None


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def band_assets(
    source: str, assets: Mapping[str, Mapping[str, Any]], known: Sensor | None, wanted: Sequence[str]
) -> dict[str, str]:
    """Asset key -> band name for the wanted bands, or all; one asset without a band where it holds the whole image.

    Raises:
        DataError: A wanted band is missing, or nothing says which assets are bands.
    """
    images = {k: a for k, a in assets.items() if _IMAGES.search(str(a.get("type", ""))) and not quality_kind(k)}
    names: dict[str, str] = {}
    for key in sorted(images, key=lambda k: "jp2" in str(images[k].get("type", ""))):  # GeoTIFF where there are both
        band = _band_of(known, key, images[key]) if known else None
        if band and band not in names.values():
            names[key] = band
    if known and names:
        keys = {known.band(name).name: key for key, name in names.items()}
        order = {known.band(w).name: w for w in wanted} or {b: b for b in known.band_names if b in keys}
        missing = [w for band, w in order.items() if band not in keys]
        if missing:
            raise DataError(f"{source} lacks the bands {', '.join(missing)}", found=", ".join(sorted(keys)))
        return {keys[band]: w for band, w in order.items()}
    whole = [k for k, a in images.items() if "data" in a.get("roles", ["data"])]
    if len(whole) != 1:
        raise DataError(
            f"{source} does not say which assets are the bands of a sensor",
            found=", ".join(images) or "no images",
            mend="Name the sensor with --sensor.",
        )
    return {whole[0]: ""}


def _band_of(known: Sensor, key: str, asset: Mapping[str, Any]) -> str | None:
    """The band of an asset: by its key, the names of its one band, its common name or its wavelength."""
    bands = asset.get("bands") or asset.get("eo:bands") or [{}]
    if len(bands) > 1:
        return None
    said = {name.removeprefix("eo:"): value for name, value in bands[0].items()}
    for name in (key, str(said.get("name", ""))):
        if (found := known.find(name)) is not None:
            return found.name
    common = [b for b in known.bands if b.common_name in (key, said.get("common_name"))]
    if len(common) == 1:
        return common[0].name
    centre = 1000 * float(said.get("center_wavelength") or 0)
    near = [b for b in known.bands if b.wavelength and abs(b.wavelength - centre) < 5]
    return near[0].name if len(near) == 1 else None


def unit_of(source: str, item: Mapping[str, Any], assets: Sequence[Mapping[str, Any]]) -> str | None:
    """The unit by the scale and offset of the assets; None leaves it to the sensor's products.

    Raises:
        DataError: The assets differ, or a Sentinel-2 item is silent about an offset that it may have.
    """
    said = {_scaling(asset) for asset in assets}
    if item["properties"].get("earthsearch:boa_offset_applied") is True:
        said = {pair and (pair[0], 0.0) for pair in said}
    pairs = [_UNITS.get(pair) for pair in said if pair]
    baseline = str(item["properties"].get("s2:processing_baseline") or item["properties"].get("processing:version", ""))
    if len(said) == 1 and len(pairs) == 1 and pairs[0]:
        return pairs[0]
    if pairs or (baseline >= "04.00" and re.fullmatch(r"\d\d\.\d\d", baseline)):
        raise DataError(
            f"{source} does not say what its numbers mean",
            found=f"scale and offset {sorted(map(str, said))}" if pairs else f"baseline {baseline} and no offset",
            mend="Declare it: --unit 'reflectance x 10000 + 1000', or 'reflectance x 10000' if the offset is off.",
        )
    return None


def _scaling(asset: Mapping[str, Any]) -> tuple[float, float] | None:
    said = {**asset, **(asset.get("raster:bands") or asset.get("bands") or [{}])[0]}
    scale, offset = (said.get(k, said.get(f"raster:{k}")) for k in ("scale", "offset"))
    return None if scale is None else (float(scale), float(offset or 0))
