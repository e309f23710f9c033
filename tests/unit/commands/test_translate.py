"""`translate` reads files and pipes, pieces and raw text, and refuses one where it needs the other."""

import gzip
import io
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from fairseq_plugins.commands import main as cli
from fairseq_plugins.commands import translation
from weightdistill.decoding.engines import Hypothesis, Pieces, Search
from weightdistill.text.processing import SideProcessing, TextProcessing

ROOT = Path(__file__).parents[3]


class UpperCaseEngine:
    """Translates into upper case; loses the last sentence if told to."""

    name, parameters, longest_source = "model", 7, 9

    def __init__(self, loses: int = 0) -> None:
        self._loses = loses

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        kept = sentences[: len(sentences) - self._loses]
        return [[Hypothesis([piece.upper() for piece in sentence], 0.0, True)] if sentence else [] for sentence in kept]


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "open_model", lambda *_, **__: UpperCaseEngine())
    monkeypatch.setattr(translation, "source_words", lambda _: frozenset("abc"))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("a b\n\nc\n", encoding="utf-8")
    return path


@pytest.fixture
def processing(tmp_path: Path) -> Path:
    """A text.json with Moses' tokeniser, in a folder."""
    TextProcessing(*(SideProcessing("en", tokeniser="moses") for _ in range(2))).write(tmp_path / "text")
    return tmp_path / "text"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object, text: bytes = b"") -> int:
    """Run `weightdistill translate ARGUMENTS` like the console script, and return the exit code."""
    monkeypatch.setattr(sys, "argv", ["weightdistill", "translate", *map(str, arguments)])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_order_and_empty_lines_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: Path) -> None:
    output = tmp_path / "deep" / "out"
    assert run(monkeypatch, "model", "--input", text, "--output", output) == 0
    assert output.read_text(encoding="utf-8") == "A B\n\nC\n"


def test_a_pipe_and_a_gzipped_file_give_what_a_file_gives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: Path
) -> None:
    pipe, packed = tmp_path / "pipe", tmp_path / "source.gz"
    os.mkfifo(pipe)
    packed.write_bytes(gzip.compress(text.read_bytes()))
    writer = threading.Thread(target=pipe.write_bytes, args=(text.read_bytes(),))
    writer.start()
    for source in (pipe, packed):
        assert run(monkeypatch, "model", "--input", source, "--output", tmp_path / "out") == 0
        assert (tmp_path / "out").read_text(encoding="utf-8") == "A B\n\nC\n"
    writer.join()


def test_the_file_behind_standard_input_is_not_replaced(tmp_path: Path, text: Path) -> None:
    before = text.read_bytes()
    words = ["-m", "fairseq_plugins.commands.main", "translate", "model", "--output", str(text)]
    with text.open("rb") as file:
        result = subprocess.run([sys.executable, *words], cwd=ROOT, stdin=file, capture_output=True, text=True)
    assert result.returncode == 2 and "--output must not replace what is read" in result.stderr
    assert text.read_bytes() == before


def test_nothing_is_written_when_a_sentence_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: Path
) -> None:
    monkeypatch.setattr(translation, "open_model", lambda *_, **__: UpperCaseEngine(loses=1))
    assert run(monkeypatch, "model", "--input", text, "--output", tmp_path / "out") == 2
    assert "must translate each of the 3 sentences, but translated 2" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_standard_input_and_output_hold_text_alone(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], processing: Path
) -> None:
    raw = "It is a\u2028b, (c).\n\ncaf\u00e9\r\nlast"
    assert run(monkeypatch, "model", "--text", processing, text=raw.encode()) == 0
    captured = capfdbinary.readouterr()
    assert captured.out.decode() == "IT IS A B, (C).\n\nCAF\u00c9\nLAST\n" and captured.err == b""
    assert run(monkeypatch, "model") == 0
    assert capfdbinary.readouterr().out == b""


def test_a_bundle_translates_raw_text_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], processing: Path
) -> None:
    assert run(monkeypatch, processing, text=b"a (b)\n") == 0
    assert capfdbinary.readouterr().out == b"A (B)\n"
    assert run(monkeypatch, processing, "--pieces", text=b"a b  c\n") == 0
    assert capfdbinary.readouterr().out == b"A B C\n"
    assert run(monkeypatch, processing, "--pieces", "--text", processing) == 2
    assert b"--pieces and --text exclude each other" in capfdbinary.readouterr().err


def test_raw_text_is_refused_where_pieces_are_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: Path
) -> None:
    raw = b"The dog runs, it seems.\n"
    assert run(monkeypatch, "model", "--output", tmp_path / "out", text=raw) == 2
    error = capsys.readouterr().err
    assert (
        "must be subword pieces of model, but it lacks 5 of 5 pieces (100.00%), e.g. The dog runs, it seems.;" in error
    )
    assert "with --text to translate raw text" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    rare = b"a b c x\n" * 4  # four pieces may be rare characters
    assert run(monkeypatch, "model", "--output", tmp_path / "out", text=rare) == 0


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read: No such file"), (b"", "is empty")])
def test_an_input_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    content: bytes | None,
    message: str,
) -> None:
    if content is not None:
        (tmp_path / "source").write_bytes(content)
    assert run(monkeypatch, "model", "--input", tmp_path / "source", "--output", tmp_path / "out") == 2
    assert f"{tmp_path / 'source'} {message}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
