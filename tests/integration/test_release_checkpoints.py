"""Checkpoints of release 0.1 (tests/data/release-0.1) are read, exported, decoded and resumed by the present code."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import GREEDY, PLUGIN, ROOT, TO_DECODE, fork, hypotheses

from fairseq_plugins.inspection import describe
from weightdistill import checkpoint, files
from weightdistill.errors import DistillationError

RELEASE = ROOT / "tests" / "data" / "release-0.1"
PHASES = ["phase1", "phase2"]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A copy of the folder in which the checkpoints were made, and to which their paths are relative."""
    return Path(shutil.copytree(RELEASE, tmp_path / "release"))


def stored(name: str) -> Any:
    return json.loads((RELEASE / name).read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_inspect_shows_shape_and_teacher(release: Path, phase: str) -> None:
    printed = fork("weightdistill", "inspect", f"{phase}.pt", cwd=release)
    assert "decoder: 1 layers, width 8, feed-forward 16, 2 heads" in printed
    assert f"teacher: teacher.pt  (SHA-256 {files.fingerprint(release / 'teacher.pt')})" in printed
    assert ("W_L" in printed) == (phase == "phase1")


def test_inspect_names_a_generator_without_layer_weights(release: Path) -> None:
    state = checkpoint.read(release / "phase1.pt")
    del state["model"]["generator.classes.encoder/embed_tokens/weight.W_L"]
    checkpoint.write(state, release / "phase1.pt")
    with pytest.raises(DistillationError, match=r"encoder\.embed_tokens\.weight must have a matrix W_L, but has"):
        describe(release / "phase1.pt")


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_the_checkpoint_and_its_export_translate_as_they_did(release: Path, phase: str) -> None:
    printed = fork("weightdistill", "export", f"{phase}.pt", "--output", "plain.pt", cwd=release)
    (difference,) = re.findall(r"largest difference of a logit (\S+)", printed)
    assert float(difference) <= 1e-5
    for path, options in ((f"{phase}.pt", ["--user-dir", PLUGIN]), ("plain.pt", TO_DECODE)):
        printed = fork("fairseq-generate", "data", "--path", path, *options, *GREEDY, cwd=release)
        translations = hypotheses(printed)
        assert [translations[number][1] for number in range(len(translations))] == stored("translations.json")[phase]


@pytest.mark.slow
def test_phase_1_resumes_with_optimiser_and_projections(release: Path) -> None:
    """The losses are those of release 0.1 when it resumed, in the middle of the same epoch."""
    (release / "phase1").mkdir()
    shutil.copy(release / "phase1.pt", release / "phase1" / "checkpoint_last.pt")
    log = fork(
        *("fairseq-train", "data", "--user-dir", PLUGIN, "--save-dir", "phase1", "--max-update", 105),
        *("--task", "distillation", "--teacher-path", "teacher.pt", "--criterion", "distillation"),
        *("--temperature", 2, "--label-smoothing", 0.1, "--matches", "distilbert"),
        *("--arch", "generated_transformer", "--student-preset", "tiny", "--dropout", 0),
        *("--cpu", "--num-workers", 0, "--required-batch-size-multiple", 1, "--max-tokens", 400, "--seed", 1),
        *("--optimizer", "adam", "--lr", 5e-3, "--disable-validation", "--no-epoch-checkpoints"),
        *("--log-format", "simple", "--log-interval", 1),
        cwd=release,
    )
    assert "Loaded checkpoint phase1/checkpoint_last.pt (epoch 20 @ 98 updates)" in log
    losses = {
        update: float(loss) for loss, update in re.findall(r"train_inner .* loss=([\d.]+), .*num_updates=(\d+)", log)
    }
    assert losses == pytest.approx(stored("losses.json"), abs=0.01)
    recorded = checkpoint.read(release / "phase1" / "checkpoint_last.pt")["task_state"]["teachers"]
    assert recorded == [{"path": "teacher.pt", "sha256": files.fingerprint(release / "teacher.pt")}]
