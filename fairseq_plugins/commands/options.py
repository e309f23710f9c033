"""Options that several commands share, and what these options open or write."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightdistill import files

if TYPE_CHECKING:
    from tqdm import tqdm

    from weightdistill.decoding.engines import Engine


def writable(path: Path | None) -> Path | None:
    """Fail before the work begins if its result could not be written."""
    if path is not None:
        files.require_writable(path)
    return path


Data = Annotated[
    Path | None, typer.Option("--data", help="Data folder; default: the one that the checkpoint was trained on.")
]
Input = Annotated[Path, typer.Option("--input", help="Source pieces separated by blanks, one sentence per line.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads; default: the number that torch or CTranslate2 chooses."),
]
Beam = Annotated[int, typer.Option("--beam", min=1, help="Hypotheses kept at each step.")]
LengthPenalty = Annotated[float, typer.Option("--length-penalty", help="Divide scores by the length to this power.")]
BatchTokens = Annotated[int, typer.Option("--batch-tokens", min=1, help="Padded source tokens per batch.")]
UseMap = Annotated[
    bool,
    typer.Option(
        "--vocabulary-map/--no-vocabulary-map", help="Use the vocabulary map in a CTranslate2 folder, if it has one."
    ),
]
Json = Annotated[Path | None, typer.Option("--json", callback=writable, help="Also write the results to this file.")]


def open_model(
    model: Path,
    data: Path | None,
    threads: int | None,
    *,
    same_words: bool = False,
    vocabulary_map: bool | Path = True,
) -> "Engine":
    """Load a model.

    Args:
        model: fairseq checkpoint or CTranslate2 folder.
        data: Data folder; default: the one that the checkpoint was trained on.
        threads: CPU threads; default: the engine's own number.
        same_words: Check that the model and the data folder, if given, have the same words.
        vocabulary_map: Whether a CTranslate2 model uses its vocabulary map, or the map that it uses instead.
    """
    from fairseq_plugins.engine import open_engine

    if same_words and data is not None:
        from fairseq_plugins.fairseq_engine import require_words

        require_words(model, data)
    return open_engine(model, data, threads, vocabulary_map)


def quiet_fairseq() -> None:
    """Hide what fairseq and torch say about themselves around a command's result; warnings of this project stay."""
    for name in ("fairseq", "fairseq_plugins"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.")


def progress_bar(unit: str, total: int | None = None, **options: Any) -> "tqdm[Any]":
    """Make a progress bar on standard error; it is hidden unless that is a terminal."""
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, disable=None, **options)


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write the results of a command to the file that `--json` names, if any."""
    if path is not None:
        files.write_json(path, result)
        typer.echo(f"wrote {path}")
