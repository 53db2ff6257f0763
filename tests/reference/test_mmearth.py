"""Golden tensors of the official MP-MAE code: masked encoder, decoder, losses, gradients, classifier, U-Net."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from roots import ROOT, close
from safetensors import safe_open
from safetensors.torch import load_file

from ecotone.encoders.convnext import ConvNeXt
from ecotone.heads.unet import ConvNeXtUNet
from ecotone.inputs import NORMALISED, Identity, InputSpec, RoleSpec
from ecotone.methods.mp_mae import MPMAE
from ecotone.methods.released.mp_mae import BANDS, PRETRAINING, RELEASED, RELEASED_MODELS, modality
from ecotone.modalities import Modality
from ecotone.nn.masking import TokenMask
from ecotone.samples import Batch, ImageBatch
from ecotone.weights.official.mp_mae import convert, unet_head

FOLDER = ROOT / "mmearth"
NEEDS = {  # quantity -> the file with the weights that it was made with
    **dict.fromkeys(
        ("sparse", "zero_sites", "decoder", "pred", "target", "loss", "loss_weighted", "loss_total", "grad"),
        "state_minkowski",
    ),
    **dict.fromkeys(("dense_cls", "unet"), "state_dense"),
}
FEATURES = {"atol": 2e-4, "rtol": 1e-4}
LOSS, GRADIENT = {"atol": 1e-7, "rtol": 1e-5}, {"atol": 1e-5, "rtol": 1e-3}
TOLERANCES = {
    **dict.fromkeys(NEEDS, FEATURES),
    **dict.fromkeys(("loss", "loss_weighted", "loss_total"), LOSS),
    **{"grad": GRADIENT, "target": {"atol": 2e-5, "rtol": 1e-5}},
}


def have(*files: str) -> bool:
    return all((FOLDER / f).exists() for f in files)


def quantities() -> list:
    """The golden tensors that this root has the weights for."""
    if not have("config.json", "tensors.safetensors"):
        return []
    with safe_open(FOLDER / "tensors.safetensors", "pt") as file:
        names = list(file.keys())
    known = [n for n in names if have(f"{NEEDS.get(n.split('.')[0])}.safetensors") and n != "zero_sites.coords"]
    return [pytest.param(n, id=f"mmearth/tensors/{n}") for n in known]


needs_pretraining = pytest.mark.skipif(
    not have("config.json", "tensors.safetensors", "state_minkowski.safetensors"),
    reason=f"no config.json, tensors and state_minkowski in {FOLDER}",
)


@cache
def load(stem: str) -> dict[str, torch.Tensor]:
    return load_file(FOLDER / f"{stem}.safetensors")


@cache
def config() -> dict:
    return json.loads((FOLDER / "config.json").read_text())


def golden() -> dict[str, torch.Tensor]:
    return load("tensors")


def dense(prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in load("state_dense").items() if k.startswith(prefix)}


def target(name: str) -> Modality:
    count = config()["out_channels"][name]
    channels = BANDS[:count] if name == "sentinel2" else tuple(f"c{i}" for i in range(count))
    return modality(name).model_copy(update={"channels": channels, "unit": None})


def make_encoder(state: dict[str, torch.Tensor], **options) -> ConvNeXt:
    c = config()
    role = RoleSpec(sensor="sentinel2-l2a", bands=BANDS[: c["in_chans"]], unit="reflectance", normaliser=Identity())
    shape = {"patch": c["patch_size"], "dims": c["dims"], "depths": c["depths"]}
    encoder = ConvNeXt(InputSpec(roles={"optical": role}), **{**options, **shape})
    encoder.load_state_dict(convert(state).encoder, strict=True)
    return encoder.eval()


def make_method(**options) -> MPMAE:
    """The released model, but for these options; separate decoders start with the weights of the shared one."""
    c = config()
    sizes = {
        "targets": [target(n) for n in c["modality_order"]],
        "decoder_width": c["decoder_embed_dim"],
        "decoder_depth": c["decoder_depth"],
        "mask_ratio": c["mask_ratio"],
        "norm_pixels": c["norm_pix_loss"],
    }
    method = MPMAE(make_encoder(load("state_minkowski"), **PRETRAINING), **{**RELEASED.options, **sizes, **options})
    state = convert(load("state_minkowski")).decoder
    for name in c["modality_order"]:
        state |= {k.replace("shared", name, 1): v for k, v in state.items() if k.startswith("decoders.shared.")}
    wanted = {k for k in method.state_dict() if not k.startswith("encoder.")}
    method.load_state_dict({k: state[k] for k in wanted}, strict=False)
    return method


@cache
def batch() -> Batch:
    """The golden inputs, which are normalised already."""
    images, targets = {}, {}
    for name in config()["modality_order"]:
        m, value = target(name), golden()[f"input.{name}"]
        if m.scope == "pixel":
            bands = m.channels if m.kind == "continuous" else ("label",)
            images[m.role] = ImageBatch.of(value, bands=bands, unit=NORMALISED)
        else:
            targets[m.role] = value.argmax(1) if m.kind == "categorical" else value
    n = len(golden()["mask"])
    return Batch(images, ("",) * n, torch.zeros(n, dtype=torch.int64), targets)


def mask() -> TokenMask:
    hidden = golden()["mask"]
    shuffle = hidden.sort(dim=1, stable=True).indices
    return TokenMask(shuffle[:, : int((hidden[0] == 0).sum())], shuffle.argsort(1), hidden)


def as_maps(x: torch.Tensor) -> torch.Tensor:
    """(N, L, D) as (N, D, rows, cols)."""
    side = config()["img_size"] // config()["patch_size"]
    return x.transpose(1, 2).unflatten(2, (side, side))


def losses_of(method: MPMAE) -> dict[str, torch.Tensor]:
    return method.losses(batch(), batch(), mask())


def stages(encoder: ConvNeXt, image: ImageBatch) -> list[torch.Tensor]:
    """Outputs of the four stages for the visible patches, zero elsewhere."""
    return [at.spread(x).permute(0, 3, 1, 2) for x, at in list(encoder.outputs(image, mask().keep))[-4:]]


@cache
def sparse() -> dict[str, torch.Tensor]:
    outputs = stages(make_encoder(load("state_minkowski"), **PRETRAINING), batch()["optical"])
    return {**{f"sparse.stage{i}": x for i, x in enumerate(outputs)}, "sparse.encoder_out": outputs[-1]}


@cache
def zero_sites(**options) -> dict[str, torch.Tensor]:
    sample, row, col = golden()["zero_sites.coords"].unbind(1)
    pixels = golden()["input.sentinel2"].clone()
    pixels[sample, :, row, col] = 0
    image = ImageBatch.of(pixels, bands=batch()["optical"].bands, unit=NORMALISED)
    encoder = make_encoder(load("state_minkowski"), **PRETRAINING | options)
    return {"zero_sites.encoder_out": stages(encoder, image)[-1]}


@cache
def decoder() -> dict[str, torch.Tensor]:
    method, seen = make_method(), []
    method.decoders["shared"].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    decoded = method.decode(batch(), mask())
    made = {n: as_maps(p) if p.ndim == 3 else p for n, p in method.predict(decoded).items()}
    return {
        "decoder.tokens_in": seen[0].permute(0, 3, 1, 2),
        "decoder.block_out": as_maps(decoded["shared"]),
        "decoder.pooled": method.pooled_norm(decoded["shared"]).mean(1),
        **{f"pred.{n}": p for n, p in made.items()},
        **{f"target.{t.name}": method.truth(t, batch(), batch()) for t in method.targets},
    }


@cache
def losses() -> dict[str, torch.Tensor]:
    method, plain = make_method(), make_method(aggregation="unweighted")
    found, names = losses_of(method), config()["loss_order"]
    terms = method.weigh(torch.stack([found[n] for n in names]), torch.ones(len(names), dtype=torch.bool))
    found["total"].backward()
    gradients = {n.removeprefix("encoder."): p.grad for n, p in method.named_parameters()}
    return {
        **{f"loss.{n}": found[n] for n in names},
        **{f"loss_weighted.{n}": term for n, term in zip(names, terms, strict=True)},
        "loss_total.uncertainty": found["total"],
        "loss_total.unweighted": losses_of(plain)["total"],
        **{f"grad.{official}": gradients[ours] for ours, official in official_names().items()},
    }


@cache
def downstream() -> dict[str, torch.Tensor]:
    state, c = dense("cls."), config()
    released = make_encoder(state, grn_eps=1e-4, stem_padding=0)
    features = released.forward_features(batch())
    pooled = F.layer_norm(features.pooled, (released.width,), state["norm.weight"], state["norm.bias"], 1e-6)
    pyramid = make_encoder(state, **RELEASED.encoder).forward_pyramid(batch())
    head = ConvNeXtUNet(c["dims"], c["patch_size"], c["num_classes_unet"])
    head.load_state_dict(unet_head(dense("unet.")), strict=True)
    return {
        **{f"dense_cls.stage{i}": m for i, m in enumerate(features.maps)},
        "dense_cls.pooled": pooled,
        "dense_cls.logits": F.linear(pooled, state["head.weight"], state["head.bias"]),
        "unet.stage3": pyramid.maps[-1],
        "unet.skip3": pyramid.maps[-2],
        "unet.logits": head(pyramid.maps),
    }


OURS = {
    "sparse": sparse,
    "zero_sites": zero_sites,
    **dict.fromkeys(("decoder", "pred", "target"), decoder),
    **dict.fromkeys(("loss", "loss_weighted", "loss_total", "grad"), losses),
    **dict.fromkeys(("dense_cls", "unet"), downstream),
}


@cache
def official_names() -> dict[str, str]:
    """Our name of every official parameter: each is filled with its number and converted."""
    names = list(load("state_minkowski"))
    filled = {n: torch.full_like(tensor, i) for i, (n, tensor) in enumerate(load("state_minkowski").items())}
    converted = convert(filled)
    return {k: names[int(t.flatten()[0])] for k, t in {**converted.encoder, **converted.decoder}.items()}


def in_our_layout(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A gradient as its parameter is kept here."""
    converted = convert(load("state_minkowski") | {name: tensor})
    ours = next(k for k, official in official_names().items() if official == name)
    return {**converted.encoder, **converted.decoder}[ours]


