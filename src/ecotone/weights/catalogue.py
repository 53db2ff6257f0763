"""The released weights by name, and the cache of those that were fetched."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecotone import files
from ecotone.errors import CheckpointError, nearest


class Entry(BaseModel):
    """One released file.

    Attributes:
        name: What it is called here.
        method: Kind of the method that it was trained with.
        url: Where it is.
        size: Its bytes, where published.
        sha256: Its checksum, where published.
        licence: Of the weights.
        trained_on: Data and size.
        notes: What else to know.
        heads: Attention heads of the encoder, for a width that was not published.
        decoder_heads: Attention heads of the decoder, where they are not the method's default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    method: str
    url: str
    size: int | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    licence: str
    trained_on: str
    notes: str = ""
    heads: int | None = None
    decoder_heads: int | None = None


def catalogue() -> dict[str, Entry]:
    """Released files by name: the package's list, and that of the YAML file that ``$ECOTONE_CATALOGUE`` names.

    The latter is for a mirror behind a firewall, or weights of one's own in an official layout; its entries win.

    Raises:
        CheckpointError: The file is no such list.
    """
    found = _entries(
        (resources.files("ecotone.weights") / "catalog.yaml").read_text("utf-8"), "the package's catalogue"
    )
    more = os.environ.get("ECOTONE_CATALOGUE")
    if more:
        try:
            text = Path(more).read_text("utf-8")
        except OSError as error:
            raise CheckpointError(f"cannot read the catalogue {more}", found=error.strerror) from error
        found |= _entries(text, more)
    return found


def entry(name: str) -> Entry:
    """The released file of this name.

    Raises:
        CheckpointError: There is none; the nearest is suggested.
    """
    known = catalogue()
    if name not in known:
        raise CheckpointError(f"there are no released weights named {name!r}", mend=nearest(name, known))
    return known[name]


def cache_folder() -> Path:
    """Where fetched weights are kept: ``$ECOTONE_CACHE``, else ``ecotone`` in the user's cache folder."""
    return files.cache_folder("weights")


def _entries(text: str, source: str) -> dict[str, Entry]:
    try:
        listed = [Entry.model_validate(row) for row in yaml.safe_load(text) or []]
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        raise CheckpointError(f"{source} is no list of released weights: {error}") from error
    return {e.name: e for e in listed}
