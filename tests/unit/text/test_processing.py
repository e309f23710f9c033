"""Text becomes pieces and text again by the steps that text.json names; no line is lost, bad settings are named."""

import html
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sacremoses
from hypothesis import example, given
from hypothesis import strategies as st
from subword_nmt.learn_bpe import learn_bpe

from weightdistill.errors import DistillationError
from weightdistill.text import subwords
from weightdistill.text.processing import NAME, SideProcessing, TextProcessing

SENTENCES = [
    "A dog's ball isn't here, is it?",
    'He said: "Well-known & cheap" (5,300 < 6.5%).',
    "Dr. Smith sees two dogs . The End...",
]
ODD = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\r\t\u3000\xa0 "
MESSY = [
    "",
    " ",
    "\u200b",
    "a\u2028b",
    "one\rtwo\r",
    "x\x1c\x1d\x85y",
    "\ufeffa",
    "\x01\x02",
    "|",
    "<a> &",
    "@@",
    "▁",
    "😀",
]
lines = st.text(st.one_of(st.characters(codec="utf-8", exclude_characters="\n"), st.sampled_from(ODD + ".,-'\"<&|@▁a")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Subword and truecasing models of a few sentences."""
    folder = tmp_path_factory.mktemp("models")
    text = "".join(f"{line}\n" for line in SENTENCES * 5)
    (folder / "text").write_text(text, encoding="utf-8")
    subwords.train(str(folder / "spm"), 75, [str(folder / "text")])
    with (folder / "codes").open("w", encoding="utf-8") as file:
        learn_bpe(io.StringIO(text), file, 40)
    truecaser = sacremoses.MosesTruecaser()
    truecaser.train([line.split() for line in ["the Dog sees a dog", "a Smith and the smith .", "THE end and The end"]])
    truecaser.save_model(str(folder / "truecase"))
    return folder


def both(source: str = "en", target: str = "de", **settings: Any) -> TextProcessing:
    return TextProcessing(SideProcessing(source, **settings), SideProcessing(target, **settings))


FORMS: dict[str, dict[str, Any]] = {
    "sentencepiece": {"subwords": "spm.model"},
    "bpe": {"subwords": "codes"},
    "moses and bpe": {"subwords": "codes", "tokeniser": "moses"},
    "everything": {"subwords": "codes", "tokeniser": "moses", "normalise": True, "truecase": "truecase"},
    "unescaped": {"tokeniser": "moses", "escape": False, "split_hyphens": True, "lowercase": True, "joining": "@@ "},
    "nothing": {},
}


def form_of(folder: Path, form: str, **languages: str) -> TextProcessing:
    settings = dict(FORMS[form])
    for key in {"subwords", "truecase"} & settings.keys():
        settings[key] = folder / settings[key]
    return both(**languages, **settings)


@pytest.mark.parametrize("form", FORMS)
@given(line=lines)
@example(line="a\u2028b\rc\x85\x1cd")
def test_a_line_stays_one_line(folder: Path, form: str, line: str) -> None:
    processing = _cached(folder, form)
    for side in ("source", "target"):
        pieces = processing.encode(line, side)
        assert pieces == " ".join(pieces.split())
        text = processing.decode(pieces)
        assert text == " ".join(text.split())
    assert processing.encode("", "source") == processing.decode("") == ""


_processings: dict[str, TextProcessing] = {}


def _cached(folder: Path, form: str) -> TextProcessing:
    return _processings.setdefault(form, form_of(folder, form))


@pytest.mark.parametrize("form", ["sentencepiece", "bpe", "nothing"])
@given(words=st.lists(st.text("abdeghilnorstDS.,:?'", min_size=1), min_size=1))
def test_without_a_tokeniser_decoding_undoes_encoding(folder: Path, form: str, words: list[str]) -> None:
    processing = _cached(folder, form)
    text = " ".join(words)
    for side in ("source", "target"):
        assert processing.decode(processing.encode(f" {text}\t", side)) == text


def test_moses_decoding_undoes_encoding_of_ordinary_sentences(folder: Path) -> None:
    sentences = ["A dog's ball isn't here, is it?", 'He said: "Well-known & cheap" (5,300 < 6.5%).', "It ends..."]
    for form in ("moses and bpe", "unescaped"):
        processing = form_of(folder, form, source="en", target="en")
        for sentence in sentences:
            expected = sentence if form != "unescaped" else sentence.lower()
            assert processing.decode(processing.encode(sentence, "target")) == expected


@pytest.mark.parametrize(("language", "split_hyphens"), [("en", True), ("fr", False)])
def test_tokens_equal_those_of_the_sacremoses_command(language: str, split_hyphens: bool) -> None:
    options = ["--aggressive-dash-splits"] if split_hyphens else []
    expected = _output(["sacremoses", "--quiet", "--language", language, "tokenize", *options], SENTENCES)
    escaped, plain = (
        both(language, language, tokeniser="moses", escape=escape, split_hyphens=split_hyphens)
        for escape in (True, False)
    )
    assert [escaped.encode(sentence, "source") for sentence in SENTENCES] == expected
    assert [plain.encode(sentence, "source") for sentence in SENTENCES] == [html.unescape(line) for line in expected]
    text = _output(["sacremoses", "--quiet", "--language", language, "detokenize"], expected)
    assert [escaped.decode(tokens) for tokens in expected] == text
    assert [plain.decode(html.unescape(tokens)) for tokens in expected] == text


def _output(command: list[str], text: list[str]) -> list[str]:
    command = [sys.executable, "-m", *command]
    result = subprocess.run(command, input="".join(f"{line}\n" for line in text).encode(), capture_output=True)
    assert not result.returncode, result.stderr.decode()
    return result.stdout.decode().split("\n")[:-1]


def test_truecasing_is_that_of_moses(folder: Path) -> None:
    """Moses' truecase.perl: the most frequent case begins a sentence; elsewhere a known case stays, others change."""
    processing = both("en", "en", tokeniser="moses", truecase=folder / "truecase")
    assert processing.encode("The Dog and DOG. A dog", "source") == "the Dog and Dog . a dog"
    assert processing.decode("the Dog . a dog ? &quot; so") == 'The Dog. A dog? "So'


def test_normalisation_is_that_of_moses() -> None:
    processing = both(normalise=True)
    assert processing.encode("„Wort“ \u2013 (a) …\u200b “x”,", "source") == '"Wort" - (a) ... "x,"'


@pytest.mark.parametrize("tokeniser", ["jieba", "characters"])
def test_chinese_is_segmented_and_joined_without_blanks(tokeniser: str) -> None:
    processing = TextProcessing(SideProcessing("zh", tokeniser=tokeniser), SideProcessing("zh", tokeniser=tokeniser))
    text = "我们在北京学习 New York 的语言。"
    pieces = processing.encode(text, "source")
    assert pieces.replace(" ", "") == text.replace(" ", "") and len(pieces.split()) > 6
    assert processing.decode(pieces) == "我们在北京学习New York的语言。"


def test_source_and_target_have_their_own_steps(folder: Path) -> None:
    processing = TextProcessing(
        SideProcessing("en", lowercase=True), SideProcessing("de", tokeniser="moses", subwords=folder / "codes")
    )
    assert processing.encode("A Dog.", "source") == "a dog."
    assert processing.encode("A Dog.", "target").startswith("A D")
    assert processing.decode("A D@@ og .") == "A Dog."


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_reads_the_same(folder: Path, form: str, tmp_path: Path) -> None:
    written = form_of(folder, form)
    written.write(tmp_path / "bundle")
    moved = (tmp_path / "bundle").rename(tmp_path / "moved")
    for path in (moved, moved / NAME):
        read = TextProcessing.read(path)
        for sentence in [*SENTENCES, *MESSY]:
            assert read.encode(sentence, "source") == written.encode(sentence, "source")
            assert read.decode(sentence) == written.decode(sentence)
    assert {path.name for path in moved.iterdir()} == {NAME, *(path.name for path in written.files)}
    read.write(moved)  # in place
    assert TextProcessing.read(moved) == read


def test_the_opposite_direction_is_refused() -> None:
    processing = both("zh", "en")
    processing.require_direction("zh", "en")
    processing.require_direction("zh-CN", "en")
    both("en", "en").require_direction("en", "en")
    with pytest.raises(DistillationError, match="is for zh to en, but source and target are en and zh; exchange them"):
        processing.require_direction("en", "zh")


def test_files_of_one_name_are_kept_apart(folder: Path, tmp_path: Path) -> None:
    for name, model in (("a", "codes"), ("b", "spm.model")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.bin").write_bytes((folder / model).read_bytes())
    sides = (SideProcessing("en", subwords=tmp_path / name / "model.bin") for name in ("a", "b"))
    written = TextProcessing(*sides)
    written.write(tmp_path / "bundle")
    read = TextProcessing.read(tmp_path / "bundle")
    for side in ("source", "target"):
        assert read.encode(SENTENCES[0], side) == written.encode(SENTENCES[0], side)
    assert not (tmp_path / "bundle" / "model.bin").exists()  # which would be the translation model's


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokeniser": "spacy"}, "tokeniser must be one of 'none', 'moses', .*, but is 'spacy'"),
        ({"tokeniser": "jieba"}, r"tokeniser 'jieba' is for Chinese \(zh\), but the language is 'en'"),
        ({"escape": False}, "escape and split_hyphens are options of the tokeniser 'moses', but it is 'none'"),
        ({"joining": "@@"}, "joining must be one of .*'@@ '.*, but is '@@'"),
        ({"lowercase": True, "truecase": Path(__file__)}, "lowercase and truecase exclude each other"),
        ({"joining": "@@ ", "subwords": Path(__file__)}, "joining is for text without a subword model"),
        ({"subwords": Path("absent")}, "absent does not exist; give the file"),
        ({"subwords": Path(__file__)}, "is no subword model"),
        ({"language": ""}, "language must be the code of a language"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        SideProcessing(**{"language": "en", **settings})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "version must be 1, but is None"),
        ({"version": 2}, "version must be 1, but is 2"),
        ({"version": 1, "source": {}}, "must have the keys version, source and target, but has version, source"),
        ({"version": 1, "source": [], "target": {}}, r"source must be an object, but is \[\]"),
        ({"version": 1, "source": {}, "target": {}}, "source lacks the key language"),
        ({"version": 1, "source": {"tokenizer": "moses"}, "target": {}}, "keys of source must be .* is 'tokenizer'"),
        ({"version": 1, "source": {"escape": "no"}, "target": {}}, "escape of source must be .* bool, but is 'no'"),
        (
            {"version": 1, "source": {"language": "en"}, "target": {"language": "de", "subwords": "gone"}},
            "target: .*gone does not exist",
        ),
    ],
    ids=str,
)
def test_a_description_that_cannot_be_used(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / NAME
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(DistillationError, match=rf"{NAME}:? .*{message}|{NAME}: {message}"):
        TextProcessing.read(tmp_path)
    with pytest.raises(DistillationError, match=r"absent cannot be read: .*; give a text.json"):
        TextProcessing.read(tmp_path / "absent")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_command_keeps_every_line(folder: Path, tmp_path: Path, workers: str) -> None:
    form_of(folder, "moses and bpe").write(tmp_path)
    text = MESSY * 900  # more than one chunk
    processing = TextProcessing.read(tmp_path)
    command = ["weightdistill.text.processing", "encode", str(tmp_path), "source", "--workers", workers]
    pieces = _output(command, text)
    assert pieces == [processing.encode(line, "source") for line in MESSY] * 900
    decoded = _output(["weightdistill.text.processing", "decode", str(tmp_path / NAME)], pieces[: len(MESSY)])
    assert decoded == [processing.decode(line) for line in pieces[: len(MESSY)]]


def test_the_command_names_a_line_that_is_not_utf8(folder: Path, tmp_path: Path) -> None:
    form_of(folder, "bpe").write(tmp_path)
    command = [sys.executable, "-m", "weightdistill.text.processing", "encode", str(tmp_path), "source"]
    result = subprocess.run(command, input=b"one\n\xff\n", capture_output=True)
    assert result.returncode == 2
    assert result.stderr.decode() == "processing: error: standard input: line 2 is not UTF-8; convert the file first\n"


def test_the_command_says_in_one_line_that_the_disk_is_full(folder: Path, tmp_path: Path) -> None:
    form_of(folder, "bpe").write(tmp_path)
    command = [sys.executable, "-m", "weightdistill.text.processing", "encode", str(tmp_path), "source"]
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(command, input=b"one\n", stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 2
    assert result.stderr.decode() == (
        "processing: error: cannot write the output: No space left on device; check that the disk is not full\n"
    )