@pytest.mark.parametrize("name", quantities())
def test_released(name):
    kind, _, rest = name.partition(".")
    expected = golden()[name]
    close(OURS[kind]()[name], in_our_layout(rest, expected) if kind == "grad" else expected, **TOLERANCES[kind])


@needs_pretraining
@pytest.mark.skipif(not have("grad_norms.json"), reason=f"no grad_norms.json in {FOLDER}")
def test_gradient_norms_of_all_parameters():
    theirs = json.loads((FOLDER / "grad_norms.json").read_text())
    assert set(official_names().values()) == set(theirs)
    for name, norm in theirs.items():
        close(losses()[f"grad.{name}"].norm(), torch.tensor(norm), atol=1e-6, rtol=1e-3)


@needs_pretraining
def test_visible_features_are_in_the_order_of_keep():
    keep = mask().keep.flip(1)
    features = make_encoder(load("state_minkowski"), **PRETRAINING).forward_features(batch(), keep)
    flat = golden()["sparse.encoder_out"].flatten(2).transpose(1, 2)
    close(features.tokens, flat.gather(1, keep[..., None].expand(-1, -1, flat.shape[-1])), **FEATURES)


@needs_pretraining
def test_by_default_response_norms_are_per_sample():
    output = stages(make_encoder(load("state_minkowski")), batch()["optical"])[-1]
    assert (output - golden()["sparse.encoder_out"]).abs().max() > 0.01


