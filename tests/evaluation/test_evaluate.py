from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from ecotone.errors import DataError, EcotoneError, InputError, RecipeError
from ecotone.evaluation import evaluate
from ecotone.evaluation.splits import Splits
from ecotone.weights import save_model

FIELDS = {
    "encoder": str,
    "floor": bool,
    "dataset": str,
    "protocol": str,
    "scale": float,
    "scale_protocol": str,
    "metric": str,
    "value": float,
    "ci95": list,
    "n_train": int,
    "n_test": int,
    "settings": dict,
}


def test_rows_have_the_published_shape(make_splits, tiny_encoder):
    report = evaluate([tiny_encoder()], make_splits(), scales=(1, 0.5))
    content = json.loads(report.to_json())
    assert content["contract"] == report.contract.hash
    keys = set()
    for row in content["results"]:
        assert {k: type(v) for k, v in row.items()} == FIELDS
        assert 0 <= row["ci95"][0] <= row["value"] <= row["ci95"][1] <= 1
        assert (row["metric"], row["n_train"], row["n_test"]) == ("accuracy", 60, 120)
        assert row["settings"]["gsd_source"] == "declared"
        keys.add((row["encoder"], row["protocol"], row["scale"], row["metric"]))
    names = {"vit", "image statistics", "colour histograms", "gradient histograms", "random convolutions 4x4 + ZCA"}
    names |= {"random init", "small network from scratch", "chance"}
    assert {k[0] for k in keys} == names
    assert len(keys) == len(content["results"]) == len(names) * 2 * 2
    assert {r["encoder"] for r in content["results"] if not r["floor"]} == {"vit"}


@pytest.mark.parametrize("scale_protocol", ["native", "test-native", "test-resized"])
def test_the_test_split_is_read_only_after_all_of_train_and_val(make_splits, tiny_encoder, scale_protocol):
    splits = make_splits()
    evaluate([tiny_encoder()], splits, scales=(1, 0.5), scale_protocol=scale_protocol, audits=())
    log = splits["test"].log
    first = log.index("test")
    assert {"train", "val"} == set(log[:first])
    assert set(log[first:]) == {"test"}


def test_the_test_split_opens_to_nothing_but_a_selection(make_splits):
    with pytest.raises(DataError, match="final selection"):
        Splits(make_splits()).test_for(None)  # pyright: ignore[reportArgumentType]


def test_scores_do_not_depend_on_the_batch_size(make_splits, tiny_encoder):
    splits = make_splits()
    a, b = (evaluate([tiny_encoder()], splits, scales=(1,), protocols=["knn"], batch_size=n) for n in (64, 7))
    assert [r.value for r in a.rows] == pytest.approx([r.value for r in b.rows], abs=0.02)
    assert a.contract.hash == b.contract.hash


def test_the_gsd_fed_follows_the_pitch_and_is_written_down(make_splits, tiny_encoder):
    encoder = tiny_encoder(positions="gsd")
    seen = []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]["optical"].gsd.unique().tolist()))
    for name, fed in (("test-resized", 10), ("test-native", 20)):
        seen.clear()
        report = evaluate([encoder], make_splits(), scales=(0.5,), scale_protocol=name, floors=False)
        assert seen[0] == [10] and seen[-1] == [fed]
        assert {(r.settings["gsd"], r.settings["effective_gsd"]) for r in report.rows} == {(fed, 20)}


def test_scales_that_cannot_be_fed_are_listed_not_dropped(make_splits, tiny_encoder):
    report = evaluate([tiny_encoder(patch=8, gsd=(5, 25))], make_splits(), scale_protocol="native", floors=False)
    assert {r.scale for r in report.rows} == {1.0, 0.5}
    assert [s.scale for s in report.skipped] == [0.25, 0.125]
    assert "2 x 2 tokens" in report.skipped[0].reason
    outside = evaluate([tiny_encoder(gsd=(5, 15))], make_splits(), scale_protocol="native", floors=False)
    assert "takes 5 to 15 m" in outside.skipped[0].reason


def test_nothing_to_score_is_an_error(make_splits, tiny_encoder):
    with pytest.raises(InputError, match="no scale can be fed"):
        evaluate([tiny_encoder(patch=16)], make_splits(), scale_protocol="native", scales=(0.5,))


def test_an_unknown_gsd_is_assumed_loudly(make_splits, tiny_encoder):
    with pytest.warns(UserWarning, match="is assumed"):
        report = evaluate([tiny_encoder(gsd=(5, 20))], make_splits(gsd=None), scales=(1,), floors=False)
    assert report.contract.gsd.source == "assumed"
    assert report.rows[0].settings["gsd"] == pytest.approx(math.sqrt(5 * 20))
    assert any("assumed" in text for text in report.caveats)


def test_several_models_get_their_rows_and_their_mean(make_splits, tiny_encoder):
    report = evaluate([tiny_encoder(seed=s) for s in (1, 2, 3)], make_splits(), scales=(1,), protocols=["knn"])
    values = {r.encoder: r.value for r in report.rows if not r.floor}
    assert list(values) == ["vit #1", "vit #2", "vit #3", "mean of 3 models"]
    assert values["mean of 3 models"] == pytest.approx(sum(list(values.values())[:3]) / 3)
    assert sum(r.encoder.startswith("random init") for r in report.rows) == 1
    assert report.verdicts[0].encoder == "mean of 3 models"
    assert len(report.contract.inputs) == 1


