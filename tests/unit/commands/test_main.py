"""The command line: help, results on the terminal and in files, and errors as one line with exit code 2."""

import json
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fairseq_plugins.commands import evaluation, teaching, translation
from fairseq_plugins.commands import main as cli
from weightdistill.decoding.engines import Hypothesis
from weightdistill.errors import DistillationError

COMMANDS = [
    "train",
    *("export", "inspect", "translate"),
    *("translate-corpus", "cache-teacher", "check-teacher"),
    *("clean", "read-tmx", "read-ldc", "read-sgm", "write-sgm"),
    *("evaluate", "benchmark", "benchmark-training", "vocabulary-map"),
    *("plan", "plugin", "train", "distil"),
]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run `weightdistill ARGUMENTS` like the console script, and return the exit code."""
    monkeypatch.setattr(sys, "argv", ["weightdistill", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


class UpperCaseEngine:
    """Translates into upper case; loses the last sentence if told to."""

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


def test_an_error_is_one_line_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DistillationError("field must be good,\n  but is bad")

    monkeypatch.setattr(translation, "open_model", fail)
    (tmp_path / "source").write_text("a\n", encoding="utf-8")
    code = run(monkeypatch, "translate", "model", "--input", tmp_path / "source", "--output", tmp_path / "out")
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


def test_benchmark_prints_a_table_and_writes_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: Path
) -> None:
    monkeypatch.setattr(evaluation, "open_model", lambda *_, **__: UpperCaseEngine())
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
def test_an_unusable_model_is_named(
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
        ["vocabulary-map", "--source", "source", "--target", "source", "--output"],
        ["plan", "config.yaml", "--json"],
    ],
    ids=lambda command: command[0],
)
def test_an_unwritable_output_is_refused_before_the_work(
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


def test_options_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: Path
) -> None:
    assert run(monkeypatch, "export", "in.pt", "--output", "out.pt", "--quantization", "int8") == 2
    assert "--quantization needs a CTranslate2 model; name its folder with --ctranslate2" in capsys.readouterr().err
    for arguments in (["benchmark"], ["benchmark", "model", "--shape", "base"]):
        assert run(monkeypatch, *arguments, "--input", text) == 2
        assert "either models or --shape; name models, or give --shape alone" in capsys.readouterr().err
    assert run(monkeypatch, "benchmark", "model") == 2
    assert "give a file of source pieces with --input" in capsys.readouterr().err
    tests = ["--bootstrap", 2, "--randomisation", 2]
    assert run(monkeypatch, "evaluate", text, "--reference", text, *tests) == 2
    assert "--bootstrap and --randomisation exclude each other" in capsys.readouterr().err


def test_distill_writes_the_corpus_and_sums_it_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: Path
) -> None:
    monkeypatch.setattr(teaching, "open_model", lambda *_, **__: UpperCaseEngine())
    model, output = tmp_path / "model.pt", tmp_path / "out"
    model.touch()
    command = ["translate-corpus", model, "--source", text, "--output", output, "--shards", 2]
    assert run(monkeypatch, *command, "--only", 1) == 0
    assert capsys.readouterr().out == f"wrote {output}/shards/1-of-2.jsonl\n"
    assert run(monkeypatch, *command) == 0
    summary, next_step = capsys.readouterr().out.splitlines()
    reasons = "1 empty, 0 repeated, 0 too long, 0 unterminated, 0 copy, 0 length ratio"
    assert summary == f"2 of 3 sentences translated; left out: {reasons}"
    assert next_step.startswith("next: ") and "--source-lang SOURCE --target-lang TARGET" in next_step
    assert "--srcdict DATA/dict.SOURCE.txt" in next_step  # no data folder was given that could say it
    assert (output / "target").read_text(encoding="utf-8") == "A B\nC\n"


def test_clean_prints_and_writes_the_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: Path
) -> None:
    counts = tmp_path / "counts.json"
    outputs = ["--output-source", tmp_path / "out.a", "--output-target", tmp_path / "out.b"]
    command = ["clean", "--source", text, "--target", text, *outputs, "--drop-empty", "--json", counts]
    assert run(monkeypatch, *command) == 0
    summary = "3 pairs, 1 empty, 0 too long, 0 ratio, 0 duplicate, 2 kept"
    assert capsys.readouterr().out == f"{text}, {text}: {summary}\nwrote {counts}\n"
    assert json.loads(counts.read_text(encoding="utf-8"))["kept"] == 2


def test_read_tmx_names_its_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    unit = '<tu><tuv xml:lang="en"><seg>one</seg></tuv><tuv xml:lang="de"><seg>eins</seg></tuv></tu>'
    memory, output = tmp_path / "memory.tmx", tmp_path / "text"
    memory.write_text(f"<tmx><body>{unit}</body></tmx>", encoding="utf-8")
    languages = ["--source", "en", "--target", "de"]
    assert run(monkeypatch, "read-tmx", memory, "--output", output, *languages) == 0
    left_out = "0 units without both languages, 0 further variants of a language"
    assert capsys.readouterr().out == f"wrote {output}.en and {output}.de: 1 pairs; left out: {left_out}\n"


def test_read_ldc_reports_every_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: Path
) -> None:
    table, output = tmp_path / "table", tmp_path / "text"
    table.write_text(f"{text}\t{text}\n", encoding="utf-8")
    command = ["read-ldc", table, "--output", output, "--source", "zh", "--target", "en"]
    assert run(monkeypatch, *command) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{text}: 3 pairs; left out: 0 links without a translation, 0 links to missing segments",
        f"wrote {output}.zh and {output}.en: 3 pairs from 1 parts",
    ]
    table.write_text("alone\n", encoding="utf-8")
    assert run(monkeypatch, *command) == 2
    assert f"{table}: line 1 must name a source file, a target file" in capsys.readouterr().err


def test_read_sgm_and_write_sgm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, output = tmp_path / "src.sgm", tmp_path / "mt"
    source.write_text('<srcset setid="mt"><doc docid="A"><seg id="1">one</seg></doc></srcset>', encoding="utf-8")
    assert run(monkeypatch, "read-sgm", source, "--output", output, "--source", "en", "--target", "de") == 0
    assert capsys.readouterr().out == f"wrote {output}.en: source, 1 segments in 1 documents\n"
    target = tmp_path / "tst.sgm"
    options = ["--source", source, "--output", target, "--system", "x", "--language", "German"]
    assert run(monkeypatch, "write-sgm", f"{output}.en", *options) == 0
    assert capsys.readouterr().out == f"wrote {target}: 1 segments\n"
    assert '<seg id="1">one</seg>' in target.read_text(encoding="utf-8")
