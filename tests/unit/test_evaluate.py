"""Scores equal sacrebleu's own, and unusable text is refused by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from weightdistill.errors import DistillationError
from weightdistill.evaluate import evaluate, evaluate_files, read_lines

REFERENCE = ["A man rides a red bicycle.", "Two dogs play in the snow.", "The woman reads a long book."] * 10
SAME = list(REFERENCE)
CLOSE = ["A man rides a bicycle.", "Two dogs play in the snow.", "A woman reads a long book."] * 10
FAR = ["Some man on a bicycle there.", "Dogs in snow.", "The woman has a book."] * 10


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_scores_and_signatures_equal_those_of_the_sacrebleu_command(tmp_path: Path) -> None:
    files = [write(tmp_path / name, lines) for name, lines in (("hyp", FAR), ("ref1", REFERENCE), ("ref2", CLOSE))]
    command = [sys.executable, "-m", "sacrebleu", str(files[1]), str(files[2]), "-i", str(files[0])]
    command += ["-m", "bleu", "chrf", "--lowercase", "--chrf-lowercase", "-w", "6"]
    expected = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    system = evaluate_files(files[:1], files[1:], lowercase=True).systems[0]

    assert [system.bleu.score, system.chrf.score] == pytest.approx([score["score"] for score in expected], abs=1e-5)
    assert [system.bleu.signature, system.chrf.signature] == [score["signature"] for score in expected]
    assert "nrefs:2" in system.bleu.signature and "case:lc" in system.bleu.signature


def test_a_second_reference_can_only_help() -> None:
    one = evaluate([("hyp", FAR)], [REFERENCE]).systems[0]
    two = evaluate([("hyp", FAR)], [REFERENCE, FAR]).systems[0]
    assert one.bleu.score < 100 and two.bleu.score == pytest.approx(100)


def test_tokenizer_is_used_and_named() -> None:
    system = evaluate([("hyp", CLOSE)], [REFERENCE], tokenize="char").systems[0]
    assert "tok:char" in system.bleu.signature
    assert system.bleu.score != evaluate([("hyp", CLOSE)], [REFERENCE]).systems[0].bleu.score


def test_bootstrap_tells_unequal_systems_apart_and_equal_ones_not() -> None:
    result = evaluate([("base", CLOSE), ("equal", CLOSE), ("worse", FAR)], [REFERENCE], resamples=200)
    base, equal, worse = result.systems
    assert base.bleu.p_value is None and base.bleu.half_interval is not None
    assert equal.bleu.p_value == equal.chrf.p_value == 1
    assert worse.bleu.p_value is not None and worse.bleu.p_value < 0.05
    assert worse.chrf.p_value is not None and worse.chrf.p_value < 0.05
    assert "200 resamples, seed 12345" in result.table()


def test_bootstrap_repeats_and_its_seed_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    results = [evaluate([("a", CLOSE), ("b", FAR)], [REFERENCE], resamples=50) for _ in range(2)]
    assert results[0] == results[1]
    assert json.loads(json.dumps(results[0].as_dict()))["seed"] == 7


@pytest.mark.parametrize("seed", ["0", "none", "-3"])
def test_seed_that_would_not_repeat_is_refused(monkeypatch: pytest.MonkeyPatch, seed: str) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", seed)
    with pytest.raises(DistillationError, match=f"SACREBLEU_SEED must be a positive whole number, but is '{seed}'"):
        evaluate([("a", CLOSE), ("b", FAR)], [REFERENCE], resamples=50)


def test_another_number_of_hypotheses_names_both_files_and_counts(tmp_path: Path) -> None:
    hypotheses, reference = write(tmp_path / "hyp.txt", FAR[:-1]), write(tmp_path / "ref.txt", REFERENCE)
    with pytest.raises(DistillationError, match=r"hyp\.txt has 29 and .*ref\.txt has 30"):
        evaluate_files([hypotheses], [reference])


def test_references_of_different_length_are_refused(tmp_path: Path) -> None:
    files = [write(tmp_path / "a", REFERENCE), write(tmp_path / "b", REFERENCE[:-2])]
    with pytest.raises(DistillationError, match=r"a has 30 and .*b has 28"):
        evaluate_files(files[:1], files)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"", "is empty"), (b"\n\n", "is empty"), (b"good\nb\xe4d\n", "line 2 is not UTF-8")],
)
def test_unusable_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "hyp.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DistillationError, match=rf"hyp\.txt.* {message}"):
        read_lines(path)


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("one\u2028still one\r\n\nthree\x0bstill three".encode())
    assert read_lines(path) == ["one\u2028still one", "", "three\x0bstill three"]


def test_unknown_tokenizer_lists_the_known_ones() -> None:
    with pytest.raises(DistillationError, match=r"tokenize must be one of .*13a.*, but is 'klingon'"):
        evaluate([("a", CLOSE)], [REFERENCE], tokenize="klingon")
