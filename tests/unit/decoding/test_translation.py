"""A file of pieces is translated line by line, in order, without a loss."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from weightdistill.decoding.engines import Hypothesis, Pieces, Search
from weightdistill.decoding.translation import CHUNK, read_pieces, translate_to_file
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


def test_order_and_empty_lines_are_kept_across_chunks(tmp_path: Path) -> None:
    sentences = [[], ["a", "b"], *([f"w{number}"] for number in range(CHUNK)), []]
    finished: list[int] = []
    count = translate_to_file(UpperCaseEngine(), sentences, tmp_path / "out", Search(), finished.append)
    assert count == len(sentences)
    text = (tmp_path / "out").read_text(encoding="utf-8")
    assert text == "\nA B\n" + "".join(f"W{number}\n" for number in range(CHUNK)) + "\n"
    assert finished == [CHUNK, len(sentences) - CHUNK]


def test_nothing_is_written_if_a_sentence_is_lost(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="model must translate each of the 3 sentences, but translated 2"):
        translate_to_file(UpperCaseEngine(loses=1), [["a"], [], ["b"]], tmp_path / "out", Search())
    assert list(tmp_path.iterdir()) == []
