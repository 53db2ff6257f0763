"""Writes tiny Sentinel-2 products in ESA's true layout: tag names, nesting and file names as products carry them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

L2A = {"R10m": ("B02", "B03", "B04", "B08"), "R20m": ("B02", "B05", "B06", "B07", "B8A", "B11", "B12"), "R60m": ()}
L2A["R60m"] = ("B01", "B02", "B05", "B09")
L1C = {10: ("B02", "B03", "B04", "B08"), 20: ("B05", "B06", "B07", "B8A", "B11", "B12"), 60: ("B01", "B09", "B10")}
SIDE = 96  # pixels of 10 m
START = "2023-06-12T10:10:31.024Z"


def write_jp2(path: Path, values: np.ndarray, pitch: int) -> None:
    """Values (C, H, W) without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = {"crs": "EPSG:32633", "transform": Affine(pitch, 0, 399960, 0, -pitch, 5000040)}
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.open(path, "w", driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES", **grid, **shape) as file:
        file.write(values)


def digital_numbers(band: str, pitch: int) -> np.ndarray:
    """(1, H, W): what the product stores for a band; the left tenth holds no data."""
    side = SIDE * 10 // pitch
    values = np.random.default_rng(int(band[1:], 16)).integers(1100, 9000, (1, side, side), dtype=np.uint16)
    values[:, :, : side // 10] = 0
    return values


def scene_classes(pitch: int = 20) -> np.ndarray:
    """(1, H, W) SCL: vegetation, with a block of each of the classes 0-11 along the diagonal."""
    side = SIDE * 10 // pitch
    values = np.full((1, side, side), 4, np.uint8)
    for number in range(12):
        values[0, number * 4 : number * 4 + 4, number * 4 : number * 4 + 4] = number
    return values


def metadata(
    level: str, baseline: str, offset: int | None, offsets: dict[int, int] | None = None, images: Sequence[str] = ()
) -> str:
    """As products carry it; they list their images without a suffix."""
    scale, add = {"L1C": ("", "RADIO"), "L2A": ("BOA_", "BOA")}[level]
    each = dict.fromkeys(range(13), offset) if offset is not None else {}
    listed = "".join(f'<{add}_ADD_OFFSET band_id="{n}">{v}</{add}_ADD_OFFSET>' for n, v in (offsets or each).items())
    holder = {"L1C": "Radiometric_Offset_List", "L2A": "BOA_ADD_OFFSET_VALUES_LIST"}[level]
    number = f'<{scale}QUANTIFICATION_VALUE unit="none">10000</{scale}QUANTIFICATION_VALUE>'
    if level == "L2A":
        other = '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>'
        number = f"<QUANTIFICATION_VALUES_LIST>{number}{other}</QUANTIFICATION_VALUES_LIST>"
    files = "".join(f"<IMAGE_FILE>{name.removesuffix('.jp2')}</IMAGE_FILE>" for name in images)
    granule = f'<Granule granuleIdentifier="S2A_OPER_MSI_T33TUL_N05.09" imageFormat="JPEG2000">{files}</Granule>'
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<n1:Level-{level[1:]}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level[1:]}.xsd">
<n1:General_Info><Product_Info>
<PRODUCT_START_TIME>{START}</PRODUCT_START_TIME><PRODUCT_STOP_TIME>{START}</PRODUCT_STOP_TIME>
<PRODUCT_URI>{product_name(level, baseline)}</PRODUCT_URI><PROCESSING_LEVEL>Level-{level[1:]}</PROCESSING_LEVEL>
<PRODUCT_TYPE>S2MSI{level[1:]}</PRODUCT_TYPE><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
<Query_Options completeSingleTile="true"><PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options>
<Product_Organisation><Granule_List>{granule}</Granule_List></Product_Organisation>
<Datatake datatakeIdentifier="GS2A"><SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME></Datatake>
</Product_Info><Product_Image_Characteristics>
<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
<Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
</Special_Values>{number}{f"<{holder}>{listed}</{holder}>" if listed else ""}
</Product_Image_Characteristics></n1:General_Info></n1:Level-{level[1:]}_User_Product>
"""


def product_name(level: str, baseline: str) -> str:
    return f"S2A_MSI{level}_20230612T101031_N{baseline.replace('.', '')}_R022_T33TUL_20230612T140212.SAFE"


def write_product(
    folder: Path, level: str = "L2A", baseline: str = "05.09", offset: int | None = -1000, shift: int = 0
) -> Path:
    """A product in a folder, its numbers shifted where there is data; returns its ``.SAFE`` folder."""
    safe = folder / product_name(level, baseline)
    granule = safe / "GRANULE" / f"{level}_T33TUL_A041630_20230612T101559"
    stem = "T33TUL_20230612T101031"
    if level == "L2A":
        for place, bands in L2A.items():
            pitch = int(place[1:3])
            for band in bands:
                path = granule / "IMG_DATA" / place / f"{stem}_{band}_{pitch}m.jp2"
                # The copies of a band at other pitches hold what nobody should read.
                stored = digital_numbers(band, pitch).astype(np.int32) // (1 if NATIVE[band] == pitch else 7)
                write_jp2(path, np.where(stored > 0, np.maximum(stored + shift, 1), 0).astype(np.uint16), pitch)
        write_jp2(granule / "IMG_DATA" / "R20m" / f"{stem}_SCL_20m.jp2", scene_classes(), 20)
        write_jp2(granule / "IMG_DATA" / "R10m" / f"{stem}_TCI_10m.jp2", np.ones((3, SIDE, SIDE), np.uint8), 10)
    else:
        for pitch, bands in L1C.items():
            for band in bands:
                write_jp2(granule / "IMG_DATA" / f"{stem}_{band}.jp2", digital_numbers(band, pitch), pitch)
        masks = np.zeros((3, SIDE // 6, SIDE // 6), np.uint8)
        masks[0, 4], masks[1, 6], masks[2, 8] = 1, 1, 1
        write_jp2(granule / "QI_DATA" / "MSK_CLASSI_B00.jp2", masks, 60)
    images = sorted(f.relative_to(safe).as_posix() for f in granule.rglob("*.jp2"))
    (safe / f"MTD_MSI{level}.xml").write_text(metadata(level, baseline, offset, images=images))
    (granule / "MTD_TL.xml").write_text("<x/>")
    return safe


NATIVE = {band: pitch for pitch, bands in L1C.items() for band in bands}


def zipped(safe: Path) -> Path:
    """The product as a zip beside it, its folder within as in ESA's downloads."""
    path = safe.with_name(safe.name + ".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in sorted(safe.rglob("*")):
            if member.is_file():
                file.write(member, member.relative_to(safe.parent))
    return path
