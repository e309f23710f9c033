"""The command line: `weightdistill COMMAND`; `weightdistill --help` lists the commands.

A command imports what it needs when it runs, so that `--help` is quick.
"""

import sys

import typer

from fairseq_plugins.commands import evaluation, experiments, models, teaching, text
from weightdistill.errors import DistillationError

app = typer.Typer(
    name="weightdistill",
    help="Weight distillation of fairseq Transformers: prepare text, export, inspect, evaluate and time students.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for subject in (models, teaching, text, evaluation, experiments):
    app.add_typer(subject.app)


def main() -> None:
    """Run the command line. Unusable input prints one line to standard error and ends with exit code 2."""
    try:
        app()
    except DistillationError as error:
        print(f"weightdistill: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
