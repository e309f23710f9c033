"""Pieces are translated line by line as they come, in order, without a loss."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightdistill.decoding.engines import Hypothesis, Pieces, Search
from weightdistill.decoding.translation import CHUNK, line_chunks, read_pieces, translate_pieces, write_lines
from weightdistill.errors import DistillationError


class UpperCaseEngine:
    """Translates into upper case; loses the last sentences of a batch if told to."""

    name, parameters, longest_source = "model", 7, 9

    def __init__(self, loses: int = 0) -> None:
        self._loses = loses

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        kept = sentences[: len(sentences) - self._loses]
        return [[Hypothesis([piece.upper() for piece in sentence], 0.0, True)] if sentence else [] for sentence in kept]


def test_pieces_are_split_on_access(tmp_path: Path) -> None:
    (tmp_path / "pieces").write_text("a b\n\nc\n", encoding="utf-8")
    lines = read_pieces(tmp_path / "pieces")
    assert list(lines) == [["a", "b"], [], ["c"]]
    assert lines[0] == ["a", "b"] and list(lines[1:]) == [[], ["c"]] and len(lines) == 3


@given(lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\ufeff"))), end=st.booleans())
def test_only_a_line_feed_ends_a_line(lines: list[str], end: bool) -> None:
    text = "\n".join(lines) + ("\n" if end and lines else "")
    expected = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    assert [line for chunk in line_chunks(io.BytesIO(text.encode()), "text") for line in chunk] == expected


def test_a_line_comes_back_before_the_next_is_written() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as pipe:
        chunks = translate_pieces(UpperCaseEngine(), line_chunks(source, "pipe"), Search())
        for sent, received in ((b"a b\nhal", ["A B"]), (b"f\n\nc\n", ["HALF", "", "C"])):
            pipe.write(sent)
            assert next(chunks) == received
        pipe.write(b"last")
        pipe.close()
        assert list(chunks) == [["LAST"]]


def test_order_and_empty_lines_are_kept_across_chunks(tmp_path: Path) -> None:
    lines = ["", "a b", *(f"w{number}" for number in range(CHUNK)), ""]
    text = "".join(f"{line}\n" for line in lines)
    finished: list[int] = []
    chunks = translate_pieces(UpperCaseEngine(), line_chunks(io.BytesIO(text.encode()), "text"), Search())
    assert write_lines(chunks, tmp_path / "out", finished.append) == len(lines)
    assert (tmp_path / "out").read_text(encoding="utf-8") == text.upper()
    assert finished == [CHUNK, len(lines) - CHUNK]


def test_nothing_is_written_if_a_sentence_is_lost(tmp_path: Path) -> None:
    chunks = translate_pieces(UpperCaseEngine(loses=1), iter([["a", "", "b"]]), Search())
    with pytest.raises(DistillationError, match="model must translate each of the 3 sentences, but translated 2"):
        write_lines(chunks, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"a " * 10, r"line 515 must have at most 9 pieces for model, but has 10; split it"),
        (b"\xff", r"text: line 515 is not UTF-8; convert the file first"),
    ],
    ids=["too long", "not UTF-8"],
)
def test_a_line_that_cannot_be_translated_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    text = b"a\n" * (CHUNK + 2) + line
    chunks = translate_pieces(UpperCaseEngine(), line_chunks(io.BytesIO(text), "text"), Search())
    with pytest.raises(DistillationError, match=message):
        write_lines(chunks, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
