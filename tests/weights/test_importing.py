"""Official weights come in whole, under our names, or not at all."""

from __future__ import annotations

import pytest
import torch

from ecotone.errors import CheckpointError, DataError
from ecotone.methods import build_method
from ecotone.weights import import_official, load_method_state, load_model
from ecotone.weights.importing import Coverage

HEADS = {"heads": 2, "decoder_heads": 2}


def write(state, folder):
    torch.save({"model": state, "epoch": 9}, folder / "x.pth")
    return folder / "x.pth"


@pytest.fixture
def attempt(tmp_path):
    """Import a state as Scale-MAE; the folder is never made when it is refused."""

    def attempt(state, **options):
        try:
            return import_official(write(state, tmp_path), "scale-mae", tmp_path / "model", **{**HEADS, **options})
        except CheckpointError:
            assert not (tmp_path / "model").exists()
            raise

    return attempt


def test_an_import_reports_what_it_filled_and_why_the_rest_was_left_out(official_file, official, scale_mae, tmp_path):
    report = import_official(official_file, "scale-mae", tmp_path / "model", **HEADS)
    encoder = len(scale_mae.encoder.state_dict())
    assert report.encoder == Coverage(encoder, encoder)
    assert report.decoder == Coverage(len(scale_mae.state_dict()) - encoder, len(scale_mae.state_dict()) - encoder)
    assert report.ignored.keys() == {"pos_embed", "decoder_pos_embed", "mask_token_decoder"}
    assert all("no forward pass reads it" in reason for reason in report.ignored.values())
    assert report.epoch == 799 and report.allowed == ()
    assert report.encoder.filled + report.decoder.filled + len(report.ignored) == len(official)


def test_the_imported_model_and_method_hold_exactly_the_official_values(official_file, scale_mae, tmp_path):
    import_official(official_file, "scale-mae", tmp_path / "model", **HEADS)
    model = load_model(tmp_path / "model")
    expected = scale_mae.encoder.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in model.encoder.state_dict().items())
    assert model.encoder.config() == scale_mae.encoder.config()
    made = model.card.provenance["method"]
    again = build_method(made["kind"], model.encoder, made["config"])
    again.load_state_dict(load_method_state(tmp_path / "model"), strict=True)
    assert all(torch.equal(v, scale_mae.state_dict()[k]) for k, v in again.state_dict().items())


@pytest.mark.parametrize("variant", [{"shared_head": True}, {"progressive": True}, {"target_ratio": 4}], ids=str)
def test_variants_of_the_decoder_are_told_by_their_tensors(variant, scale_mae, attempt):
    options = {**scale_mae.config(), **variant}
    other = build_method("scale-mae", scale_mae.encoder, options)
    report = attempt({k.removeprefix("encoder."): v for k, v in other.state_dict().items()})
    made = load_model(report.folder).card.provenance["method"]["config"]
    assert {k: made[k] for k in options} == options


def test_the_card_says_where_the_weights_come_from(official_file, tmp_path):
    report = import_official(official_file, "scale-mae", tmp_path / "model", url="https://example.org/x", **HEADS)
    card = load_model(tmp_path / "model").card
    assert card.name == "scalemae-small-800"
    assert card.encoder.image_size == 224
    assert card.provenance["imported_from"] == {
        "file": "scalemae-small-800.pth", "url": "https://example.org/x", "sha256": report.sha256
    }  # fmt: skip
    assert card.provenance["args"]["band_config"] == [14, 224]
    assert card.provenance["coverage"]["encoder"] == str(report.encoder)
    assert card.provenance["licence"] == "CC-BY-NC-4.0"


def test_half_precision_weights_become_float32(attempt, official, tmp_path):
    attempt({k: v.half() for k, v in official.items()})
    state = load_model(tmp_path / "model").encoder.state_dict()
    assert {v.dtype for v in state.values()} == {torch.float32}


def test_the_encoder_alone_can_be_asked_for(official_file, tmp_path):
    report = import_official(official_file, "scale-mae", tmp_path / "model", heads=2, encoder_only=True)
    assert report.decoder is None and any("only the encoder" in reason for reason in report.ignored.values())
    assert load_method_state(tmp_path / "model") is None


