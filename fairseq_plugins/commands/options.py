"""What the commands take alike: options of models and data, and how these are opened."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from weightdistill.decoding.engines import Engine, Pieces

Data = Annotated[Path | None, typer.Option("--data", help="Data folder; default: the one the checkpoint names.")]
Input = Annotated[Path, typer.Option("--input", help="Source pieces separated by blanks, one sentence a line.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: what torch takes.")]
LengthPenalty = Annotated[float, typer.Option("--length-penalty", help="Divide scores by length to this power.")]


def open_model(model: Path, data: Path | None, threads: int | None) -> "Engine":
    """The engine of a model (`fairseq_plugins.engine.open_engine`), with fairseq quiet."""
    quiet_fairseq()
    from fairseq_plugins.engine import open_engine

    return open_engine(model, data, threads)


def quiet_fairseq() -> None:
    """Keep what fairseq logs when it is imported, and for each dictionary, off the terminal."""
    logging.getLogger("fairseq").setLevel(logging.WARNING)


def read_pieces(path: Path) -> "list[Pieces]":
    """Lines of pieces. Raises as `weightdistill.evaluation.scores.read_lines`."""
    from weightdistill.files import read_lines

    return [line.split() for line in read_lines(path)]
