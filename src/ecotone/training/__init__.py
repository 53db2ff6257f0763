"""Training: recipes, the visible loop, monitoring, exact resume."""

from ecotone.training.blueprint import blueprint
from ecotone.training.fit import Loop, fit
from ecotone.training.planning import dry_run
from ecotone.training.pretrain import run_recipe
from ecotone.training.recipe import Recipe, load_recipe, parse_recipe
from ecotone.training.run import Run

__all__ = ["Loop", "Recipe", "Run", "blueprint", "dry_run", "fit", "load_recipe", "parse_recipe", "run_recipe"]
