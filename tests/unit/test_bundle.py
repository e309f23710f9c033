"""Raw text becomes raw text: a line of any length and content is one line, and long ones lose nothing."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightdistill.bundle import LONGEST_PART, Bundle, translate_text
from weightdistill.decoding.engines import Hypothesis, Pieces, Search
from weightdistill.errors import DistillationError
from weightdistill.text.processing import SideProcessing, TextProcessing

WORDS = TextProcessing(SideProcessing("en"), SideProcessing("de"))


class UpperCaseEngine:
    """Translates into upper case, keeps what it was given, and loses the last sentence if told to."""

    name, parameters = "model", 7

    def __init__(self, longest_source: int = 1000, loses: int = 0) -> None:
        self.longest_source = longest_source
        self.read: list[Pieces] = []
        self._loses = loses

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        self.read += sentences
        kept = sentences[: len(sentences) - self._loses]
        return [[Hypothesis([piece.upper() for piece in sentence], 0.0, True)] if sentence else [] for sentence in kept]


def translated(lines: list[str], engine: UpperCaseEngine, processing: TextProcessing = WORDS) -> list[str]:
    (chunk,) = translate_text(engine, processing, [lines], Search())
    return chunk


@given(lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n")), min_size=1))
def test_every_line_stays_one(lines: list[str]) -> None:
    assert translated(lines, UpperCaseEngine(longest_source=3)) == [" ".join(line.upper().split()) for line in lines]


def test_a_long_line_is_split_at_sentence_ends() -> None:
    line = 'One two three four. Five "six seven?" Eight nine ten eleven twelve thirteen fourteen fifteen! x!'
    engine = UpperCaseEngine(longest_source=7)
    assert translated([line, "a b"], engine) == [line.upper(), "A B"]
    assert [" ".join(part) for part in engine.read] == [
        'One two three four. Five "six seven?"',
        "Eight nine ten eleven",
        "twelve thirteen fourteen fifteen! x!",
        "a b",
    ]


def test_a_line_is_no_longer_than_its_translation_may_be() -> None:
    engine = UpperCaseEngine(longest_source=10_000)
    line = " ".join(["word"] * (2 * LONGEST_PART + 1))
    assert translated([line], engine) == [line.upper()]
    assert [len(part) for part in engine.read] == [101, 101, 99]
    assert translated([" ".join(["w"] * LONGEST_PART)], engine) and len(engine.read) == 4


def test_chinese_parts_are_joined_without_blanks() -> None:
    chinese = SideProcessing("zh", tokeniser="characters")
    engine = UpperCaseEngine(longest_source=6)
    assert translated(["我们学习。你们睡觉。好"], engine, TextProcessing(chinese, chinese)) == [
        "我们学习。你们睡觉。好"
    ]
    assert ["".join(part) for part in engine.read] == ["我们学习。", "你们睡觉。好"]


def test_a_lost_sentence_is_noticed() -> None:
    with pytest.raises(DistillationError, match="model must translate each of the 2 sentences, but translated 1"):
        translated(["a", "b"], UpperCaseEngine(loses=1))


def test_a_folder_without_text_processing_or_model_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(
        DistillationError, match=r"text\.json cannot be read: .*; give a text\.json, or the folder of a"
    ):
        Bundle(tmp_path)
    WORDS.write(tmp_path)
    with pytest.raises(DistillationError, match=r"model\.bin cannot be read"):
        Bundle(tmp_path)


def test_a_bundle_needs_neither_torch_nor_fairseq() -> None:
    code = """
import sys
sys.modules["torch"] = sys.modules["fairseq"] = None  # importing them fails
import ctranslate2
from weightdistill.bundle import Bundle
"""
    subprocess.run([sys.executable, "-c", code], check=True)
