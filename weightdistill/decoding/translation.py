"""Translates a file of subword pieces. Knows nothing about raw text or fairseq."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import overload

from weightdistill.decoding.engines import Engine, Pieces, Search, translate
from weightdistill.errors import DistillationError
from weightdistill.files import read_lines, writing

CHUNK = 512
"""Sentences between two steps of the progress. The engine sorts the sentences of one chunk by length."""


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


def translate_to_file(
    engine: Engine,
    sentences: Sequence[Pieces],
    output: str | Path,
    settings: Search,
    progress: Callable[[int], object] = lambda sentences: None,
) -> int:
    """Write the best translation of each sentence as pieces, one sentence per line.

    Args:
        engine: The model.
        sentences: Source pieces. An empty sentence becomes an empty line.
        output: File to write.
        settings: Settings of the search.
        progress: Called with the number of sentences that were translated since the last call.

    Returns:
        The number of lines.

    Raises:
        DistillationError: The engine cannot translate a sentence or lost one, or the file cannot be written. Nothing
            is written then.
    """
    count = 0
    with writing(output) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for start in range(0, len(sentences), CHUNK):
                chunk = sentences[start : start + CHUNK]
                for pieces in translate(engine, chunk, settings):
                    file.write(" ".join(pieces) + "\n")
                    count += 1
                progress(len(chunk))
        if count != len(sentences):
            raise DistillationError(
                f"{engine.name} must translate each of the {len(sentences)} sentences, but translated {count}; export "
                "the model again"
            )
    return count
