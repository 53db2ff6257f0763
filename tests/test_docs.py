"""The pages keep to the code: links, files, recipes, keys and options that they name exist, and none is left out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer
import yaml

from ecotone.cli import app
from ecotone.inputs import Normaliser
from ecotone.methods import method_kinds
from ecotone.rasters import Declaration
from ecotone.sensors.units import UNITS
from ecotone.training import Recipe, parse_recipe
from ecotone.transforms import AnyTransform

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG"))]
FENCE = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"`(--?[a-z][a-z-]*)`")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def blocks(page: Path, language: str) -> list[str]:
    return [body for head, body in FENCE.findall(page.read_text("utf-8")) if head.strip() == language]


def section(page: Path, title: str) -> str:
    """The text under a heading of this title, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", prose(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no section {title!r}"
    return found[1]


def slugs(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def commands() -> dict[str, click.Command]:
    """Every command of the app by its full name."""
    found: dict[str, click.Command] = {}

    def walk(name: str, command: click.Command) -> None:
        children = getattr(command, "commands", None)
        for child, inner in (children or {}).items():
            walk(f"{name} {child}", inner)
        if not children:
            found[name] = command

    walk("ecotone", typer.main.get_command(app))
    return found


def options(command: click.Command) -> set[str]:
    named = [p for p in command.params if p.param_type_name == "option"]
    return {o for p in named for o in (*p.opts, *p.secondary_opts)} - {"--help"}


COMMANDS = commands()


@each_page
def test_links_lead_to_pages_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), f"{target} leads nowhere"
        assert not anchor or anchor in slugs(linked), f"{linked.name} has no heading {anchor}"


@each_page
def test_files_of_the_repository_that_are_named_exist(page):
    for name in re.findall(r"`((?:src|tests|recipes|docs|benchmarks)/[\w./-]*)`", prose(page)):
        assert (ROOT / name).exists(), f"{name} is named and does not exist"


@pytest.mark.parametrize(
    "page", sorted(set(DOCS.glob("reference/*.md")) - {DOCS / "reference/cli.md"}), ids=lambda p: p.stem
)
def test_public_names_that_a_module_of_the_same_name_hides_are_in_the_reference(page):
    package = ROOT / "src/ecotone" / page.stem
    public = (package / "__init__.py").read_text("utf-8") if package.is_dir() else ""
    for name in (f.stem for f in package.glob("*.py") if f'"{f.stem}"' in public):
        assert f"::: ecotone.{page.stem}.{name}.{name}\n" in page.read_text("utf-8")


def test_every_page_is_in_the_navigation_and_no_page_asks_another_host_for_anything():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    listed = re.findall(r"[\w/-]+\.md", str(config["nav"]))
    assert sorted(listed) == [p.relative_to(DOCS).as_posix() for p in sorted(DOCS.rglob("*.md"))]
    assert {"pymdownx.superfences": {"relaxed_headers": True}} in config["markdown_extensions"]  # for "yaml recipe"
    assert config["theme"]["font"] is False
    assert not {"extra_javascript", "extra_css", "extra"} & config.keys()
    assert not any(re.search(r"!\[[^]]*\]\(https?:|<(script|img|link|iframe)\b", prose(p)) for p in PAGES)


RECIPES = [(page, text) for page in PAGES for text in blocks(page, "yaml recipe")]


@pytest.mark.parametrize(("page", "text"), RECIPES, ids=[f"{p.stem}-{i}" for i, (p, _) in enumerate(RECIPES)])
def test_recipes_in_the_pages_are_valid(page, text):
    recipe = parse_recipe(yaml.safe_load(text), page.name)
    assert recipe.method.kind in method_kinds()


def test_declarations_in_the_pages_are_valid():
    shown = blocks(DOCS / "how-to/declare-a-dataset.md", "yaml")
    assert len(shown) == 2
    for text in shown:
        assert not Declaration.model_validate(yaml.safe_load(text)).model_extra


@pytest.mark.parametrize(
    "name", [None, *(n for n, f in Recipe.model_fields.items() if hasattr(f.annotation, "model_fields"))]
)
def test_every_key_of_a_recipe_is_explained(name):
    model = Recipe if name is None else Recipe.model_fields[name].annotation
    text = section(DOCS / "how-to/write-a-recipe.md", name or "Top level")
    named = {key for row in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}
    assert named == set(model.model_fields)


def test_every_transform_key_unit_and_normaliser_is_named():
    transforms = section(DOCS / "how-to/write-a-recipe.md", "transforms")
    for kind in AnyTransform.__origin__.__args__:
        for word in (kind.model_fields["name"].default, *(set(kind.model_fields) - {"name"})):
            assert f"`{word}`" in transforms
    declare = DOCS / "how-to/declare-a-dataset.md"
    assert all(f"`{key}`" in section(declare, "dataset.yaml") for key in Declaration.model_fields)
    assert all(f"`{unit}`" in section(declare, "Units") for unit in UNITS)
    normalisers = section(DOCS / "concepts/input-contract.md", "Normalisers")
    for kind in Normaliser.__origin__.__args__:
        assert f"`{kind.model_fields['kind'].default}`" in normalisers


@pytest.mark.parametrize("kind", method_kinds())
def test_every_option_of_a_method_is_explained(kind):
    text = prose(DOCS / f"methods/{kind}.md")
    code = method_kinds()[kind].__init__.__kwdefaults__
    assert all(f"`{name}`" in text for name in code)


def test_every_command_has_its_section_and_no_section_is_left_over():
    headings = re.findall(r"^## (ecotone .+)$", prose(DOCS / "reference/cli.md"), re.MULTILINE)
    assert sorted(headings) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_a_command_and_of_its_section_are_the_same(name):
    assert set(OPTION.findall(section(DOCS / "reference/cli.md", name))) == options(COMMANDS[name])


@each_page
def test_commands_shown_exist_and_use_options_that_exist(page):
    for line in "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines():
        words = shlex.split(line.split(" # ")[0])
        if words[:1] != ["ecotone"]:
            continue
        name = next((n for n in COMMANDS if words[: len(n.split())] == n.split()), None)
        assert name, f"no such command: {line}"
        used = {w for w in words if re.fullmatch(r"--?[a-z][a-z-]*", w)}
        assert used <= options(COMMANDS[name]), line
