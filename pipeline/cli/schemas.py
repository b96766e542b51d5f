"""`wapipe schemas export | check`: the JSON Schemas of all records, made from the models; the ingress' OpenAPI."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import json_document, line
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.ingress import openapi
from pipeline.records.schemas import drift
from pipeline.records.schemas import export as write

DEFAULT_FOLDER = Path("schemas")

folder_argument = click.argument(
    "folder", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_FOLDER, required=False
)
as_json = click.option("--json", "is_json", is_flag=True, help="As a JSON list on stdout.")


def further() -> dict[str, str]:
    """Documents beside those of the records: what roles serve by HTTP."""
    return {openapi.FILE: openapi.text()}


@click.group()
def schemas() -> None:
    """Export the JSON Schemas of all records, or check the exported ones."""


@schemas.command()
@folder_argument
@as_json
def export(folder: Path, is_json: bool) -> int:
    """Write all schemas into FOLDER (default: schemas) and print the files' names.

    \b
    Example:
      wapipe schemas export
    """
    files = [str(path) for path in write(folder, further())]
    if is_json:
        json_document(files)
    else:
        for name in files:
            line(name)
    return EXIT_DONE


@schemas.command()
@folder_argument
@as_json
def check(folder: Path, is_json: bool) -> int:
    """Exit 65 if the schemas in FOLDER (default: schemas) are not what the models say.

    \b
    Example:
      wapipe schemas check
    """
    problems = drift(folder, further())
    if is_json:
        json_document(problems)
    elif problems:
        for problem in problems:
            line(("drift", "bad"), problem)
        line("remedy: wapipe schemas export", str(folder))
    else:
        line(("in order", "good"), f"{folder} is what the models say")
    return EXIT_NEGATIVE if problems else EXIT_DONE
