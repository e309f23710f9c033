"""The whole way from text to table, as scripts/quickstart.sh goes it, on less data and with fewer updates."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def run_workflow(config: Path, work: Path) -> str:
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "experiments/Snakefile"]
    result = subprocess.run(
        [*command, "--configfile", config, "--directory", work, "--cores", "2"],
        env={**os.environ, "WEIGHTDISTILL_VENV": str(Path(sys.executable).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    logs = "".join(f"\n--- {log}\n{log.read_text()[-2000:]}" for log in work.glob("logs/*.log"))
    assert result.returncode == 0, result.stdout[-4000:] + logs
    return result.stdout


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """The toy experiment's own configuration, with 1,500 sentence pairs and one epoch a training."""
    settings = yaml.safe_load((ROOT / "experiments/toy/config.yaml").read_text())
    settings["raw"] += " --train 1500 --valid 40 --test 40"
    settings["vocabulary"] = 500
    settings["teacher"] |= {"average": 1, "options": one_epoch(settings["teacher"]["options"])}
    for options in ("student_options", "phase1_options", "phase2_options"):
        settings[options] = one_epoch(settings[options])
    # models that have hardly learnt to end a sentence decode to the limit
    settings["distillation"]["beam"] = settings["evaluation"]["beam"] = 1
    settings["evaluation"]["resamples"] = 50
    settings["benchmark"] |= {"sentences": 8, "repetitions": 1}
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def one_epoch(options: str) -> str:
    return re.sub(r"--max-epoch \d+", "--max-epoch 1", options)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_text_becomes_a_table_and_a_second_run_repeats_nothing(config, tmp_path):
    run_workflow(config, tmp_path)
    results = json.loads((tmp_path / "results/results.json").read_text())
    rows = {row["method"]: row for row in results["rows"]}
    assert set(rows) == {"teacher", "plain", "kd", "wd"}
    assert rows["plain"]["parameters"] == rows["kd"]["parameters"] == rows["wd"]["parameters"]
    assert rows["wd"]["parameters"] < rows["teacher"]["parameters"]
    for row in rows.values():
        assert 0 <= row["scores"]["test"]["bleu"]["mean"] <= 100
        assert set(row["speed"]) == {"fairseq", "ctranslate2"}
    # one epoch each: what phase 1 and phase 2 have in all is twice what the others have
    assert sum(rows["wd"]["training_updates"][0]) == 2 * sum(rows["kd"]["training_updates"][0])
    table = (tmp_path / "results/table.md").read_text()
    assert "WD student, TINY" in table

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    run_workflow(config, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")} == before
