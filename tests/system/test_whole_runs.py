"""The quick start as a user runs it, and the quality that its students must reach; and a recipe in miniature.

Each takes both cores of a small machine.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The quick start with 6 epochs of the teacher and 4 of each student, instead of 8: half the time, and the same bar.
FEWER_EPOCHS = [
    "--config",
    "reduced={teacher: --max-epoch 6}",
    "student_options=--warmup-updates 200 --max-epoch 4 --no-epoch-checkpoints",
    "phase1_options=--warmup-updates 100 --max-epoch 1 --no-epoch-checkpoints",
    "phase2_options=--warmup-updates 50 --max-epoch 3 --no-epoch-checkpoints",
]


def run(*command: object, output: Path) -> str:
    """Run a script to its end with this interpreter's environment; both of its outputs together."""
    result = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "WEIGHTDISTILL_VENV": str(Path(sys.executable).parents[1]), "QUICKSTART_DIR": str(output)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    logs = "".join(f"\n--- {log}\n{log.read_text()[-2000:]}" for log in output.glob("**/*.log"))
    assert result.returncode == 0, result.stdout[-4000:] + logs
    return result.stdout


def quickstart(output: Path) -> str:
    return run(ROOT / "scripts/quickstart.sh", *FEWER_EPOCHS, output=output)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_text_becomes_a_table_and_a_second_run_repeats_nothing(tmp_path: Path) -> None:
    quickstart(tmp_path)
    check_table(tmp_path)
    check_second_run(tmp_path)
    experiment = tmp_path / "experiment"
    (experiment / "sweeps").mkdir(parents=True)
    shutil.copy(ROOT / "experiments/toy/config.yaml", experiment)
    check_sweep(experiment, tmp_path)
    check_engines(experiment, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_recipe_runs_whole_in_miniature(tmp_path: Path) -> None:
    printed = run(ROOT / "scripts/reproduce.sh", "wmt16-en-ro", "--smoke", "--output", tmp_path, output=tmp_path)
    assert "TINY, the paper" in printed and "BLEU as in the paper" in printed
    scores = list(csv.DictReader((tmp_path / "results/scores.csv").read_text().splitlines()))
    assert {(line["method"], line["preset"]) for line in scores} == {
        ("teacher", ""),
        *((method, preset) for method in ("plain", "kd", "wd") for preset in ("tiny", "small")),
    }
    assert {line["metric"] for line in scores} == {"bleu", "chrf++", "ter", "paper"}
    # batches of 2,048 tokens in two passes, and an average of the last five checkpoints
    assert "'update_freq': [2]" in (tmp_path / "teacher/train.log").read_text()
    assert "the average of 5 checkpoints" in (tmp_path / "logs/average-students/kd-tiny-1.log").read_text()


def check_table(tmp_path: Path) -> None:
    results = json.loads((tmp_path / "results/results.json").read_text())
    rows = {row["method"]: row for row in results["rows"]}
    bleu = {method: row["scores"]["test"]["bleu"]["mean"] for method, row in rows.items()}
    assert bleu["teacher"] > 55
    assert bleu["plain"] < bleu["teacher"] - 5, "the language is so easy that one decoder layer does"
    assert bleu["wd"] > max(bleu["plain"], bleu["kd"]) + 5
    assert rows["plain"]["parameters"] == rows["kd"]["parameters"] == rows["wd"]["parameters"]
    assert rows["wd"]["parameters"] < rows["teacher"]["parameters"] / 2
    assert sum(rows["wd"]["training_updates"][0]) == sum(rows["kd"]["training_updates"][0])
    for method in ("plain", "kd", "wd"):
        for engine in ("fairseq", "ctranslate2"):
            assert rows[method]["speed"][engine]["1"]["ratio"]["median"] > 1.2


def check_second_run(tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    printed = quickstart(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")} == before
    assert "WD student, TINY" in printed
    page = (tmp_path / "results/report.md").read_text(encoding="utf-8")
    assert re.search("^Best on .* is [*][*]WD student[*][*]: ", page, re.MULTILINE), "WD has the highest BLEU"
    pictures = re.findall(r"!\[.*\]\((.*)\)", page)
    assert len(pictures) == 5 and all((tmp_path / "results" / picture).exists() for picture in pictures)


def check_sweep(experiment: Path, tmp_path: Path) -> None:
    variants = ["# Which start?", "student --max-update 60", "student --max-update 60 --student-init middle:select"]
    (experiment / "sweeps/starts.txt").write_text("".join(f"{line}\n" for line in variants))
    options = ("--experiment", experiment, "--name", "starts", "--work", tmp_path)
    run(ROOT / "experiments/sweep.sh", *options, output=tmp_path)
    head, *lines = (experiment / "results/starts.tsv").read_text().splitlines()
    assert head.split("\t") == ["options", "update 0", "update 500", "after 1 epochs", "nll_loss"]
    (_, *random), (_, *copied) = (line.split("\t") for line in lines)
    assert float(copied[2]) < float(random[2]) < float(random[0])
    assert random[1] == "", "there are fewer than 500 updates"


def check_engines(experiment: Path, tmp_path: Path) -> None:
    printed = run(ROOT / "experiments/engines.sh", "--experiment", experiment, "--work", tmp_path, output=tmp_path)
    equal, sentences = map(int, re.findall(r"equal translations: (\d+) of (\d+)", printed)[0])
    assert equal >= 0.99 * sentences
    speeds = json.loads((experiment / "results/engines/speed.json").read_text())["speeds"]
    assert speeds[1]["ratio"]["median"] > 1
    assert (experiment / "results/engines/quality.json").exists()
