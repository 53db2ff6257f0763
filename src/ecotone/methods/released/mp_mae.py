"""The released MP-MAE models, pretrained on MMEarth v001 for 200 epochs; names as in their download folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ecotone.data.catalog.mmearth_layout import LAYERS
from ecotone.encoders import Readout
from ecotone.inputs import InputSpec, RoleSpec, ZScore, ZScoreByLevel
from ecotone.methods.released import Released
from ecotone.modalities import Modality

# B8A before B8, as in the file. Every downstream configuration of the authors feeds B8 before B8A.
BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B11", "B12")
RGB_BANDS = ("B2", "B3", "B4")
# MMEarth's statistics of L2A tiles. Those of L1C, the other half of the training images, are in its file
# data_1M_v001_band_stats.json only: give the model that file's normaliser to encode L1C imagery.
L2A_MEAN = (
    1349.398, 1479.952, 1720.369, 1899.185, 2253.931, 2808.200, 3003.424, 3149.536, 3110.841, 3213.764, 2399.086,
    1811.799,
)  # fmt: skip
L2A_STD = (
    2340.292, 2375.872, 2256.900, 2354.181, 2292.996, 2033.217, 1920.174, 1816.615, 1988.194, 1947.903, 1473.225,
    1390.678,
)  # fmt: skip
LICENCE = "not stated with the weights; the data are CC BY 4.0"
CITATION = (
    "Nedungadi et al., MMEarth: Exploring Multi-Modal Pretext Tasks For Geospatial Representation Learning, ECCV 2024"
)


def modality(name: str, bands: Sequence[str] = BANDS) -> Modality:
    """One of MMEarth's twelve modalities, without statistics; ``bands`` are those of Sentinel-2."""
    layer = LAYERS[name]
    channels = tuple(bands) if name == "sentinel2" else layer.channels
    return Modality(name=name, role=layer.role, scope=layer.scope, kind=layer.kind, channels=channels, unit=layer.unit)


def _input(bands: Sequence[str], patch: int) -> InputSpec:
    places = [BANDS.index(b) for b in bands]
    statistics = ZScore(mean=tuple(L2A_MEAN[i] for i in places), std=tuple(L2A_STD[i] for i in places))
    role = RoleSpec(
        sensor="sentinel2-l2a",
        bands=tuple(bands),
        unit="reflectance x 10000",
        normaliser=ZScoreByLevel(levels={"L2A": statistics}),
    )
    return InputSpec(roles={"optical": role}, size_multiple=patch, min_size=patch)


def _released(names: Sequence[str], patch: int, bands: Sequence[str] = BANDS, **options: Any) -> Released:
    return Released(
        method="mp-mae",
        encoder_kind="convnext",
        # As the authors' dense model computes features: with the padding of pretraining, which their classifier
        # lacks. ``PRETRAINING`` is what differs in the sparse model.
        encoder={"patch": patch, "grn_eps": 1e-4},
        readout=Readout(pooling="mean"),
        options={
            "targets": [modality(n, bands).model_dump(mode="json") for n in names],
            # The paper has one decoder per task; in the code all are one module.
            "shared_decoder": True,
            "decoder_grn_eps": 1e-4,
            # The paper masks missing values; the code predicts zeros for them.
            "missing": "zero",
            "released_init": True,
            **options,
        },
        input=_input(bands, patch),
        image_size=7 * patch,
        licence=LICENCE,
        citation=CITATION,
    )


# Encoder options of the authors' sparse model: norms of the response over the visible cells of the whole batch, with
# another epsilon; black pixels are no sites; weights start fifty times as wide as intended.
PRETRAINING: dict[str, Any] = {"grn_eps": 1e-6, "grn_pooling": "batch", "zero_sites": True, "released_init": True}

ALL = tuple(LAYERS)
PIXEL = tuple(n for n in ALL if LAYERS[n].scope == "pixel")
# Which tasks the partial models have beside Sentinel-2 is read from their names; a file tells by its heads.
IMAGE = ("sentinel2", *(n for n in ALL if LAYERS[n].scope == "image"))
RELEASED = _released(ALL, 8)
RELEASED_MODELS = {
    "pt-all_mod_atto_1M_64_uncertainty_56-8": RELEASED,
    "pt-all_mod_atto_1M_64_unweighted_56-8": _released(ALL, 8, aggregation="unweighted"),
    "pt-all_mod_atto_1M_128_uncertainty_112-16": _released(ALL, 16),
    "pt-all_mod_tiny_1M_64_uncertainty_56-8": RELEASED,
    "pt-all_mod_atto_100k_128_uncertainty_112-16": _released(ALL, 16),
    "pt-img_mod_atto_1M_64_uncertainty_56-8": _released(IMAGE, 8),
    "pt-pix_mod_atto_1M_64_uncertainty_56-8": _released(PIXEL, 8),
    "pt-S2_atto_1M_64_uncertainty_56-8": _released(("sentinel2",), 8),
    "pt-rgb_atto_1M_64_uncertainty_56-8": _released(("sentinel2",), 8, RGB_BANDS),
    "pt-rgb_atto_1M_128_uncertainty_112-16": _released(("sentinel2",), 16, RGB_BANDS),
}
