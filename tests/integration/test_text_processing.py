"""Stages and commands with a teacher's own text processing: prepared, translated and scored, or refused at once."""

import io
import re
import shutil
from pathlib import Path

import pytest
from commands import BIN, ROOT, Corpus, MakeOnce, fork, run
from fairseq.data.data_utils import post_process
from hypothesis import given
from hypothesis import strategies as st
from subword_nmt.learn_bpe import learn_bpe

from fairseq_plugins.export import export
from weightdistill.bundle import Bundle
from weightdistill.text.processing import SideProcessing, TextProcessing
from weightdistill.text.subwords import JOINING, join

STAGES = ROOT / "scripts"
HERE = ("env", f"WEIGHTDISTILL_VENV={BIN.parent}", "bash")
LANGUAGES = ("--source", "aa", "--target", "bb")
# The corpus's words are the teacher's pieces; raw text has them in upper case.
WORDS = TextProcessing(SideProcessing("aa", lowercase=True), SideProcessing("bb", lowercase=True))


@pytest.fixture(scope="module")
def raw(corpus: Corpus, make_once: MakeOnce) -> Path:
    """The validation and test sets in upper case; no training text."""

    def fill(folder: Path) -> None:
        for path in corpus.pieces.iterdir():
            if not path.name.startswith("train"):
                (folder / path.name).write_text(path.read_text(encoding="utf-8").upper(), encoding="utf-8")

    return make_once("upper-case", fill)


@pytest.fixture(scope="module")
def prepared(corpus: Corpus, raw: Path, make_once: MakeOnce) -> Path:
    """What prepare.sh makes of them with binarised training data."""

    def fill(folder: Path) -> None:
        WORDS.write(folder / "text")
        options = (*LANGUAGES, "--text", folder / "text", "--train-bin", corpus.data, "--output", folder / "prepared")
        printed = run(*HERE, STAGES / "prepare.sh", "--raw", raw, *options)
        assert re.search(r"source: \S*/dict\.aa\.txt lacks 0 of \d+ pieces", printed)
        assert f"train: 300 sentence pairs of {corpus.data}" in printed

    return make_once("with-train-bin", fill) / "prepared"


@pytest.fixture(scope="module")
def bundle(teacher: Path, data: Path, make_once: MakeOnce) -> Path:
    """The teacher for CTranslate2, with its text processing."""

    def fill(folder: Path) -> None:
        export(teacher, folder / "model.pt", ctranslate2=folder / "bundle")
        WORDS.write(folder / "bundle")

    return make_once("bundle", fill) / "bundle"


def test_binarised_training_data_are_taken_over(corpus: Corpus, prepared: Path) -> None:
    for language in ("aa", "bb"):
        for split in ("train", "valid", "test"):
            name = f"{split}.{language}"
            assert (prepared / "pieces" / name).read_text() == (corpus.pieces / name).read_text()
            binary = f"{split}.aa-bb.{language}.bin"
            assert (prepared / "data-bin" / binary).read_bytes() == (corpus.data / binary).read_bytes()
        dictionary = f"dict.{language}.txt"
        assert (prepared / "data-bin" / dictionary).read_text() == (corpus.data / dictionary).read_text()
    assert TextProcessing.read(prepared) == WORDS