def test_models_of_two_architectures_have_two_random_inits(make_splits, tiny_encoder):
    report = evaluate([tiny_encoder(), tiny_encoder(pooling="class")], make_splits(), scales=(1,), protocols=["knn"])
    assert {r.encoder for r in report.rows if "random init" in r.encoder} == {
        "random init of vit #1",
        "random init of vit #2",
    }
    assert len(report.contract.inputs) == 2


def test_random_floors_are_averaged_over_seeds(make_splits, tiny_encoder):
    one, three = (evaluate([tiny_encoder()], make_splits(), scales=(1,), protocols=["knn"], seeds=n) for n in (1, 3))
    floor = {r.encoder: r for r in three.rows}["random init"]
    assert floor.settings["seeds"] == [0, 1, 2]
    assert len(floor.settings["each_seed"]) == 3
    assert one.contract.hash != three.contract.hash


def test_an_encoder_that_sees_more_than_its_floors_beats_them(make_splits, tiny_encoder):
    class Sees(type(tiny_encoder())):  # knows the classes' brightness and roughness, and nothing of noise
        def forward_intermediates(self, prepared, layers):
            features = super().forward_intermediates(prepared, layers)
            pixels = prepared["optical"].pixels
            spread = pixels.flatten(1).std(1)
            return replace(features, pooled=torch.stack([spread, pixels.flatten(1).mean(1)], 1))

    encoder = tiny_encoder()
    encoder.__class__ = Sees
    report = evaluate([encoder], make_splits((90, 30, 200)), scales=(1,), protocols=["linear"])
    assert report.rows[0].value > 0.95
    best = next(d for d in report.differences if d.role == "best floor")
    assert report.verdicts[0].answer == ("beats" if best.ci95[0] > 0 else "level")
    assert f"{100 * report.rows[0].value:.1f} %" in report.verdicts[0].text


def test_few_test_samples_get_no_verdict_and_random_splits_a_caveat(make_splits, tiny_encoder):
    report = evaluate([tiny_encoder()], make_splits((30, 20, 40), split_kind="random"), scales=(1,), protocols=["knn"])
    assert report.verdicts[0].answer == "n too small"
    assert "n too small: no verdict" in report.verdicts[0].text
    assert any("optimistic" in text for text in report.caveats)


def test_without_floors_the_verdict_says_so(make_splits, tiny_encoder):
    report = evaluate([tiny_encoder()], make_splits(), scales=(1,), floors=False)
    assert {v.answer for v in report.verdicts} == {"no floors"}


def test_features_that_are_not_finite_stop_the_evaluation(make_splits, tiny_encoder):
    encoder = tiny_encoder()
    with torch.no_grad():
        encoder.cls_token.fill_(float("nan"))
    with pytest.raises(DataError, match="vit gives features that are not finite for train/0"):
        evaluate([encoder], make_splits(), scales=(1,), floors=False)


def test_constant_features_are_named(make_splits, tiny_encoder):
    encoder = tiny_encoder()
    with torch.no_grad():
        encoder.norm.weight[:5] = 0
    report = evaluate([encoder], make_splits(), scales=(1,), floors=False)
    assert "vit: 5 of 16 features are constant over the train images." in report.warnings


def test_images_of_another_size_are_resized_and_counted(make_splits, tiny_encoder):
    splits = make_splits()
    odd = splits["test"]

    class Odd(type(odd)):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            if index != 3:
                return sample
            image = sample.images["optical"]
            return replace(sample, images={"optical": replace(image, pixels=image.pixels[..., :-3, :])})

    odd.__class__ = Odd
    report = evaluate([tiny_encoder()], splits, scales=(1,), floors=False)
    assert report.warnings == ["1 images of another size were resized to 32 x 32 pixels, such as test/3."]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.pop("val"), "no val split"),
        (lambda s: s.update(val=s["train"]), "share 60 samples"),
        (lambda s: s.update(test=replace(s["test"], info=replace(s["test"].info, classes=("", "b", "c")))), "no label"),
        (lambda s: s.update(train=replace(s["train"], info=replace(s["train"].info, task="segmentation"))), "single"),
    ],
)
def test_unusable_splits_are_refused(make_splits, tiny_encoder, damage, message):
    splits = make_splits()
    damage(splits)
    with pytest.raises(DataError, match=message):
        evaluate([tiny_encoder()], splits)


def test_no_model_and_no_protocol_are_refused(make_splits, tiny_encoder):
    for models, protocols in (([], ["knn"]), ([tiny_encoder()], [])):
        with pytest.raises(RecipeError):
            evaluate(models, make_splits(), protocols=protocols)


def test_models_are_loaded_by_path_and_named_after_their_run(make_splits, tiny_encoder, tmp_path):
    encoder = tiny_encoder()
    save_model(encoder, tmp_path / "run-7" / "model", name="x", image_size=32)
    report = evaluate([tmp_path / "run-7"], make_splits(), scales=(1,), floors=False)
    direct = evaluate([encoder], make_splits(), scales=(1,), floors=False)
    assert report.rows[0].encoder == "run-7"
    assert len(report.rows[0].settings["model"]) == 16
    assert [r.value for r in report.rows] == [r.value for r in direct.rows]
    with pytest.raises(EcotoneError):
        evaluate([tmp_path], make_splits())
