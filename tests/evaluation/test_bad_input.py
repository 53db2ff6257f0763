"""What is wrong with labels, splits or checkpoints is an error that names it, or a warning in the report."""

from __future__ import annotations

import pytest
import yaml

from ecotone.errors import DataError, EcotoneError
from ecotone.evaluation import evaluate
from ecotone.weights import save_model


def run(encoder, data, **options):
    return evaluate([encoder], data, **{"scales": (1,), "protocols": ["knn", "linear"], "floors": False, **options})


def test_a_label_outside_the_classes_is_named(lamps, tiny_encoder):
    folder = lamps("multilabel", (6, 4, 4))
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text() + "test0.png,purple,test\n")
    with pytest.raises(DataError, match=r"not one of the classes.*purple"):
        run(tiny_encoder(), folder)


def test_classes_missing_from_train_and_of_one_sample_are_warned_of(make_splits, tiny_encoder):
    splits = make_splits()
    splits["train"].targets = [0] * 59 + [1]
    report = run(tiny_encoder(), splits)
    assert "Classes absent from train, so never predicted: class 2." in report.warnings
    assert "Classes with a single training sample: class 1." in report.warnings


@pytest.mark.parametrize(("n", "enough"), [(99, False), (100, True)])
def test_the_least_number_of_samples_for_a_verdict(make_splits, tiny_encoder, n, enough):
    report = run(tiny_encoder(), make_splits((40, 20, n)), protocols=["knn"], floors=True)
    assert (report.verdicts[0].answer != "n too small") == enough
    assert any("n too small" in text for text in report.caveats) != enough


def test_a_checkpoint_without_an_input_spec_is_refused(make_splits, tiny_encoder, tmp_path):
    save_model(tiny_encoder(), tmp_path / "run" / "model", name="x", image_size=32)
    file = tmp_path / "run" / "model" / "ecotone.yaml"
    card = yaml.safe_load(file.read_text())
    del card["input"]
    file.write_text(yaml.safe_dump(card))
    with pytest.raises(EcotoneError, match="input"):
        run(tmp_path / "run", make_splits())
