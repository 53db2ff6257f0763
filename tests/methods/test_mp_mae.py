"""MP-MAE: what is missing does no harm, any set of modalities, weights of the losses."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from ecotone.data.catalog import MMEarth
from ecotone.encoders import ConvNeXt
from ecotone.errors import InputError, RecipeError
from ecotone.inputs import InputSpec, RoleSpec, ZScore, ZScoreByLevel
from ecotone.methods import MPMAE
from ecotone.modalities import Modality
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch, collate
from ecotone.sensors import unit
from ecotone.transforms import RandomCrop

BANDS = ("B2", "B3", "B4", "B8")
OPTICAL = ZScore(mean=(1000.0,) * 4, std=(500.0,) * 4)
WEATHER = ZScore(mean=(280.0, 1.0), std=(9.0, 2.0))
PIXEL, IMAGE = {"scope": "pixel"}, {"scope": "image"}
REAL, CLASSES = {"kind": "continuous"}, {"kind": "categorical"}
MODALITIES = {
    m.name: m
    for m in (
        Modality(name="sentinel2", role="optical", channels=BANDS, normaliser=OPTICAL, **PIXEL, **REAL),
        Modality(name="radar", role="sentinel1", channels=("VV", "VH"), unit="dB", **PIXEL, **REAL),
        Modality(name="cover", role="cover", channels=("tree", "crop", "water"), **PIXEL, **CLASSES),
        Modality(name="weather", role="weather", channels=("t", "p"), normaliser=WEATHER, **IMAGE, **REAL),
        Modality(name="biome", role="biome", channels=("a", "b", "c", "d"), **IMAGE, **CLASSES),
    )
}  # fmt: skip


def make(*names: str, bands=BANDS, **options) -> MPMAE:
    torch.manual_seed(0)
    normaliser = ZScore(mean=(1000.0,) * len(bands), std=(500.0,) * len(bands))
    role = RoleSpec(sensor="sentinel2-l2a", bands=bands, unit="reflectance x 10000", normaliser=normaliser)
    encoder = ConvNeXt(InputSpec(roles={"optical": role}), dims=(8, 8, 16, 16), depths=(1, 1, 1, 1))
    targets = [MODALITIES[n].model_dump(mode="json") for n in names or MODALITIES]
    return MPMAE(encoder, **{"targets": targets, "decoder_width": 16, **options})


def raw(n: int = 3) -> Batch:
    g = torch.Generator().manual_seed(1)
    images = {
        "optical": ImageBatch.of(
            torch.rand(n, 4, 32, 40, generator=g) * 3000, bands=BANDS, unit=unit("reflectance x 10000")
        ),
        "sentinel1": ImageBatch.of(torch.randn(n, 2, 32, 40, generator=g), bands=("VH", "VV"), unit=unit("dB")),
        "cover": ImageBatch.of(
            torch.randint(0, 3, (n, 1, 32, 40), generator=g).to(torch.int8), bands=("label",), unit=unit("class")
        ),
    }
    targets = {
        "weather": torch.randn(n, 2, generator=g) * 5 + 280,
        "biome": torch.randint(0, 4, (n,), generator=g),
    }
    return Batch(images, ("",) * n, torch.arange(n) + 5, targets)


def losses(method: MPMAE, batch: Batch) -> dict[str, torch.Tensor]:
    return method(batch, SampleRandom(batch.seeds))


def changed(batch: Batch, role: str, pixels: torch.Tensor) -> Batch:
    return batch.replace_images(**{role: replace(batch[role], pixels=pixels)})


def gradients(method: MPMAE, total: torch.Tensor) -> dict[str, torch.Tensor]:
    method.zero_grad()
    total.backward()
    return {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}


def without(batch: Batch, name: str) -> Batch:
    """The batch when none of its samples has this modality."""
    role = MODALITIES[name].role
    images = {r: i for r, i in batch.images.items() if r != role}
    return replace(batch, images=images, targets={r: t for r, t in batch.targets.items() if r != role})


def all_missing(batch: Batch, name: str) -> Batch:
    """The batch when all values of this modality are marked as missing."""
    m = MODALITIES[name]
    nothing = -1 if m.kind == "categorical" else float("nan")
    if m.scope == "pixel":
        return changed(batch, m.role, torch.full_like(batch[m.role].pixels, nothing))
    return replace(batch, targets={**batch.targets, m.role: torch.full_like(batch.targets[m.role], nothing)})


@pytest.mark.parametrize("name", [n for n in MODALITIES if n != "sentinel2"])
@pytest.mark.parametrize("how", [without, all_missing])
def test_a_modality_that_a_batch_lacks_adds_nothing_and_is_counted(name, how):
    method = make()
    with torch.no_grad():
        method.log_variances += torch.linspace(0.1, 0.5, 5)
    full, less = losses(method, raw()), losses(method, how(raw(), name))
    assert less[name] == 0 and less["absent"] == 1 and full["absent"] == 0
    for other in MODALITIES:
        if other != name:
            torch.testing.assert_close(less[other], full[other])
    names = [n for n in MODALITIES if n != name]
    fewer = make(*names)
    own = {k: v for k, v in method.state_dict().items() if k in fewer.state_dict() and k != "log_variances"}
    keep = torch.tensor([n != name for n in MODALITIES])
    fewer.load_state_dict(own | {"log_variances": method.log_variances.detach()[keep]}, strict=True)
    torch.testing.assert_close(less["total"], losses(fewer, raw())["total"])
    found = gradients(method, less["total"])
    assert all(g.isfinite().all() for g in found.values())
    assert (found[f"heads.{name}.weight"] == 0).all()  # not None: every process then reduces the same parameters


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_missing_pixels_of_one_modality_never_reach_the_others(value):
    method, batch = make(), raw()
    clean = losses(method, batch)
    pixels = batch["sentinel1"].pixels.clone()
    pixels[0, :, 0] = value
    pixels[1, :, :, :10] = value
    spoilt = losses(method, changed(batch, "sentinel1", pixels))
    for name in MODALITIES:
        assert spoilt[name].isfinite()
        assert torch.equal(spoilt[name], clean[name]) == (name != "radar")
    before, after = gradients(method, losses(method, batch)["cover"]), gradients(method, spoilt["total"])
    assert all(g.isfinite().all() for g in (*before.values(), *after.values()))


def test_a_loss_is_the_mean_over_hidden_pixels_that_are_known():
    method, batch = make("radar"), raw()
    pixels = batch["sentinel1"].pixels.clone()
    pixels[0, :, 0, :, :20] = float("nan")  # VH: bands are matched by name
    batch = changed(batch, "sentinel1", pixels)
    prepared = method.encoder.spec.prepare(batch)
    mask = method.mask(prepared, SampleRandom(batch.seeds))
    prediction = method.predict(method.decode(prepared, mask))["radar"]  # (N, L, p*p*2)
    grid = prediction.view(3, 4, 5, 8, 8, 2).permute(0, 5, 1, 3, 2, 4).reshape(3, 2, 32, 40)
    truth = pixels[:, 0, [1, 0]]
    hidden = mask.hidden.view(3, 1, 4, 5).repeat_interleave(8, 2).repeat_interleave(8, 3).bool()
    expected = (grid - truth)[hidden & truth.isfinite()].square().mean()
    torch.testing.assert_close(losses(method, batch)["radar"], expected)


def test_missing_values_as_zero_are_predicted():
    batch = all_missing(raw(), "radar")
    assert losses(make("radar"), batch)["radar"] == 0
    assert losses(make("radar", missing="zero"), batch)["radar"] > 0


def test_classes_are_scored_where_they_are_known():
    method, batch = make("cover", "biome"), raw()
    labels = batch["cover"].pixels.clone()
    labels[:, :, :, 5:] = -1
    biome = torch.tensor([2, -1, 0])
    batch = replace(changed(batch, "cover", labels), targets={**batch.targets, "biome": biome})
    prepared = method.encoder.spec.prepare(batch)
    mask = method.mask(prepared, SampleRandom(batch.seeds))
    made = method.predict(method.decode(prepared, mask))
    found = losses(method, batch)
    torch.testing.assert_close(found["biome"], F.cross_entropy(made["biome"][[0, 2]], biome[[0, 2]]))
    logits = made["cover"].view(3, 4, 5, 8, 8, 3).permute(0, 1, 3, 2, 4, 5).reshape(3, 32, 40, 3)
    hidden = mask.hidden.view(3, 4, 5).repeat_interleave(8, 1).repeat_interleave(8, 2).bool()
    known = hidden & (labels[:, 0, 0] >= 0)
    torch.testing.assert_close(found["cover"], F.cross_entropy(logits[known], labels[:, 0, 0][known].long()))


@pytest.mark.parametrize("name", MODALITIES)
@pytest.mark.parametrize("shared", [True, False])
def test_any_single_modality_trains(name, shared):
    method = make(name, shared_decoder=shared)
    found = losses(method, raw())
    torch.testing.assert_close(found["total"], found[name])  # at s = 0
    grads = gradients(method, found["total"])
    assert set(grads) == {n for n, _ in method.named_parameters()}
    assert all(g.isfinite().all() for g in grads.values())


def test_a_batch_without_any_target_has_a_loss_of_zero():
    found = losses(make("radar", "biome"), without(without(raw(), "radar"), "biome"))
    assert found["total"] == 0 and found["absent"] == 2
    found["total"].backward()


def test_aggregations():
    values = {n: v.detach() for n, v in losses(make(), raw()).items()}
    each = torch.stack([values[n] for n in MODALITIES])
    torch.testing.assert_close(losses(make(aggregation="unweighted"), raw())["total"], each.sum())
    s = torch.tensor([0.3, -0.2, 0.5, 0.0, 1.0])
    half = torch.tensor([0.5, 0.5, 1.0, 0.5, 1.0])  # classes have no half
    for aggregation, expected in (
        ("uncertainty", (torch.exp(-s) * each + s).sum()),
        ("kendall", (half * torch.exp(-s) * each + s / 2).sum()),
    ):
        method = make(aggregation=aggregation)
        with torch.no_grad():
            method.log_variances.copy_(s)
        torch.testing.assert_close(losses(method, raw())["total"], expected)


def test_normalised_targets_ignore_what_is_missing():
    batch = raw()
    valid = torch.ones(3, 1, 32, 40, dtype=torch.bool)
    valid[:, :, :5] = False
    pixels = batch["optical"].pixels.clone()
    pixels[:, :, :, :5] = float("nan")
    batch = batch.replace_images(optical=replace(batch["optical"], pixels=pixels, valid=valid))
    method = make("sentinel2")
    truth = method.truth(method.targets[0], batch, method.encoder.spec.prepare(batch))
    for patch in truth.flatten(0, 1):
        known = patch[patch.isfinite()]
        assert known.mean().abs() < 1e-4 and (known.std() - 1).abs() < 1e-3
    assert losses(method, batch)["total"].isfinite()


def test_an_rgb_encoder_predicts_all_bands():
    method = make("sentinel2", bands=("B4", "B3", "B2"))
    truth = method.truth(method.targets[0], raw(), method.encoder.spec.prepare(raw()))
    assert truth.shape == (3, 20, 64 * 4)
    normalised = ((raw()["optical"].pixels[0, 0, 3] - 1000) / 500)[:8, :8]
    torch.testing.assert_close(truth[0, 0].view(8, 8, 4)[..., 3], normalised)
    assert losses(method, raw())["total"].isfinite()
    assert method.picture(raw(), SampleRandom(raw().seeds)) is None  # its panels are the encoder's bands


def test_targets_are_normalised_by_the_level_of_each_image():
    levels = {"L1C": ZScore(mean=(0.0,), std=(1.0,)), "L2A": ZScore(mean=(100.0,), std=(10.0,))}
    modality = Modality(name="x", role="x", channels=("B1",), normaliser=ZScoreByLevel(levels=levels), **PIXEL, **REAL)
    method = make("sentinel2")
    two = MPMAE(method.encoder, targets=[modality], decoder_width=8)
    image = ImageBatch.of(torch.full((3, 1, 32, 40), 50.0), bands=("B1",), unit=unit("dB"))
    image = replace(image, levels=("L1C", "L2A", "L1C"))
    truth = two.truth(modality, raw().replace_images(x=image), method.encoder.spec.prepare(raw()))
    assert truth[:, 0, 0].tolist() == [50.0, -5.0, 50.0]


def test_without_targets_the_encoder_predicts_its_own_image():
    method = make()
    own = MPMAE(method.encoder, decoder_width=16)
    assert [t.name for t in own.targets] == ["optical"]
    assert losses(own, raw())["optical"] > 0


def test_a_picture_of_the_optical_image():
    panels = make().picture(raw(), SampleRandom(raw().seeds)).panels
    assert {n: tuple(p.shape) for n, p in panels.items()} == dict.fromkeys(
        ("input", "reconstruction", "truth"), (3, 4, 32, 40)
    )
    seen = panels["input"] != 0
    torch.testing.assert_close(panels["reconstruction"][seen], panels["truth"][seen])


def test_bad_targets_are_refused():
    method, batch = make(), raw()
    small = batch.replace_images(cover=replace(batch["cover"], pixels=batch["cover"].pixels[..., :32]))
    with pytest.raises(InputError, match="cover images have another size"):
        losses(method, small)
    with pytest.raises(InputError, match="lack channels of radar: VV"):
        losses(method, batch.replace_images(sentinel1=replace(batch["sentinel1"], bands=("VH", "HH"))))
    with pytest.raises(InputError, match="class index of biome is too large; found 4; expected 0 to 3"):
        losses(method, replace(batch, targets={**batch.targets, "biome": torch.tensor([0, 4, 1])}))
    with pytest.raises(InputError, match="targets weather have another shape"):
        losses(method, replace(batch, targets={**batch.targets, "weather": torch.zeros(3, 5)}))
    with pytest.raises(RecipeError, match="a name of its own"):
        make("radar", "radar")
    with pytest.raises(RecipeError, match="only a name"):
        MPMAE(method.encoder, targets=["radar"])


def test_names_of_modalities_are_completed_by_the_dataset():
    dataset = SimpleNamespace(info=SimpleNamespace(name="mine"), modalities=MODALITIES)
    assert [t["name"] for t in MPMAE.complete({}, dataset)["targets"]] == list(MODALITIES)
    some = MPMAE.complete({"targets": ["biome", "sentinel2"], "mask_ratio": 0.5}, dataset)
    assert [Modality.model_validate(t) for t in some["targets"]] == [MODALITIES["biome"], MODALITIES["sentinel2"]]
    assert some["mask_ratio"] == 0.5
    assert MPMAE.complete(some, dataset) == some
    with pytest.raises(RecipeError, match=r"mine has no modality 'bioms'. Did you mean 'biome'"):
        MPMAE.complete({"targets": ["bioms"]}, dataset)
    plain = SimpleNamespace(info=SimpleNamespace(name="plain"))
    assert MPMAE.complete({}, plain) == {}
    with pytest.raises(RecipeError, match="plain has no modality 'biome'"):
        MPMAE.complete({"targets": ["biome"]}, plain)


def test_tiles_of_mmearth_train_it(reference):
    folder = reference / "mmearth" / "mini_mmearth" / "data_1M_v001_64"
    if not folder.is_dir():
        pytest.skip(f"no tiles at {folder}")
    dataset = MMEarth(folder)
    batch = collate([dataset[i] for i in range(4)], seeds=range(4))
    batch = RandomCrop(size=56)(batch, SampleRandom(batch.seeds))
    modality = dataset.modalities["sentinel2"]
    role = RoleSpec(sensor="sentinel2-l2a", bands=modality.channels, unit=modality.unit, normaliser=modality.normaliser)
    encoder = ConvNeXt(InputSpec(roles={"optical": role}), dims=(8, 8, 16, 16), depths=(1, 1, 1, 1))
    method = MPMAE(encoder, **MPMAE.complete({"decoder_width": 16}, dataset))
    found = losses(method, batch)
    assert [t.name for t in method.targets] == list(dataset.modalities)
    assert all(v.isfinite() for v in found.values())
    assert all(g.isfinite().all() for g in gradients(method, found["total"]).values())
