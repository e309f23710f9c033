"""One of the paper's recipes in miniature, as a user tries it: from its data to the table beside the paper's."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_recipe_runs_whole_in_miniature(tmp_path):
    result = subprocess.run(
        [ROOT / "scripts/reproduce.sh", "wmt16-en-ro", "--smoke", "--output", tmp_path],
        env={**os.environ, "WEIGHTDISTILL_VENV": str(Path(sys.executable).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    logs = "".join(f"\n--- {log}\n{log.read_text()[-2000:]}" for log in tmp_path.glob("logs/**/*.log"))
    assert result.returncode == 0, result.stdout[-4000:] + logs
    assert "TINY, the paper" in result.stdout and "BLEU as in the paper" in result.stdout
    scores = list(csv.DictReader((tmp_path / "results/scores.csv").read_text().splitlines()))
    assert {(line["method"], line["preset"]) for line in scores} == {
        ("teacher", ""),
        *((method, preset) for method in ("plain", "kd", "wd") for preset in ("tiny", "small")),
    }
    assert {line["metric"] for line in scores} == {"bleu", "chrf++", "ter", "paper"}
    # batches of 2,048 tokens in two passes, and an average of the last five checkpoints
    assert "'update_freq': [2]" in (tmp_path / "logs/teacher.log").read_text()
    assert "the average of 5 checkpoints" in (tmp_path / "logs/average-students/kd-tiny-1.log").read_text()
