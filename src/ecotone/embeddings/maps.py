"""One number per cell as a cloud-optimised GeoTIFF on a source's grid of cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from affine import Affine
from numpy.typing import NDArray

from ecotone.embeddings.components import grid_transform
from ecotone.embeddings.parts import Part
from ecotone.embeddings.store import Store
from ecotone.errors import DataError
from ecotone.rasters import write_cog


def map_files(store: Store, out: str | Path) -> list[Path]:
    """The file of each source: ``out`` itself for one, else one file per source in the folder ``out``.

    Raises:
        DataError: There are several sources and ``out`` is named like one file, or the other way round.
    """
    return named_files([p.facts.source_id for p in store.parts], out)


def named_files(names: list[str], out: str | Path) -> list[Path]:
    """``out`` itself for one name, else one GeoTIFF per name in the folder ``out``.

    Raises:
        DataError: ``out`` is named like a file where a folder is needed, or the other way round.
    """
    out = Path(out)
    if len(names) == 1 and out.suffix in (".tif", ".tiff"):
        return [out]
    if out.suffix in (".tif", ".tiff"):
        raise DataError(
            f"{len(names)} sources make {len(names)} maps, which do not fit into one file",
            found=str(out),
            expected="a folder",
            mend="Choose a folder as --out.",
        )
    return [out / f"{name}.tif" for name in names]


def write_map(
    path: Path,
    cells: NDArray[Any],
    part: Part,
    *,
    nodata: float,
    description: str,
    origin: tuple[int, int] = (0, 0),
    tags: Mapping[str, str] | None = None,
    colormap: Mapping[int, tuple[int, ...]] | None = None,
) -> Path:
    """Write a map of cells (h, w).

    Args:
        path: The file.
        cells: One number per cell.
        part: The source whose grid it lies on; its name and model go into the tags.
        nodata: Stored where there is no embedding.
        description: Of the band.
        origin: Row and column of the first cell within the source's grid.
        tags: More tags.
        colormap: Value -> colour.
    """
    facts = part.facts
    return write_cog(
        path,
        cells[None],
        crs=facts.raster.crs,
        transform=shifted(grid_transform(facts), *origin),
        nodata=nodata,
        descriptions=[description],
        tags={
            "ecotone_version": facts.ecotone_version,
            "model_hash": facts.model_hash,
            "source": facts.raster.name,
            **(tags or {}),
        },
        colormap=colormap,
    )


def shifted(t: Affine, row: float, col: float) -> Affine:
    """The transform of the grid that begins at this row and column."""
    return Affine(t.a, t.b, t.a * col + t.b * row + t.c, t.d, t.e, t.d * col + t.e * row + t.f)
