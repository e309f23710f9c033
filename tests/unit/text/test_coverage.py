"""Pieces that a dictionary lacks are counted, and more than one in a hundred means another subword model."""

import subprocess
import sys
from pathlib import Path

import pytest

from weightdistill.errors import DistillationError
from weightdistill.text.coverage import LIMIT, count_unknown, read_dictionary, require_known


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    path = tmp_path / "dict.en.txt"
    path.write_text("the 9\n▁dog 5\na@@ 0\n\u2028 3\nmadeupword0000 0 #fairseq:overwrite\n", encoding="utf-8")
    return path


def test_a_dictionary_is_read_as_fairseq_reads_it(dictionary: Path) -> None:
    assert read_dictionary(dictionary) == {"the", "▁dog", "a@@", "\u2028", "madeupword0000"}


def test_unknown_pieces_are_counted_with_examples() -> None:
    counted = count_unknown(["a b a", "", "x y x z u v w"], {"a", "b"})
    assert (counted.pieces, counted.unknown, counted.share) == (10, 7, 0.7)
    assert counted.examples == ("x", "y", "z", "u", "v")
    assert str(counted) == "7 of 10 pieces (70.00%), e.g. x y z u v"
    assert count_unknown([], {"a"}).share == 0


def test_few_unknown_pieces_are_reported_and_many_refused(dictionary: Path) -> None:
    known = ["the ▁dog a@@"] * 33
    assert require_known([*known, "x"], dictionary, "source").share == LIMIT
    message = (
        r"source: at most 1% .* missing in .*dict\.en\.txt, but 2 of 101 pieces \(1\.98%\), e\.g\. x y are; the sub"
    )
    with pytest.raises(DistillationError, match=message):
        require_known([*known, "x", "y"], dictionary, "source")


@pytest.mark.parametrize("content", ["the\n", "the many\n", " 5\n"])
def test_a_file_that_is_no_dictionary_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "dict").write_text(f"a 1\n{content}", encoding="utf-8")
    with pytest.raises(DistillationError, match=r"dict: line 2 must be a piece and its count, but is"):
        read_dictionary(tmp_path / "dict")


def test_the_command_counts_several_files_together(dictionary: Path, tmp_path: Path) -> None:
    for name, text in (("one", "the\n" * 199), ("two", "x\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "weightdistill.text.coverage", str(dictionary), "target"]
    result = subprocess.run([*command, tmp_path / "one", tmp_path / "two"], capture_output=True, text=True)
    assert result.stdout == f"target: {dictionary} lacks 1 of 200 pieces (0.50%), e.g. x\n"
    result = subprocess.run([*command, tmp_path / "two"], capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.startswith("coverage: error: target: at most 1% of the pieces")
