"""No command and no stage replaces a checkpoint, a corpus or a folder that it reads; each ends before any work."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import BIN, ROOT, Corpus, fork, phase1, run

STAGES = ROOT / "scripts"


@pytest.fixture
def workplace(corpus: Corpus, teacher: Path, tmp_path: Path) -> Iterator[Path]:
    """Copies of the corpus, of the teacher and of its translations, which the test must leave as they are."""
    shutil.copytree(corpus.data, tmp_path / "data-bin")
    shutil.copytree(corpus.pieces, tmp_path / "pieces")
    (tmp_path / "teacher").mkdir()
    for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
        shutil.copy(teacher, tmp_path / "teacher" / name)
    for name, content in (("source", "w01 w02\n"), ("target", "w02 w01\n")):
        (tmp_path / "translated").mkdir(exist_ok=True)
        (tmp_path / "translated" / name).write_text(content, encoding="utf-8")
    before = content_of(tmp_path)
    yield tmp_path
    assert content_of(tmp_path) == before


def content_of(folder: Path) -> dict[Path, bytes]:
    """Every file, but locks and logs."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", "train.log")
    }


@pytest.mark.parametrize(
    "arguments",
    [
        "train phase1 {0}/data-bin --teacher {0}/teacher/checkpoint_best.pt --output {0}/teacher",
        "train student {0}/data-bin --teacher {0}/teacher/checkpoint_last.pt --output {0}/teacher/../teacher",
        "train phase2 {0}/data-bin --teacher {0}/teacher/checkpoint_best.pt --student {0}/teacher/checkpoint_last.pt "
        "--output {0}/teacher",
        "cache-teacher {0}/teacher/checkpoint_best.pt --data {0}/data-bin --output {0}/teacher "
        "--subset checkpoint_best.pt",
        "translate-corpus {0}/teacher/checkpoint_best.pt --source {0}/translated/source --output {0}/translated "
        "--data {0}/data-bin",
        "translate-corpus {0}/teacher/checkpoint_best.pt --source {0}/pieces/train.aa --sources {0}/translated/target "
        "--output {0}/translated --data {0}/data-bin",
        "export {0}/teacher/checkpoint_best.pt --output {0}/teacher/checkpoint_best.pt",
        "export {0}/teacher/checkpoint_best.pt --output {0}/student.pt --safetensors {0}/teacher/../student.pt",
        "export {0}/teacher/checkpoint_best.pt --output {0}/teacher/checkpoint_last.pt --force "
        "--teacher {0}/teacher/checkpoint_last.pt",
        "export {0}/teacher/checkpoint_best.pt --data {0}/data-bin --output {0}/data-bin/dict.aa.txt --force",
    ],
)
def test_a_command_replaces_nothing_that_it_reads(workplace: Path, arguments: str) -> None:
    printed = fork("weightdistill", *arguments.format(workplace).split(), fails=True)
    assert "weightdistill: error: " in printed and printed.count("\n") == 1
    assert "must not replace what is read" in printed or "must name different files" in printed


@pytest.mark.slow
def test_fairseq_train_does_not_replace_its_teacher(workplace: Path) -> None:
    (workplace / "teacher/checkpoint_last.pt").rename(
        workplace / "last.pt"
    )  # else it would be resumed, and does not fit
    command = phase1(workplace / "data-bin", workplace / "teacher", workplace / "teacher/checkpoint_best.pt")
    printed = run(*command, "--student-preset", "tiny", "--max-update", 2, fails=True)
    assert "weightdistill: error: --save-dir must not replace what is read, but would replace" in printed
    (workplace / "last.pt").rename(workplace / "teacher/checkpoint_last.pt")


@pytest.mark.parametrize(
    "arguments",
    [
        "clean.sh --train {0}/pieces/train --valid {0}/pieces/valid --test test={0}/pieces/test --output {0}/pieces",
        "clean.sh --train {0}/pieces/train --valid {0}/pieces/valid --test valid={0}/pieces/test --output {0}/new",
        "clean.sh --train {0}/pieces/train --train {0}/translated/train --valid {0}/pieces/valid "
        "--test test={0}/pieces/test --output {0}/new",
        "prepare.sh --raw {0}/pieces --output {0}",
        "prepare.sh --raw {0}/raw --output {0} --text {0}",
        "prepare.sh --raw {0}/raw --output {0} --text {0}/text.json --dictionaries {0}/data-bin",
        "prepare.sh --raw {0}/raw --output {0} --text {0}/text.json --train-bin {0}/data-bin",
        "translate.sh --prepared {0} --output {0} --model {0}/teacher/checkpoint_best.pt",
        "translate.sh --prepared {0}/prepared --output {0} --model {0}/teacher/checkpoint_best.pt "
        "--sources {0}/pieces/train.aa",
        "tune.sh --model {0}/teacher/checkpoint_best.pt --prepared {0} --raw {0} "
        "--output {0}/teacher/checkpoint_best.pt",
    ],
)
def test_a_stage_replaces_nothing_that_it_reads(workplace: Path, arguments: str) -> None:
    stage, *options = arguments.format(workplace).split()
    command = ["bash", STAGES / stage, *options, "--source", "aa", "--target", "bb"]
    printed = run("env", f"WEIGHTDISTILL_VENV={BIN.parent}", *command, fails=True)
    assert printed.startswith(f"{stage}: error: ") and printed.count("\n") == 1
    assert "must not replace what is read" in printed or "must name different files" in printed


def test_an_average_replaces_none_of_its_checkpoints(workplace: Path) -> None:
    checkpoints = [workplace / "teacher" / name for name in ("checkpoint_best.pt", "checkpoint_last.pt")]
    printed = run("python", "-m", "weightdistill.average", checkpoints[0], *checkpoints, fails=True)
    assert printed.startswith("average: error: the average must not replace what is read")
