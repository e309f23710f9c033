"""Subword models: SentencePiece, the BPE codes of subword-nmt and fastBPE, and none for text that is segmented already.

    python -m weightdistill.text.subwords train PREFIX VOCAB_SIZE FILE...   writes PREFIX.model

Knows nothing about models or fairseq.
"""

import io
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import sentencepiece

from weightdistill import files
from weightdistill.errors import DistillationError, reported
from weightdistill.files import first_line, writing

_VERSION = re.compile(r"#version: *0\.[12](\.0)*\s*\n")
_PARTS = {1, 2, 3}
"""Numbers of the fields that every SentencePiece model has: pieces, how it was trained, how it normalises."""

Kind: TypeAlias = Literal["sentencepiece", "subword-nmt", "fastbpe"]

JOINING: Mapping[str, str | None] = {
    "none": None,
    "@@ ": "@@ ",
    "sentencepiece": "\u2581",
    "wordpiece": "_",
    "letter": "|",
    "_EOW": "_EOW",
}
"""How pieces become words without a subword model: names of fairseq's --remove-bpe, and the mark of each."""


class Segmenter(Protocol):
    """Splits the words of a text into pieces, and joins them again."""

    def encode(self, text: str) -> list[str]:
        """Split a text with one blank between words."""

    def decode(self, pieces: list[str]) -> str:
        """Join pieces to a text."""