@needs_pretraining
def test_by_default_black_pixels_are_seen():
    seen = zero_sites(zero_sites=False)["zero_sites.encoder_out"]
    assert (seen - golden()["zero_sites.encoder_out"]).abs().max() > 1e-3


@needs_pretraining
def test_by_default_missing_values_are_not_predicted():
    method = make_method(missing="ignore")
    found = losses_of(method)
    predictions = method.predict(method.decode(batch(), mask()))
    changed = []
    for t in method.targets:
        if t.scope == "image" or t.kind == "categorical":
            continue
        truth = method.truth(t, batch(), batch())
        known = mask().hidden[..., None].bool() & truth.isfinite()
        close(found[t.name], (predictions[t.name] - truth)[known].square().mean(), **LOSS)
        if not golden()[f"input.{t.name}"].isfinite().all():
            changed.append(t.name)
            assert abs(found[t.name] - golden()[f"loss.{t.name}"]) > 1e-3
    assert changed


@needs_pretraining
def test_one_decoder_per_task_starts_alike_and_learns_alone():
    method = make_method(shared_decoder=False, aggregation="unweighted")
    assert len(method.decoders) == len(method.targets)
    found = losses_of(method)
    first, second, *_ = config()["modality_order"]
    close(found[first], golden()[f"loss.{first}"], **LOSS)
    found[first].backward()
    assert method.decoders[first][0].dwconv.weight.grad.abs().sum() > 0
    assert method.decoders[second][0].dwconv.weight.grad is None


@pytest.mark.skipif(not have("config.json", "state_dense.safetensors", "tensors.safetensors"), reason="no dense state")
def test_by_default_the_grid_is_that_of_pretraining():
    side = config()["img_size"] // config()["patch_size"]
    assert downstream()["dense_cls.stage3"].shape[-2:] != (side, side)
    assert make_encoder(dense("cls.")).forward_features(batch()).maps[-1].shape[-2:] == (side, side)


