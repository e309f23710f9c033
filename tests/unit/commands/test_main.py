"""The command line: quick help, and unusable input that ends with one line and exit code 2."""

import json
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fairseq_plugins.commands import main as cli
from fairseq_plugins.commands import measuring
from weightdistill.decoding.engines import Hypothesis
from weightdistill.errors import DistillationError

COMMANDS = ["export", "inspect", "translate", "evaluate", "benchmark", "benchmark-training", "distill", "cache-teacher"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run `weightdistill ARGUMENTS` as the console script does; the exit code."""
    monkeypatch.setattr(sys, "argv", ["weightdistill", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


class ShoutingEngine:
    """Gives its input in upper case; loses the last sentence where it is told to."""

    name, parameters, longest_source = "model", 7, 9

    def __init__(self, loses: int = 0) -> None:
        self._loses = loses

    def search(self, sentences: list[list[str]], _: object) -> list[list[Hypothesis]]:
        kept = sentences[: len(sentences) - self._loses]
        return [[Hypothesis([piece.upper() for piece in sentence], 0.0, True)] for sentence in kept]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("a b\n\nc\n", encoding="utf-8")
    return path


def test_help_names_all_commands() -> None:
    result = CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(cli.app, [command, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output


def test_error_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DistillationError("field must be good,\n  but is bad")

    monkeypatch.setattr(cli, "read_pieces", fail)
    code = run(monkeypatch, "translate", tmp_path, "--input", "x", "--output", tmp_path / "out")
    assert code == 2
    captured = capsys.readouterr()
    assert captured.err == "weightdistill: error: field must be good, but is bad\n"
    assert captured.out == ""


def test_evaluate_prints_scores_and_writes_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sentence = "Two dogs play in the deep snow.\n"
    for name in ("hyp", "ref"):
        (tmp_path / name).write_text(sentence * 3, encoding="utf-8")
    result = tmp_path / "scores.json"
    code = run(
        monkeypatch, "evaluate", tmp_path / "hyp", "--reference", tmp_path / "ref", "--bootstrap", 20, "--json", result
    )
    assert code == 0
    assert "100.00" in capsys.readouterr().out
    scores = json.loads(result.read_text(encoding="utf-8"))
    assert scores["systems"][0]["bleu"]["score"] == pytest.approx(100)
    assert scores["resamples"] == 20 and scores["seed"] == 12345


def test_evaluate_refuses_misaligned_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "hyp").write_text("one\n", encoding="utf-8")
    (tmp_path / "ref").write_text("one\ntwo\n", encoding="utf-8")
    result = tmp_path / "scores.json"
    code = run(monkeypatch, "evaluate", tmp_path / "hyp", "--reference", tmp_path / "ref", "--json", result)
    assert code == 2 and not result.exists()
    error = capsys.readouterr().err
    assert f"{tmp_path / 'hyp'} has 1 and {tmp_path / 'ref'} has 2" in error and error.count("\n") == 1


def test_translate_keeps_order_and_empty_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: Path) -> None:
    monkeypatch.setattr(cli, "open_model", lambda *_: ShoutingEngine())
    output = tmp_path / "deep" / "out"
    assert run(monkeypatch, "translate", "model", "--input", text, "--output", output) == 0
    assert output.read_text(encoding="utf-8") == "A B\n\nC\n"


def test_translate_writes_nothing_when_a_sentence_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: Path
) -> None:
    monkeypatch.setattr(cli, "open_model", lambda *_: ShoutingEngine(loses=1))
    assert run(monkeypatch, "translate", "model", "--input", text, "--output", tmp_path / "out") == 2
    assert "has 3 sentences, but 2 were translated" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_benchmark_prints_a_table_and_writes_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: Path
) -> None:
    monkeypatch.setattr(measuring, "open_model", lambda *_: ShoutingEngine())
    result = tmp_path / "speed.json"
    arguments = ["--batch-size", 1, "--batch-size", 32, "--repetitions", 2, "--sentences", 2, "--json", result]
    assert run(monkeypatch, "benchmark", "model", "model", "--input", text, *arguments) == 0
    assert "sentences/s" in capsys.readouterr().out
    report = json.loads(result.read_text(encoding="utf-8"))
    assert report["settings"]["sentences"] == 2 and report["settings"]["threads"] == torch.get_num_threads()
    assert [speed["batch_size"] for speed in report["speeds"]] == [1, 1, 32, 32]


@pytest.mark.parametrize(
    ("model", "message"),
    [("absent.pt", "absent.pt does not exist"), ("folder", "folder holds no model.bin"), ("text.pt", "text.pt")],
)
def test_unusable_model_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    text: Path,
    model: str,
    message: str,
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.pt").write_text("not a checkpoint", encoding="utf-8")
    assert run(monkeypatch, "translate", tmp_path / model, "--input", text, "--output", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["translate", "model", "--input", "source", "--output"],
        ["benchmark", "model", "--input", "source", "--json"],
        ["evaluate", "source", "--reference", "source", "--json"],
        ["benchmark-training", "--json"],
    ],
    ids=lambda command: command[0],
)
def test_an_output_that_cannot_be_written_is_noticed_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("", encoding="utf-8")
    Path("folder").mkdir()
    for output in ("file/out", "folder"):
        assert run(monkeypatch, *command, output) == 2
        printed = capsys.readouterr()
        assert f"cannot write {output}: " in printed.err and not printed.out
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_quantization_without_a_ctranslate2_folder_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "export", "in.pt", "--output", "out.pt", "--quantization", "int8") == 2
    assert "--ctranslate2" in capsys.readouterr().err


def test_a_choice_among_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: Path
) -> None:
    command = ["distill", "model", "--source", text, "--output", tmp_path / "out"]
    assert run(monkeypatch, *command, "--select", "bleu") == 2
    assert "--select bleu chooses among several; give --n-best" in capsys.readouterr().err
    assert run(monkeypatch, *command, "--n-best", 2, "--select", "bleu") == 2
    assert "--real and --select need the references" in capsys.readouterr().err