class SentencePieces:
    """A SentencePiece model.

    Args:
        path: Its file.

    Raises:
        DistillationError: The file cannot be read, or is no SentencePiece model.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=_read(path))
        except RuntimeError as error:
            raise DistillationError(f"{path} is no SentencePiece model; give the .model file") from error

    def encode(self, text: str) -> list[str]:
        """See `Segmenter`."""
        pieces: list[str] = self._processor.encode(text, out_type=str)
        return pieces

    def decode(self, pieces: list[str]) -> str:
        """See `Segmenter`."""
        return str(self._processor.decode(pieces))


class BytePairs:
    """BPE codes of subword-nmt or fastBPE, applied by subword-nmt.

    fastBPE's codes are those of subword-nmt's version 0.2 with a frequency in the third column.

    Args:
        path: File of the codes.

    Raises:
        DistillationError: The file cannot be read, or holds no BPE codes.
    """

    def __init__(self, path: Path) -> None:
        from subword_nmt.apply_bpe import BPE

        kind, codes = detect(path), files.decode(_read(path), path)
        if kind == "fastbpe":
            codes = "#version: 0.2\n" + "".join(f"{line.rpartition(' ')[0]}\n" for line in _code_lines(codes))
        elif codes.startswith("#version") and not _VERSION.match(codes):
            raise DistillationError(
                f"{path}: line 1 must be '#version: 0.1' or '#version: 0.2', but is {first_line(codes)[:40]!r}; give "
                "codes of subword-nmt"
            )
        self._bpe = BPE(io.StringIO(codes))

    def encode(self, text: str) -> list[str]:
        """See `Segmenter`."""
        pieces: list[str] = self._bpe.segment_tokens(text.split())
        return pieces

    def decode(self, pieces: list[str]) -> str:
        """See `Segmenter`."""
        return join(pieces, "@@ ")


class Words:
    """No subword model: the text is segmented already.

    Args:
        joining: How pieces become words, one of JOINING.
    """

    def __init__(self, joining: str) -> None:
        self._joining = joining

    def encode(self, text: str) -> list[str]:
        """See `Segmenter`."""
        return text.split()

    def decode(self, pieces: list[str]) -> str:
        """See `Segmenter`."""
        return join(pieces, self._joining)


def join(pieces: list[str], joining: str) -> str:
    """Join pieces like fairseq's --remove-bpe.

    Args:
        pieces: Pieces of one sentence.
        joining: One of JOINING.
    """
    mark = JOINING[joining]
    if mark is None:
        return " ".join(pieces)
    if joining == "@@ ":
        return (" ".join(pieces) + " ").replace(mark, "").rstrip()
    return "".join(pieces).replace(mark, " ").strip()


def open_segmenter(path: Path | None, joining: str = "none") -> Segmenter:
    """Load a subword model of any kind.

    Args:
        path: Its file; None if the text is segmented already.
        joining: How pieces become words without a model, one of JOINING.

    Raises:
        DistillationError: The file cannot be read, or is no subword model.
    """
    if path is None:
        return Words(joining)
    return SentencePieces(path) if detect(path) == "sentencepiece" else BytePairs(path)


def detect(path: Path) -> Kind:
    """Tell from its content what kind of subword model a file holds.

    Raises:
        DistillationError: The file cannot be read, or holds none.
    """
    data = _read(path)
    remedy = "give a SentencePiece model (.model), or the BPE codes of subword-nmt or fastBPE"
    try:
        codes = _code_lines(data.decode("utf-8"))
    except UnicodeDecodeError:
        codes = []
    fields = [line.split(" ") for line in codes]
    widths = {len(columns) for columns in fields}
    if widths == {2} and all(_is_number(count) for _, count in fields):
        raise DistillationError(f"{path} is a dictionary, not a subword model; {remedy}")
    if widths == {2} and not any("</w>" in line for line in codes) and any("\u0120" in line for line in codes):
        raise DistillationError(f"{path} holds byte-level BPE (as of GPT-2), which is not supported; {remedy}")
    if widths == {2}:
        return "subword-nmt"
    if widths == {3} and all(columns[2].isdigit() for columns in fields):
        return "fastbpe"
    try:
        # SentencePiece itself takes an empty or cut file for a model of fewer pieces.
        if not set(_fields(data)) >= _PARTS:
            raise RuntimeError("not whole")
        sentencepiece.SentencePieceProcessor(model_proto=data)
    except RuntimeError as error:
        raise DistillationError(f"{path} is no subword model; {remedy}") from error
    return "sentencepiece"


def train(prefix: str, vocab_size: int, files: list[str]) -> None:
    """Train one BPE model on all files together, so that both languages share their pieces.

    Args:
        prefix: Prefix of the file to write, PREFIX.model.
        vocab_size: Number of pieces.
        files: Text, one sentence per line.

    Raises:
        DistillationError: SentencePiece cannot read a file, or finds too little text; or the model cannot be written.
    """
    try:
        with writing(f"{prefix}.model") as temporary, temporary.open("wb") as model:
            sentencepiece.SentencePieceTrainer.train(
                input=files,
                model_writer=model,
                vocab_size=vocab_size,
                model_type="bpe",
                character_coverage=1.0,
                normalization_rule_name="nmt_nfkc",
                minloglevel=1,
            )
    except (OSError, RuntimeError) as error:
        raise DistillationError(
            f"no subword model of {vocab_size} pieces can be trained on {', '.join(files)}: {error}; give more text, "
            "or a smaller vocabulary"
        ) from error


def main(arguments: list[str]) -> None:
    """Run the command line. Wrong arguments print the usage, and end with exit code 1."""
    match arguments:
        case ["train", prefix, vocab_size, *files] if files and vocab_size.isdigit():
            train(prefix, int(vocab_size), files)
        case _:
            sys.exit(__doc__)


def _read(path: Path) -> bytes:
    return files.read_bytes(path, "give the path of a SentencePiece model or of BPE codes")


def _fields(message: bytes) -> Iterator[int]:
    """Yield the number of each field of a message in protobuf's format, all of which hold bytes.

    Raises:
        RuntimeError: The message is cut, or is none.
    """
    position = 0

    def number() -> int:
        nonlocal position
        value = shift = 0
        while position < len(message) and shift < 64:
            byte = message[position]
            position, value, shift = position + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value
        raise RuntimeError("a number is cut")

    while position < len(message):
        field, kind = divmod(number(), 8)
        if kind != 2:  # bytes after their length
            raise RuntimeError("a field of another kind")
        length = number()
        position += length
        yield field
    if position != len(message):
        raise RuntimeError("a field is cut")


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdigit()


def _code_lines(text: str) -> list[str]:
    lines = text.rstrip("\n").split("\n")
    return [line.strip("\r ") for line in (lines[1:] if lines[0].startswith("#version") else lines)]


if __name__ == "__main__":
    with reported("subwords"):
        main(sys.argv[1:])