def test_a_fine_tuned_classifier_gives_its_encoder_and_names_its_head(attempt, official, scale_mae):
    encoder = {k: v for k, v in official.items() if k in scale_mae.encoder.state_dict()}
    report = attempt({**encoder, "head.weight": torch.ones(4, 32), "head.bias": torch.ones(4)})
    assert report.decoder is None
    assert report.ignored == dict.fromkeys(("head.weight", "head.bias"), "head of a fine-tuned classifier")


def test_a_missing_tensor_of_the_encoder_is_refused_with_the_coverage(attempt, official):
    count = sum(not k.startswith(("decoder", "f", "mask", "pos")) for k in official)
    del official["blocks.1.mlp.fc2.bias"]
    with pytest.raises(
        CheckpointError, match=rf"fits {count - 1} of {count} tensors of the encoder.*fc2\.bias; found absent"
    ):
        attempt(official, encoder_only=True)


def test_an_incomplete_decoder_is_refused_unless_the_encoder_alone_is_asked_for(attempt, official):
    del official["decoder_norm.bias"]
    with pytest.raises(CheckpointError, match=r"tensors of the decoder.*decoder_norm\.bias.*--encoder-only"):
        attempt(official)
    assert attempt(official, encoder_only=True).decoder is None


@pytest.mark.parametrize("name", ["norm.weight", "blocks.0.attn.qkv.weight", "fpn.fpn2.0.bias"])
def test_a_wrong_shape_is_refused_with_both_shapes(name, attempt, official):
    official[name] = torch.ones(7)
    with pytest.raises(CheckpointError, match=rf"{name}; found \(7,\); expected \("):
        attempt(official)


def test_other_channels_than_the_released_model_has_are_refused(attempt, official):
    official["patch_embed.proj.weight"] = torch.ones(32, 4, 16, 16)
    with pytest.raises(CheckpointError, match=r"found \(32, 4, 16, 16\); expected \(32, 3, 16, 16\)"):
        attempt(official)


def test_an_unknown_tensor_is_refused_unless_it_is_named(attempt, official):
    official |= {"adapter.0.weight": torch.ones(2), "adapter.1.weight": torch.ones(2)}
    with pytest.raises(
        CheckpointError, match=r"2 tensors that scale-mae does not know; found adapter\.0\.weight, .*--allow"
    ):
        attempt(official)
    with pytest.raises(CheckpointError, match="1 tensors"):
        attempt(official, allow=["adapter.0.*"])
    assert attempt(official, allow=["adapter.*"]).allowed == ("adapter.0.weight", "adapter.1.weight")


def test_allowing_cannot_take_a_tensor_from_the_encoder(attempt, official):
    with pytest.raises(CheckpointError, match=r"of the encoder; 2 differ, such as norm\.bias"):
        attempt(official, allow=["norm.*"])


def test_an_unknown_layer_inside_the_encoder_is_refused(attempt, official):
    official["blocks.0.adapter.weight"] = torch.ones(2)
    with pytest.raises(CheckpointError, match=r"blocks\.0\.adapter\.weight; found \(2,\); expected absent"):
        attempt(official)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value, attempt, official):
    official["norm.weight"] = official["norm.weight"].clone()
    official["norm.weight"][3] = value
    with pytest.raises(CheckpointError, match=r"not finite, in norm\.weight"):
        attempt(official)


def test_heads_that_no_shape_tells_are_asked_for(attempt, official):
    with pytest.raises(CheckpointError, match=r"heads at width 32 is not known; expected a width of .* Give --heads"):
        attempt(official, heads=None)


@pytest.mark.parametrize("method", ["spectral-gpt", "mp-mae"])
def test_weights_of_another_method_are_refused(method, official, tmp_path):
    with pytest.raises(CheckpointError, match="Check --method"):
        import_official(write(official, tmp_path), method, tmp_path / "model")


def test_an_unknown_method_suggests_the_nearest(official_file, tmp_path):
    with pytest.raises(CheckpointError, match=r"no official weights of 'scalemae'\. Did you mean 'scale-mae'"):
        import_official(official_file, "scalemae", tmp_path / "model")


def test_a_model_is_never_overwritten(official_file, tmp_path):
    import_official(official_file, "scale-mae", tmp_path / "model", **HEADS)
    with pytest.raises(DataError, match="holds a model already"):
        import_official(official_file, "scale-mae", tmp_path / "model", **HEADS)


def test_a_name_with_a_huge_number_is_refused_at_once(attempt, official):
    official["blocks.999999999.norm1.weight"] = torch.ones(32)
    with pytest.raises(CheckpointError, match="of the encoder"):
        attempt(official)
