"""Rasters behind URLs, read by ranges through GDAL: no file is downloaded whole."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import rasterio

_SCHEMES = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "adl": "/vsiadls/", "oss": "/vsioss/"}
_NETWORK = re.compile(r"/vsi(?:(?:zip|tar|gzip)/+\{?/*(?:vsi)?)?(?:curl|s3|gs|az|adls|oss|swift)[/?_]")
_SIGNED = re.compile(r"[?&](?:X-Amz-Signature|X-Goog-Signature|Signature|sig)=", re.IGNORECASE)
# A server that does not answer is given up after seconds, not after the minutes of the defaults; and GDAL is kept from
# asking for the files that might lie beside one. The same names in the environment come first.
SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_CONNECTTIMEOUT": "5",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_LOW_SPEED_TIME": "10",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
}


def is_remote(source: str) -> bool:
    """Whether a source is a URL or a path of GDAL's virtual file systems."""
    return "://" in source or source.startswith("/vsi")


def gdal_path(source: str) -> str:
    """The path by which GDAL reads a source: ``/vsicurl/…`` for http, ``/vsis3/…`` for ``s3://``, and so on."""
    scheme, mark, rest = source.partition("://")
    if not mark or source.startswith("/vsi"):
        return source
    if scheme.lower() in ("http", "https", "ftp"):
        return f"/vsicurl/{source}"
    if scheme.lower() == "file":
        return rest
    return _SCHEMES[scheme.lower()] + rest if scheme.lower() in _SCHEMES else source


def is_network(path: str) -> bool:
    """Whether GDAL reads a path over the network."""
    return bool(_NETWORK.match(path))


def network_settings(path: str) -> AbstractContextManager[object]:
    """GDAL's settings while it opens or reads this path."""
    if not is_network(path):
        return nullcontext()
    settings: dict[str, Any] = {name: value for name, value in SETTINGS.items() if name not in os.environ}
    return rasterio.Env(**settings)


def shown(source: str) -> str:
    """A source as it may be shown and kept: without GDAL's prefix and without the signature of a signed URL."""
    plain = re.sub(r"^/vsicurl/", "", source)
    return plain.partition("?")[0] if _SIGNED.search(plain) else plain
