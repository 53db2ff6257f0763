"""The command line: one file per verb, thin: parse, call the library, print."""

from __future__ import annotations

import sys

import typer

from ecotone.cli import (
    check,
    data_audit,
    data_inspect,
    data_label,
    data_synth,
    demo,
    embed,
    evaluate,
    evaluate_table,
    finetune,
    index_build,
    index_check,
    index_maps,
    index_remove,
    index_report,
    info,
    predict,
    pretrain,
    search,
    weights_download,
    weights_export,
    weights_import,
    weights_list,
    weights_verify,
)
from ecotone.errors import EcotoneError

app = typer.Typer(
    name="ecotone",
    help="Pretrain a geospatial encoder, prove what it is worth, and use it on rasters of any size.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at datasets; make them, from labels or synthetic.", no_args_is_help=True)
index_app = typer.Typer(help="What a store of embeddings holds, and maps made from it.", no_args_is_help=True)
weights_app = typer.Typer(help="Released weights, and models for other programs.", no_args_is_help=True)

for verb in (demo, info, check, pretrain, evaluate, evaluate_table, finetune, predict, embed, search):
    verb.register(app)
for verb in (data_inspect, data_audit, data_label, data_synth):
    verb.register(data_app)
for verb in (weights_list, weights_download, weights_import, weights_verify, weights_export):
    verb.register(weights_app)
for verb in (index_build, index_check, index_report, index_maps, index_remove):
    verb.register(index_app)
app.add_typer(data_app, name="data")
app.add_typer(index_app, name="index")
app.add_typer(weights_app, name="weights")


def main() -> None:
    """Run the command line; a user's mistake becomes one sentence and exit code 1."""
    try:
        app()
    except EcotoneError as error:
        print(f"ecotone: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("ecotone: stopped", file=sys.stderr)
        sys.exit(130)
