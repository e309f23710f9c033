"""The command line: `weightdistill COMMAND`; `weightdistill --help` lists the commands.

A command imports what it needs when it runs, so that `--help` is quick.
"""

from pathlib import Path
from typing import Annotated

import typer

import fairseq_plugins
from fairseq_plugins.commands import (
    distil,
    evaluation,
    experiments,
    models,
    teacher_check,
    teaching,
    text,
    training,
    translation,
)
from fairseq_plugins.commands.options import quiet_fairseq
from weightdistill.errors import reported
from weightdistill.installation import versions

app = typer.Typer(
    name="weightdistill",
    help="Weight distillation of fairseq Transformers: prepare text, export, inspect, evaluate and time students.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for subject in (distil, training, models, translation, teacher_check, teaching, text, evaluation, experiments):
    app.add_typer(subject.app)


def _print_versions(wanted: bool) -> None:
    if wanted:
        for name, version in versions().items():
            typer.echo(f"{name} {version}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the versions that decide about a result.", callback=_print_versions, is_eager=True
        ),
    ] = False,
) -> None:
    pass


@app.command()
def plugin() -> None:
    """Print the folder for fairseq's `--user-dir`."""
    typer.echo(Path(fairseq_plugins.__path__[0]).resolve())


def main() -> None:
    """Run the command line. An error prints one line to standard error, and ends as `reported` says."""
    quiet_fairseq()
    with reported():
        app()


if __name__ == "__main__":
    main()