@needs_pretraining
@pytest.mark.skipif(not have("state_dense.safetensors"), reason="no dense state")
def test_sparse_weights_become_the_authors_dense_ones():
    ours, theirs = convert(load("state_minkowski")).encoder, convert(dense("cls.")).encoder
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def published(pattern: str) -> list:
    return [pytest.param(p, id=f"mmearth/{p.stem}") for p in sorted((FOLDER / "keys").glob(pattern))]


def architecture(path: Path) -> tuple[str, int]:
    """Size and patch of a key list ``mmearth_keys_<model>_<size>_<image>-<patch>.json``."""
    *_, size, geometry = path.stem.split("_")
    return size, int(geometry.split("-")[1])


def on_meta(size: str, patch: int) -> MPMAE:
    bundle = next(b for b in RELEASED_MODELS.values() if b.encoder["patch"] == patch)
    with torch.device("meta"):
        return MPMAE(ConvNeXt(bundle.input, **{**bundle.encoder, **ConvNeXt.sizes[size]}), **bundle.options)


def blank(path: Path) -> dict[str, torch.Tensor]:
    """A state with the names and shapes of a key list, and no memory."""
    return {k: torch.zeros(()).expand(shape) for k, shape in json.loads(path.read_text()).items()}


def shapes(state) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in state.items()}


@pytest.mark.parametrize("path", published("mmearth_keys_pretrain_*.json"))
def test_published_pretraining_keys_fill_every_parameter(path):
    size, patch = architecture(path)
    converted, method = convert(blank(path)), on_meta(size, patch)
    assert converted.unexpected == ()
    assert shapes(converted.encoder) == shapes(method.encoder.state_dict())
    assert shapes(method.state_dict()) == shapes(
        {f"encoder.{k}": v for k, v in converted.encoder.items()} | converted.decoder
    )
    found = converted.encoder_options
    assert {k: found[k] for k in ("patch", "dims", "depths")} == {
        k: method.encoder.config()[k] for k in found if k != "stem"
    }
    assert [t["name"] for t in converted.method_options["targets"]] == [t.name for t in method.targets]
    assert converted.method_options["decoder_width"] == 512


@pytest.mark.parametrize("path", published("mmearth_keys_cls_*.json") + published("mmearth_keys_unet_*.json"))
def test_published_downstream_keys_fill_every_parameter(path):
    size, patch = architecture(path)
    converted, encoder = convert(blank(path)), on_meta(size, patch).encoder
    assert converted.unexpected == () and converted.decoder == {}
    assert shapes(converted.encoder) == shapes(encoder.state_dict())
    if "unet" in path.stem:
        with torch.device("meta"):
            head = ConvNeXtUNet(ConvNeXt.sizes[size]["dims"], patch, len(blank(path)["head.bias"]))
        assert shapes(unet_head(blank(path))) == shapes(head.state_dict())


def counts() -> list:
    file = FOLDER / "keys" / "mmearth_param_counts.json"
    rows = json.loads(file.read_text()) if file.exists() else {}
    return [pytest.param(name, row, id=f"mmearth/{file.stem}/{name}") for name, row in rows.items()]


@pytest.mark.parametrize(("name", "expected"), counts())
def test_published_parameter_counts(name, expected):
    size, _, patch = name.split("_")
    method = on_meta(size, int(patch))
    count = {n: sum(p.numel() for p in part.parameters()) for n, part in method.named_children()}
    assert sum(p.numel() for p in method.parameters()) == expected["total"]
    assert count["encoder"] == expected["encoder"]
    assert count["decoders"] == expected["shared_decoder_block"]
    assert count["proj"] == expected["proj"]
    heads = {n: sum(p.numel() for p in head.parameters()) for n, head in method.heads.items()}
    assert heads == expected["heads"]


@pytest.mark.parametrize(("size", "million"), [("large", 196.2), ("huge", 657.9)])
def test_the_largest_sizes_are_those_of_convnext_v2(size, million):
    # Woo et al. 2023, table 9: 198 M and 660 M with a head of 1000 classes, of 1.5 M and 2.8 M parameters.
    encoder = on_meta(size, 8).encoder
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(million, abs=1.0)


@pytest.mark.parametrize("name", RELEASED_MODELS)
def test_every_released_bundle_can_be_built(name):
    bundle = RELEASED_MODELS[name]
    with torch.device("meta"):
        method = MPMAE(ConvNeXt(bundle.input, **bundle.encoder, **ConvNeXt.sizes["atto"]), **bundle.options)
    if name == "pt-S2_atto_1M_64_uncertainty_56-8":
        assert sum(p.numel() for p in method.parameters()) == 6_078_601
    assert method.encoder.grid(
        ImageBatch.of(torch.zeros(1, 1, *[bundle.image_size] * 2), bands="a", unit=NORMALISED)
    ) == (7, 7)
