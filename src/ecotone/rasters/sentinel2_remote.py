"""Sentinel-2 products behind URLs. Servers list no folders: GDAL reads the metadata, and these name the images."""

from __future__ import annotations

import re

from ecotone.errors import DataError
from ecotone.rasters.files import open_file, readable
from ecotone.rasters.remote import gdal_path, is_remote, shown
from ecotone.rasters.sentinel2 import Product, metadata_values, read_product

_NAME = re.compile(r"(S2._MSI(L1C|L2A)_[^/]+?)(?:\.SAFE)?(\.zip)?/?", re.IGNORECASE)
_METADATA = re.compile(r"(.+)/(MTD_MSIL(?:1C|2A)\.xml)")


def find_remote_product(source: str) -> Product | None:
    """The product that a URL names: its ``.SAFE`` folder, the metadata file in that, or a zip; None for anything else.

    Only the metadata are read; of a band, only what is asked for later.

    Raises:
        DataError: The address cannot be read, or holds no product.
    """
    address = _metadata_address(source) if is_remote(source) else None
    if address is None:
        return None
    with readable(address), open_file(address, driver="SENTINEL2") as file:
        text = file.tags(ns="xml:SENTINEL2")["xml:SENTINEL2"].encode()
    place, _, name = address.rpartition("/")
    images = [f"{image}.jp2" for image in metadata_values(shown(source), text).get("IMAGE_FILE", [])]
    if any(".." in image.split("/") for image in images):
        raise DataError(f"the metadata of {shown(source)} name files outside the product")
    return read_product(shown(source), [name, *images], lambda _: text, place)


def remote_product_around(path: str) -> Product | None:
    """The ``.SAFE`` folder behind a URL that a file lies in, if it lies in one."""
    inside = re.match(r"(.+\.SAFE)/", path, re.IGNORECASE)
    return find_remote_product(inside[1]) if inside else None


def _metadata_address(source: str) -> str | None:
    """Where GDAL finds the metadata of a product; None where nothing in the address speaks of one."""
    address, plain = gdal_path(source), source.partition("?")[0]
    if _METADATA.fullmatch(address):
        return address
    if not plain.rstrip("/").lower().endswith((".safe", ".zip")):
        return None
    found = _NAME.fullmatch(plain.rstrip("/").rpartition("/")[2])
    if not found:
        raise DataError(
            f"cannot tell where the metadata of {shown(source)} lie",
            expected="a folder or zip with the name of a product, such as S2A_MSIL2A_….SAFE",
            mend="Name its metadata file, such as /vsizip/{URL}/NAME.SAFE/MTD_MSIL2A.xml for a renamed zip.",
        )
    product, level, is_zip = found.groups()
    # In braces, GDAL takes what follows the name in a signed URL for a part of the address of the zip.
    folder = f"/vsizip/{{{address}}}/{product}.SAFE" if is_zip else address.rstrip("/")
    return f"{folder}/MTD_MSI{level.upper()}.xml"
