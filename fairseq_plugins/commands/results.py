"""Where commands write their results as JSON."""

from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[Path | None, typer.Option("--json", help="Write the results here, too.")]


def require_writable(path: Path | None) -> None:
    """Fail before the work is done, not after it, where its results cannot be written."""
    if path is None:
        return
    from weightdistill import files

    files.require_writable(path)


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    if path is None:
        return
    from weightdistill import files

    files.write_json(path, result)
    typer.echo(f"wrote {path}")