def test_another_subword_model_is_refused_before_binarising(corpus: Corpus, tmp_path: Path) -> None:
    with (tmp_path / "codes").open("w", encoding="utf-8") as file:
        learn_bpe(io.StringIO("w0 w1 w2\n" * 9), file, 3)
    TextProcessing(*(SideProcessing(name, subwords=tmp_path / "codes") for name in ("aa", "bb"))).write(
        tmp_path / "text"
    )
    options = (
        *LANGUAGES,
        "--text",
        tmp_path / "text",
        "--dictionaries",
        corpus.data,
        "--output",
        tmp_path / "prepared",
    )
    printed = run(*HERE, STAGES / "prepare.sh", "--raw", corpus.pieces, *options, fails=True)
    message = (
        r"coverage: error: source: at most 1% of .* may be missing in \S+dict\.aa\.txt, but (\d+) of \1 pieces \(100"
    )
    assert re.match(message, printed.splitlines()[-1])
    assert not (tmp_path / "prepared" / "data-bin").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dictionaries", "x"], "--dictionaries and --train-bin need the subword model that made them; give --text"),
        (["--text", "x", "--vocab-size", "9"], "--vocab-size is for a new subword model, but --text names one; leave"),
        (["--text", "x", "--dictionaries", "x", "--train-bin", "x"], "--train-bin has dictionaries; leave out"),
        (["--text", "x"], "x cannot be read: No such file or directory; give a text.json"),
        (["--text", "TEXT", "--dictionaries", "x"], "x/dict.aa.txt: no such file; name the folder that has it"),
        (
            ["--text", "TEXT", "--train-bin", "DATA"],
            "train.aa-cc.aa.idx; --train-bin needs a folder of fairseq-preproce",
        ),
    ],
    ids=str,
)
def test_preparing_refuses_what_contradicts_itself_or_is_missing(
    raw: Path, data: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    WORDS.write(tmp_path / "text")
    shutil.copy(data / "dict.aa.txt", tmp_path / "dict.cc.txt")
    shutil.copy(data / "dict.aa.txt", tmp_path)
    named = [{"TEXT": tmp_path / "text", "DATA": tmp_path}.get(option, option) for option in options]
    command = (*HERE, STAGES / "prepare.sh", "--raw", raw, "--source", "aa", "--target", "cc")
    assert message in run(*command, "--output", tmp_path / "out", *named, fails=True).splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_evaluating_makes_text_of_translations(teacher: Path, raw: Path, prepared: Path, tmp_path: Path) -> None:
    command = (*HERE, STAGES / "evaluate.sh", "--model", teacher, "--raw", raw, *LANGUAGES, "--beam", 1)
    run(*command, "--prepared", prepared, "--output", tmp_path / "scores")
    pieces = (tmp_path / "scores" / "test.pieces").read_text(encoding="utf-8")
    assert (tmp_path / "scores" / "test.txt").read_text(encoding="utf-8") == pieces and pieces.count("\n") == 24
    assert {path.name for path in (tmp_path / "scores").iterdir()} == {"test.pieces", "test.txt", "test.json"}


@pytest.mark.parametrize("missing", ["text.json", "pieces/test.aa"])
def test_evaluating_refuses_a_folder_without_what_it_needs(
    teacher: Path, raw: Path, prepared: Path, tmp_path: Path, missing: str
) -> None:
    shutil.copytree(prepared, tmp_path / "prepared", symlinks=True)
    (tmp_path / "prepared" / missing).unlink()
    command = (*HERE, STAGES / "evaluate.sh", "--model", teacher, "--raw", raw, *LANGUAGES)
    printed = run(*command, "--prepared", tmp_path / "prepared", "--output", tmp_path / "scores", fails=True)
    assert f"evaluate.sh: {tmp_path / 'prepared' / missing}: " in printed and printed.count("\n") == 1
    assert not (tmp_path / "scores").exists()


def test_a_bundle_translates_raw_text(corpus: Corpus, raw: Path, bundle: Path, tmp_path: Path) -> None:
    text = (raw / "test.aa").read_text(encoding="utf-8") + "\n" + "W01 W02\u2028W03\n"
    pieces = text.lower().replace("\u2028", " ")
    translated = fork("weightdistill", "translate", bundle, "--threads", 1, text=text)
    assert translated == fork("weightdistill", "translate", bundle, "--threads", 1, "--pieces", text=pieces)
    lines = translated.split("\n")[:-1]
    assert len(lines) == 26 and not lines[24] and sum(map(bool, lines)) == 25
    assert list(Bundle(bundle, threads=1).translate(text.split("\n")[:-1])) == lines
    (tmp_path / "raw").write_text(text, encoding="utf-8")
    printed = fork("weightdistill", "translate", bundle, "--pieces", "--input", tmp_path / "raw", fails=True)
    assert "the input must be subword pieces of" in printed and "--text to translate raw text" in printed


def test_text_processing_can_be_given_to_a_checkpoint(teacher: Path, raw: Path, tmp_path: Path) -> None:
    WORDS.write(tmp_path)
    command = ("weightdistill", "translate", teacher, "--beam", 1, "--threads", 1)
    refused = fork(*command, "--input", raw / "test.aa", fails=True)
    assert "the input must be subword pieces of" in refused
    translated = fork(*command, "--text", tmp_path, "--input", raw / "test.aa", "--output", tmp_path / "out")
    assert translated.splitlines()[-1] == f"wrote {tmp_path / 'out'}: 24 sentences"
    assert all((tmp_path / "out").read_text(encoding="utf-8").split("\n")[:-1])


@pytest.mark.parametrize("joining", JOINING)
@given(pieces=st.lists(st.text("ab_|@\u2581EOW", min_size=1)))
def test_pieces_are_joined_like_fairseqs_remove_bpe(joining: str, pieces: list[str]) -> None:
    assert join(pieces, joining) == post_process(" ".join(pieces), joining)
