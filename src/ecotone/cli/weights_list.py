"""``ecotone weights list``."""

from __future__ import annotations

import typer

from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("list")(list_)


def list_(json_: JsonOption = None) -> None:
    """List the weights that authors released: what they were trained on, their size, checksum and licence, and where.

    Sizes and checksums are shown where they are published. Wherever a verb takes a model, it takes these names.

    Example: ecotone weights list
    """
    from rich.table import Table

    from ecotone.weights import cache_folder, catalogue

    entries = catalogue().values()
    table = Table("name", "trained on, and where it is", "size", "sha256", "licence", show_lines=True)
    for e in entries:
        size = f"{e.size / 1e6:,.0f} MB" if e.size else ""
        table.add_row(
            e.name, f"{e.trained_on}\n[dim]{e.url}[/]\n{e.notes}".rstrip(), size, (e.sha256 or "")[:12], e.licence
        )
    console.print(table)
    imported = [e.name for e in entries if (cache_folder() / "models" / e.name / "ecotone.yaml").exists()]
    console.print(f"In the cache {cache_folder()}: {', '.join(imported) or 'none'}.", highlight=False, soft_wrap=True)
    write_json(json_, [{**e.model_dump(mode="json"), "cached": e.name in imported} for e in entries])
