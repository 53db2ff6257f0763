import json

import typer
from PIL import Image as PIL
from typer.testing import CliRunner

from ecotone.cli import data_inspect

app = typer.Typer()
app.callback()(lambda: None)
data_inspect.register(app)


def run(*arguments):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def test_a_labelled_dataset_is_described(shared_data, tmp_path):
    picture, figures = tmp_path / "sheet.png", tmp_path / "figures.json"
    result = run(shared_data / "eurosat_rgb", "--sample", 40, "--picture", picture, "--json", figures)
    assert result.exit_code == 0, result.output
    found = json.loads(figures.read_text())
    assert found["samples"] == 3500
    assert found["splits"] == {"train": 2100, "val": 700, "test": 700}
    assert sum(found["classes"]["Forest"].values()) == 350
    assert (found["bands"], found["unit"], found["gsd_range"], found["gsd_source"]) == (
        ["R", "G", "B"],
        "uint8",
        [10.0, 10.0],
        "declared",
    )
    assert found["sizes"] == {"64 x 64": 40}
    assert 0 <= found["values"]["R"]["min"] <= found["values"]["R"]["mean"] <= found["values"]["R"]["max"] <= 255
    assert found["broken"] == {}
    assert PIL.open(picture).size[0] > 500


def test_broken_files_are_listed_with_the_reason(tmp_path):
    for n in range(12):
        PIL.new("RGB", (8, 8), (n, n, n)).save(tmp_path / f"{n:02d}.png")
    (tmp_path / "05.png").write_bytes(b"broken")
    result = run(tmp_path, "--json", "-")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert list(found["broken"]) == ["05.png"]
    assert "cannot read the picture" in found["broken"]["05.png"]
    assert found["gsd_source"] == "unknown"
