"""Translates lines of subword pieces, as they come. Knows nothing about raw text or fairseq."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, overload

from weightdistill.decoding.engines import Engine, Pieces, Search, translate
from weightdistill.errors import DistillationError
from weightdistill.files import decode_lines, read_lines, writing

CHUNK = 512
"""Most sentences that are translated together. The engine sorts the sentences of one chunk by length."""
_BLOCK = 2**20
"""Most bytes read at once. A pipe or terminal gives what is there."""


class PieceLines(Sequence[Pieces]):
    """Lines of pieces that are split only on access: lists of pieces for millions of lines would fill the memory."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Keep lines whose pieces are separated by blanks."""
        self._lines = lines

    def __len__(self) -> int:
        """Count the lines."""
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> Pieces: ...

    @overload
    def __getitem__(self, index: slice) -> "PieceLines": ...

    def __getitem__(self, index: int | slice) -> "Pieces | PieceLines":
        """Return the pieces of one line, or several lines."""
        return PieceLines(self._lines[index]) if isinstance(index, slice) else self._lines[index].split()


def read_pieces(path: str | Path) -> PieceLines:
    """Read a file of pieces, one sentence per line.

    Raises:
        DistillationError: The file is missing, unreadable, empty or not UTF-8.
    """
    return PieceLines(read_lines(path))


def line_chunks(file: BinaryIO, name: str) -> Iterator[list[str]]:
    """Read lines as they come: a chunk has what is there, at least one line and at most CHUNK.

    So a line that is typed is translated at once, and a file of any length needs little memory.

    Args:
        file: The text, in UTF-8; only a line feed ends a line.
        name: Name of the file for errors.

    Raises:
        DistillationError: A line is not UTF-8.
    """
    rest, first = b"", 1
    while block := file.read1(_BLOCK):  # type: ignore[attr-defined]  # every buffered binary file has it
        *lines, rest = (rest + block).split(b"\n")
        for start in range(0, len(lines), CHUNK):
            yield list(decode_lines(lines[start : start + CHUNK], name, first + start))
        first += len(lines)
    if rest:
        yield list(decode_lines([rest], name, first))


def translate_pieces(engine: Engine, chunks: Iterable[list[str]], settings: Search) -> Iterator[list[str]]:
    """Translate chunks of lines of pieces, separated by blanks.

    Args:
        engine: The model.
        chunks: Lines of source pieces. An empty line stays empty.
        settings: Settings of the search.

    Yields:
        As many lines for each chunk.

    Raises:
        DistillationError: A sentence is too long for the engine (its line is named), or the engine lost one.
    """
    first = 1
    for lines in chunks:
        sentences = [line.split() for line in lines]
        for number, sentence in enumerate(sentences, start=first):
            if len(sentence) > engine.longest_source:
                raise DistillationError(
                    f"line {number} must have at most {engine.longest_source} pieces for {engine.name}, but has "
                    f"{len(sentence)}; split it"
                )
        first += len(lines)
        yield [" ".join(pieces) for pieces in translate_all(engine, sentences, settings)]


def translate_all(engine: Engine, sentences: Sequence[Pieces], settings: Search) -> list[Pieces]:
    """Return the best translation of each sentence, and make sure that none is missing.

    Raises:
        DistillationError: The engine cannot translate a sentence, or lost one.
    """
    translations = translate(engine, sentences, settings)
    if len(translations) != len(sentences):
        raise DistillationError(
            f"{engine.name} must translate each of the {len(sentences)} sentences, but translated "
            f"{len(translations)}; export the model again"
        )
    return translations


def write_lines(
    chunks: Iterable[list[str]], output: Path | None, progress: Callable[[int], object] = lambda lines: None
) -> int:
    """Write lines chunk by chunk: to standard output at once, or to a file, whole or not at all.

    Args:
        chunks: The lines.
        output: The file; None for standard output.
        progress: Called with the number of lines that were written since the last call.

    Returns:
        The number of lines.

    Raises:
        DistillationError: The file cannot be written. Other errors come from `chunks`.
    """
    count = 0
    with contextlib.ExitStack() as stack:
        file: BinaryIO = sys.stdout.buffer
        if output is not None:
            file = stack.enter_context(stack.enter_context(writing(output)).open("wb"))
        for lines in chunks:
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            count += len(lines)
            progress(len(lines))
    return count
