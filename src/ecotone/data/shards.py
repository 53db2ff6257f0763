"""WebDataset tar shards, read by position: an index of the members lets any order be drawn from them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecotone.data.facts import Facts, role_of
from ecotone.data.labels import read_labels
from ecotone.data.listing import Row, choose_split
from ecotone.data.pictures import PICTURE_SUFFIXES, decode_picture
from ecotone.errors import DataError
from ecotone.rasters import open_raster
from ecotone.samples import Image, Sample

LABEL_SUFFIX = ".cls"


@dataclass(frozen=True)
class Member:
    """Where the image of one sample lies in a shard: byte offset and size."""

    shard: int
    offset: int
    size: int
    suffix: str


class TarShards:
    """Samples of WebDataset shards: files that share a name up to the first dot, with an image and perhaps a ``.cls``.

    Args:
        shards: The tar files; not compressed, because they are read at random.
        facts: What is known about the images.
        split: Only the samples of this split, for shards whose names begin with ``train``, ``val`` or ``test``.

    Raises:
        DataError: A shard cannot be read, there are no images, or labels or splits cannot be used.
    """

    def __init__(self, shards: Sequence[Path], facts: Facts, split: str | None = None) -> None:
        self._shards, self._facts = list(shards), facts
        folder = self._shards[0].parent
        found = [entry for n, shard in enumerate(self._shards) for entry in _index(n, shard)]
        if not found:
            raise DataError(f"the shards of {folder} hold no images", expected=", ".join(PICTURE_SUFFIXES) + ", .tif")
        rows = [_named(row, facts.declared.classes) for row, _ in found]
        self._labels = read_labels(rows, facts.declared, folder)
        members = dict(zip((row.path for row in rows), (member for _, member in found), strict=True))
        self._rows = choose_split(rows, split, folder)
        self._members = [members[row.path] for row in self._rows]
        first = next(iter(self[0].images.values()))
        self.info = facts.info(folder.name, self._labels.task, self._labels.classes, first)

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> Sequence[str]:
        return [row.path for row in self._rows]

    def labels(self) -> Sequence[str]:
        return [row.label for row in self._rows]

    def splits(self) -> Sequence[str]:
        return [row.split for row in self._rows]

    def __getitem__(self, index: int) -> Sample:
        row, member = self._rows[index], self._members[index]
        image = self._read(member, row.path)
        return Sample({role_of(image): image}, row.path, self._labels.targets(row.label))

    def _read(self, member: Member, key: str) -> Image:
        shard = self._shards[member.shard]
        if member.suffix not in PICTURE_SUFFIXES:
            inner = f"/vsisubfile/{member.offset}_{member.size},{shard}"
            facts = self._facts
            with open_raster(
                inner, sensor=facts.sensor, bands=facts.bands, unit=facts.unit, gsd=facts.gsd, declared=facts.declared
            ) as raster:
                return raster.read()
        try:
            with shard.open("rb") as file:
                file.seek(member.offset)
                content = file.read(member.size)
        except OSError as error:
            raise DataError(f"cannot read {shard}", found=error.strerror) from error
        values, colours, opaque = decode_picture(content, f"{key} of {shard}")
        return self._facts.image(values, key, colours, opaque)


def _index(number: int, shard: Path) -> Iterator[tuple[Row, Member]]:
    """The samples of one shard, in its order."""
    label: dict[str, str] = {}
    images: dict[str, Member] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                key, suffix = _split_name(entry.name)
                if entry.isfile() and suffix in (*PICTURE_SUFFIXES, ".tif", ".tiff"):
                    images[key] = Member(number, entry.offset_data, entry.size, suffix)
                elif entry.isfile() and suffix == LABEL_SUFFIX:
                    content = tar.extractfile(entry)
                    label[key] = content.read().decode().strip() if content else ""
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the shard {shard}", found=error, expected="an uncompressed tar file") from error
    split = next((s for s in ("train", "val", "test") if shard.name.startswith(s)), "")
    for key, member in images.items():
        yield Row(f"{shard.stem}/{key}", label.get(key, ""), split), member


def _split_name(name: str) -> tuple[str, str]:
    folder, _, base = name.rpartition("/")
    stem, _, rest = base.partition(".")
    return f"{folder}/{stem}" if folder else stem, f".{rest.lower()}"


def _named(row: Row, classes: tuple[str, ...]) -> Row:
    """WebDataset writes class numbers; where the classes are declared, the number stands for a name."""
    if row.label.isdigit() and row.label not in classes and int(row.label) < len(classes):
        return Row(row.path, classes[int(row.label)], row.split)
    return row
