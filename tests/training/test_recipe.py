"""Recipes are validated in full, and every mistake is one sentence."""

from __future__ import annotations

import copy

import pytest
import yaml

from ecotone.errors import RecipeError
from ecotone.training import load_recipe, parse_recipe


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("stage", "imags"), 5, "Did you mean 'images'"),
        (("metod",), {}, "Did you mean 'method'"),
        (("encoder", "readout"), {"poling": "mean"}, "Did you mean 'pooling'"),
        (("stage", "batch_size"), "many", "stage.batch_size"),
        (("stage", "images"), 4, "less than one batch"),
        (("encoder", "size"), "tniy", "Did you mean 'tiny'"),
        (("transforms",), [{"name": "flop"}], "transforms"),
    ],
)
def test_a_mistake_is_named_and_mended(recipe, path, value, sentence):
    broken = copy.deepcopy(recipe)
    node = broken
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(RecipeError, match=sentence):
        parse_recipe(broken)


def test_overrides_reach_nested_keys(recipe, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    loaded = load_recipe(file, ["stage.images=64", "encoder.config.depth=1", "name=other"])
    assert (loaded.stage.images, loaded.encoder.config["depth"], loaded.name) == (64, 1, "other")


def test_an_override_without_a_value_is_refused(recipe, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    with pytest.raises(RecipeError, match="key=value"):
        load_recipe(file, ["stage.images"])


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", ""])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content):
    file = tmp_path / "recipe.yaml"
    file.write_text(content)
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(file)


def test_a_named_size_sets_width_depth_and_heads(recipe):
    recipe["encoder"] = {"size": "tiny", "config": {"patch": 8, "depth": 3}}
    assert parse_recipe(recipe).encoder.config == {"width": 192, "depth": 3, "heads": 3, "patch": 8}
