"""The command that translates, raw text or subword pieces."""

import contextlib
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from fairseq_plugins.commands.options import (
    BatchTokens,
    Beam,
    Data,
    LengthPenalty,
    Threads,
    UseMap,
    open_model,
    progress_bar,
    writable,
)
from fairseq_plugins.engine import source_words
from weightdistill.decoding.engines import Engine
from weightdistill.errors import DistillationError
from weightdistill.experiment.binarised import dictionaries
from weightdistill.files import reading
from weightdistill.places import STANDARD_INPUT, require_separate

app = typer.Typer()

FEWEST_UNKNOWN = 5
"""So many unknown pieces, and more than UNKNOWN_SHARE of all in the first chunk, are taken for words of raw text."""
UNKNOWN_SHARE = 0.03


@app.command()
def translate(
    model: Annotated[Path, typer.Argument(help="Bundle, CTranslate2 folder or fairseq checkpoint.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--input", help="Text to translate, one sentence per line, may be gzipped; default: standard input."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", callback=writable, help="Receives the translations; default: standard output."),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option("--text", help="A text.json, or its folder, for raw text; default: that in a bundle."),
    ] = None,
    pieces: Annotated[
        bool, typer.Option("--pieces", help="Read and write subword pieces, with a bundle, too.")
    ] = False,
    vocabulary_map: UseMap = True,
    data: Data = None,
    beam: Beam = 5,
    length_penalty: LengthPenalty = 1.0,
    batch_tokens: BatchTokens = 4096,
    threads: Threads = None,
) -> None:
    """Translate line by line: raw text with a bundle or --text, otherwise subword pieces separated by blanks.

    A line of any length becomes one line; an empty one stays empty.
    """
    read = {"the model": model, "--input": source or STANDARD_INPUT, "--text": text, "--data": dictionaries(data)}
    require_separate({"--output": output}, read)
    if pieces and text is not None:
        raise DistillationError("--pieces and --text exclude each other; leave out --text to translate pieces")
    from weightdistill.bundle import translate_text
    from weightdistill.decoding.engines import Search
    from weightdistill.decoding.translation import line_chunks, translate_pieces, write_lines
    from weightdistill.text.processing import NAME, TextProcessing

    if text is None and not pieces and (model / NAME).is_file():
        text = model
    processing = None if text is None else TextProcessing.read(text)
    settings = Search(beam, length_penalty=length_penalty, batch_size=batch_tokens)
    engine = open_model(model, data, threads, vocabulary_map=vocabulary_map)
    with contextlib.ExitStack() as stack:
        file: BinaryIO = sys.stdin.buffer if source is None else stack.enter_context(reading(source))
        chunks = line_chunks(file, "standard input" if source is None else str(source))
        if source is not None:
            chunks = _not_empty(chunks, source)
        if processing is None:
            translated = translate_pieces(engine, _checked(chunks, engine), settings)
        else:
            translated = translate_text(engine, processing, chunks, settings)
        bar = stack.enter_context(progress_bar("sentence", _count_lines(source), delay=2))
        count = write_lines(translated, output, bar.update)
    if output is not None:
        typer.echo(f"wrote {output}: {count} sentences")


def _count_lines(path: Path | None) -> int | None:
    """Count the lines of a file; None for a pipe, which can be read only once."""
    if path is None or not path.is_file():
        return None
    with reading(path) as file:
        return sum(1 for _ in file)


def _not_empty(chunks: Iterator[list[str]], path: Path) -> Iterator[list[str]]:
    """Refuse a file without a line, before anything is written."""
    first = next(chunks, None)
    if first is None:
        raise DistillationError(f"{path} is empty; it must hold one sentence per line")
    return itertools.chain([first], chunks)


def _checked(chunks: Iterator[list[str]], engine: Engine) -> Iterable[list[str]]:
    """Refuse raw text where pieces are wanted, by the first chunk's share of pieces that the model does not know."""
    from weightdistill.text.coverage import count_unknown

    first = next(chunks, [])
    counted = count_unknown(first, source_words(engine))
    if counted.unknown >= FEWEST_UNKNOWN and counted.share > UNKNOWN_SHARE:
        raise DistillationError(
            f"the input must be subword pieces of {engine.name}, but it lacks {counted}; give the text's processing "
            "with --text to translate raw text, or segment it first"
        )
    return itertools.chain([first] if first else [], chunks)
