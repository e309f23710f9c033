"""The main job: a stock teacher, and from it a student that translates raw text, by the command of the wheel."""

import json
import re
import shutil
from pathlib import Path

import pytest
from commands import ROOT, MakeOnce, fork, run
from installing import run_installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SIZES = [
    f"--{stack}-{option}"
    for stack in ("encoder", "decoder")
    for option in ("layers 2", "embed-dim 32", "ffn-embed-dim 64", "attention-heads 2")
]


@pytest.fixture(scope="session")
def teacher(make_once: MakeOnce) -> Path:
    """A folder with raw text and a teacher as experiments/own-teacher makes it, of invented languages and tiny."""

    def make(folder: Path) -> None:
        toy = ROOT / "experiments/toy/corpus.py"
        run("python", toy, "--output", folder / "toy", "--train", 1500, "--valid", 60, "--test", 40)
        (folder / "raw").mkdir()
        for part in ("train", "valid", "test"):
            for invented, language in (("src", "en"), ("tgt", "de")):
                shutil.copy(folder / f"toy/{part}.{invented}", folder / f"raw/{part}.{language}")
        training = ["--max-epoch", 4, "--lr", 5e-3, "--warmup-updates", 20, *" ".join(SIZES).split()]
        stage = ROOT / "experiments/own-teacher/teacher.sh"
        run("bash", stage, "--raw", folder / "raw", "--output", folder, "--merges", 200, "--", *training)

    return make_once("own-teacher", make)


def options(teacher: Path, **changes: object) -> list[object]:
    """Options of `weightdistill distil` for that teacher, with some changed or, if None, left out."""
    raw = teacher / "raw"
    chosen = {
        **{"teacher": teacher / "checkpoints/checkpoint_best.pt", "subwords": teacher / "codes", "tokeniser": "moses"},
        **{"train": raw / "train", "valid": raw / "valid", "test": raw / "test", "source": "en", "target": "de"},
        **changes,
    }
    return [word for name, value in chosen.items() if value is not None for word in (f"--{name}", value)]


def test_a_stock_teacher_becomes_a_student_that_translates_text(teacher: Path, installed: Path, tmp_path: Path) -> None:
    output = tmp_path / "student"
    command = ["distil", *options(teacher, output=output), "--smoke", "--force"]
    printed = run_installed(installed, *command, cwd=tmp_path)
    assert "wd tiny, phase 2" in printed, "the plan"
    assert f"{output}/model is ready" in printed

    text = (teacher / "raw/test.en").read_text(encoding="utf-8").splitlines()
    source = tmp_path / "source"
    source.write_text("\n".join([*text[:20], "", *text[20:]]) + "\n", encoding="utf-8")
    run_installed(
        installed, "translate", output / "model", "--input", source, "--output", tmp_path / "out", cwd=tmp_path
    )
    translations = (tmp_path / "out").read_text(encoding="utf-8").split("\n")[:-1]
    assert len(translations) == len(text) + 1 and translations[20] == ""
    assert not any("@@" in line or " ." in line for line in translations), "the translations are text"
    evaluated = (output / "bundle/mapped/test.txt", output / "bundle/whole/test.txt")
    kept = evaluated[0] if (output / "model/vmap.txt").exists() else evaluated[1]
    assert translations[:20] + translations[21:] == kept.read_text(encoding="utf-8").split("\n")[:-1]

    card = (output / "model/README.md").read_text(encoding="utf-8")
    results = json.loads((output / "results/results.json").read_text(encoding="utf-8"))
    assert results["settings_sha256"] in card and "40 + 40 updates" in card
    assert results["rows"][0]["training_updates"] == [[]], "the teacher was given"

    languages = ("--source-lang", "en", "--target-lang", "de")
    stock = [installed.with_name("fairseq-interactive"), output / "fairseq", "--path", output / "fairseq/model.pt"]
    pieces = output / "prepared/pieces/test.en"
    written = run_installed(*stock, *languages, "--input", pieces, "--cpu", cwd=tmp_path)
    assert len(re.findall("^H-", written, re.MULTILINE)) == len(text)

    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.pt")}
    run_installed(installed, *command, cwd=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.pt")} == before, "a second run repeats nothing"
    refused = fork("weightdistill", *command, "--preset", "small", fails=True)
    assert "holds a run with another" in refused and "students" in refused


def test_binarised_training_data_are_taken_over(teacher: Path, tmp_path: Path) -> None:
    output = tmp_path / "student"
    words = options(teacher, output=output, train=None, **{"data-bin": teacher / "data-bin"})
    run("weightdistill", "distil", *words, "--", "prepared/data-bin/done")
    assert (output / "prepared/pieces/train.de").read_text() == (teacher / "pieces/train.de").read_text()
    assert not (output / "raw/train.en").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "de", "target": "en"}, "translates en-de, but de-en is asked for"),
        ({"subwords": None}, "at most 1% of the pieces may be missing in .*dict.en.txt"),
        ({"train": "nowhere/train"}, "nowhere/train.en does not exist; give the prefix"),
        ({"test": "train=somewhere"}, "a test set's name must be .* but is 'train'"),
        ({"preset": "huge"}, "preset must be one of tiny, small, but is 'huge'"),
        ({"quantization": "fp16"}, "quantization must be one of int8, .* but is 'fp16'"),
        ({"train": None}, r"training data are either text \(--train\) or binarised \(--data-bin\)"),
    ],
)
def test_unusable_input_is_refused_in_one_line_before_anything_is_written(
    teacher: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    output = tmp_path / "student"
    printed = fork("weightdistill", "distil", *options(teacher, output=output, **changes), fails=True)
    errors = [line for line in printed.splitlines() if line.startswith("weightdistill: error: ")]
    assert len(errors) == 1 and re.search(message, errors[0]), printed
    assert not output.exists()


def test_sides_of_unequal_length_are_refused(teacher: Path, tmp_path: Path) -> None:
    for language in ("en", "de"):
        shutil.copy(teacher / f"raw/valid.{language}", tmp_path)
    with (tmp_path / "valid.de").open("a", encoding="utf-8") as file:
        file.write("eins\n")
    words = options(teacher, output=tmp_path / "student", valid=tmp_path / "valid")
    printed = fork("weightdistill", "distil", *words, fails=True)
    assert "both sides must have the same number of lines" in printed
