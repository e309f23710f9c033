"""Counts pieces that a fairseq dictionary lacks: many of them mean that the subword model is another one.

    python -m weightdistill.text.coverage DICTIONARY SIDE PIECES...   counts the files together

Knows nothing about models or fairseq.
"""

import codecs
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from weightdistill import files
from weightdistill.errors import DistillationError, reported

LIMIT = 0.01
"""Largest share of unknown pieces that the right subword model leaves."""
EXAMPLES = 5
_OVERWRITE = " #fairseq:overwrite"


@dataclass(frozen=True)
class Unknown:
    """How many pieces of a text a dictionary lacks."""

    pieces: int
    """Pieces of the text."""
    unknown: int
    """Those that the dictionary lacks."""
    examples: tuple[str, ...]
    """The first different ones, at most EXAMPLES."""

    @property
    def share(self) -> float:
        """Share of unknown pieces, from 0 to 1."""
        return self.unknown / self.pieces if self.pieces else 0.0

    def __str__(self) -> str:
        """Say it in one line."""
        examples = f", e.g. {' '.join(self.examples)}" if self.examples else ""
        return f"{self.unknown} of {self.pieces} pieces ({self.share:.2%}){examples}"


def read_dictionary(path: str | Path) -> frozenset[str]:
    """Read the pieces of a fairseq dictionary, dict.LANG.txt: a piece and its count on each line.

    Raises:
        DistillationError: The file cannot be read, or is no dictionary.
    """
    data = files.read_bytes(path, "give fairseq's dict.LANG.txt")
    if data.startswith(codecs.BOM_UTF8):
        raise DistillationError(
            f"{path}: line 1 begins with a byte order mark, which fairseq takes for a part of the piece; remove it"
        )
    words: dict[str, int] = {}
    for number, line in enumerate(files.split_lines(data, path), start=1):
        text = line.rstrip()
        word, _, count = text.removesuffix(_OVERWRITE).rpartition(" ")
        if not word or not (count.isascii() and count.removeprefix("-").isdigit()) or "\r" in line:
            raise DistillationError(
                f"{path}: line {number} must be a piece and its count, but is {line[:40]!r}; give fairseq's "
                "dict.LANG.txt"
            )
        if word in words and not text.endswith(_OVERWRITE):
            raise DistillationError(
                f"{path}: line {number} has the piece {word!r} of line {words[word]} again; remove one, or mark the "
                f"line by{_OVERWRITE}"
            )
        words.setdefault(word, number)
    return frozenset(words)


def count_unknown(lines: Iterable[str], words: Collection[str]) -> Unknown:
    """Count the pieces that are not among `words`.

    Args:
        lines: Pieces joined by blanks.
        words: Known pieces.
    """
    pieces = unknown = 0
    examples: dict[str, None] = {}
    for line in lines:
        for piece in line.split():
            pieces += 1
            if piece not in words:
                unknown += 1
                if len(examples) < EXAMPLES:
                    examples[piece] = None
    return Unknown(pieces, unknown, tuple(examples))


def require_known(lines: Iterable[str], dictionary: str | Path, side: str) -> Unknown:
    """Count the pieces that a dictionary lacks, and refuse a text of which it lacks more than LIMIT.

    Args:
        lines: Pieces joined by blanks.
        dictionary: fairseq's dict.LANG.txt.
        side: Name of the side for the error, `source` or `target`.

    Raises:
        DistillationError: See above; or the dictionary cannot be read.
    """
    counted = count_unknown(lines, read_dictionary(dictionary))
    if counted.share > LIMIT:
        raise DistillationError(
            f"{side}: at most {LIMIT:.0%} of the pieces may be missing in {dictionary}, but {counted} are; the subword "
            "model is probably another one than the teacher's, or tokenisation, escaping, case or language differ: "
            "correct text.json"
        )
    return counted


def main(arguments: list[str]) -> None:
    """Run the command line. Wrong arguments print the usage, and end with exit code 1."""
    match arguments:
        case [dictionary, side, *paths] if paths:
            counted = require_known(_lines(paths), dictionary, side)
            print(f"{side}: {dictionary} lacks {counted}")
        case _:
            sys.exit(__doc__)


def _lines(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        with files.reading(path) as file:
            yield from files.decode_lines(file, path)


if __name__ == "__main__":
    with reported("coverage"):
        main(sys.argv[1:])
