"""Every kind of subword model is told from its content, and gives what its authors' program gives."""

import io
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from subword_nmt.learn_bpe import learn_bpe

from weightdistill.errors import DistillationError
from weightdistill.text import subwords
from weightdistill.text.subwords import BytePairs, detect, open_segmenter

TEXT = "low lower lowest newer newest wider widest aaaa aaaaa banana bananas größer größte 中文 中文字 lower newest"

# Codes as fastBPE stores them, and what its version 0.1.0 gave with them.
FASTBPE_CODES = """w e 90
l o 87
a n 84
a a 81
s t</w> 78
we st</w> 75
we r</w> 72
n e 69
lo w</w> 66
b an 63
ban an 60
ö ß 57
w i 54
wi d 51
wid e 48
r öß 45
ne west</w> 42
lo wer</w> 39
g röß 36
banan a</w> 33
文 字</w> 30
中 文字</w> 27
中 文</w> 24
wide st</w> 21
"""
FASTBPE_PIECES = {
    "low lower slowest": "low lower s@@ lo@@ west",
    "aaa aaaaaaa a": "aa@@ a aa@@ aa@@ aa@@ a a",
    "bananas banana nab x": "banan@@ a@@ s banana n@@ a@@ b x",
    "größter größer gr": "größ@@ t@@ e@@ r größ@@ e@@ r g@@ r",
    "中文字 中文 文": "中文字 中文 文",
    "I'm newest, newer.": "I@@ '@@ m ne@@ we@@ s@@ t@@ , ne@@ we@@ r@@ .",
}
# Marks of pieces and blanks are what joining is about; a text that holds them cannot be told from pieces.
words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C"), exclude_characters="@"), min_size=1)


def codes_of(folder: Path, header: bool = True) -> Path:
    written = io.StringIO()
    learn_bpe(io.StringIO(f"{TEXT}\n" * 3), written, 30)
    path = folder / "codes"
    text = written.getvalue()
    path.write_text(text if header else text.partition("\n")[2], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return codes_of(tmp_path_factory.mktemp("codes"))


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spm")
    (folder / "text").write_text(f"{TEXT}\n" * 5, encoding="utf-8")
    subwords.train(str(folder / "spm"), 60, [str(folder / "text")])
    return folder / "spm.model"


@pytest.mark.parametrize("header", [True, False], ids=["version 0.2", "version 0.1"])
def test_pieces_equal_those_of_the_subword_nmt_command(tmp_path: Path, header: bool) -> None:
    path = codes_of(tmp_path, header)
    generator = random.Random(1)
    lines = [" ".join("".join(generator.choices("lowernstaß中", k=6)) for _ in range(5)) for _ in range(40)]
    lines += [TEXT, ""]
    command = [sys.executable, "-m", "subword_nmt.apply_bpe", "--codes", str(path)]
    text = "".join(f"{line}\n" for line in lines)
    expected = subprocess.run(command, input=text.encode(), check=True, capture_output=True).stdout.decode()
    segmenter = open_segmenter(path)
    assert [" ".join(segmenter.encode(line)) for line in lines] == expected.split("\n")[:-1]


def test_pieces_equal_those_of_fastbpe(tmp_path: Path) -> None:
    (tmp_path / "codes").write_text(FASTBPE_CODES, encoding="utf-8")
    segmenter = BytePairs(tmp_path / "codes")
    assert {line: " ".join(segmenter.encode(line)) for line in FASTBPE_PIECES} == FASTBPE_PIECES


def test_the_kind_is_told_from_the_content(tmp_path: Path, codes: Path, sentencepiece_model: Path) -> None:
    assert detect(codes) == detect(codes_of(tmp_path, header=False)) == "subword-nmt"
    assert detect(sentencepiece_model) == "sentencepiece"
    (tmp_path / "codes").write_text(FASTBPE_CODES, encoding="utf-8")
    assert detect(tmp_path / "codes") == "fastbpe"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("the 5\nof 3\n", "is a dictionary, not a subword model"),
        ("<unk>\t0\n▁a\t-1.5\n", "is no subword model; give a SentencePiece model"),
        ("#version: 0.2\nĠ t\nh e\n", "holds byte-level BPE .* is not supported"),
        ("one\ntwo words\nthree more words\n", "is no subword model"),
        ("", "is no subword model"),
        (b"\xff\x00\x01", "is no subword model"),
    ],
    ids=["dictionary", "vocab", "byte level", "text", "empty", "binary"],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DistillationError, match=f"file {message}"):
        detect(path)
    with pytest.raises(DistillationError, match=r"absent cannot be read: .*; give the path of a SentencePiece model"):
        detect(tmp_path / "absent")


@given(sentence=st.lists(words))
def test_joining_bpe_undoes_segmenting(codes: Path, sentence: list[str]) -> None:
    segmenter = open_segmenter(codes)
    pieces = segmenter.encode(" ".join(sentence))
    assert segmenter.decode(pieces) == " ".join(sentence)
    assert " ".join(pieces).split() == pieces
