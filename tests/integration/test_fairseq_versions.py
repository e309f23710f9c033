"""Checkpoints that released versions of fairseq wrote (tests/data/fairseq) are read, and score as they did there."""

import json
import re
from pathlib import Path

import pytest
import torch
from commands import ROOT, TO_DECODE, fork

from weightdistill import average, checkpoint
from weightdistill.errors import DistillationError

STORED = ROOT / "tests/data/fairseq"
DATA = ROOT / "tests/data/release-0.1/data"
SCORES = json.loads((STORED / "scores.json").read_text(encoding="utf-8"))


@pytest.fixture(params=SCORES)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.slow
def test_its_export_scores_references_as_it_did(version: str, tmp_path: Path) -> None:
    plain = tmp_path / "plain.pt"
    printed = fork("weightdistill", "export", STORED / f"{version}.pt", "--output", plain, "--data", DATA)
    assert "largest difference of a logit 0.0e+00" in printed
    printed = fork(
        *("fairseq-generate", DATA, "--path", plain, *TO_DECODE, "--gen-subset", "test", "--score-reference", "--cpu"),
        *("--num-workers", 0, "--required-batch-size-multiple", 1),
    )
    scores = {
        int(number): [float(score) for score in line.split()]
        for number, line in re.findall(r"^P-(\d+)\t(.*)$", printed, re.MULTILINE)
    }
    for number, expected in enumerate(SCORES[version]):
        assert scores[number] == pytest.approx(expected, abs=2e-4)


def test_its_average_is_a_checkpoint_without_objects(version: str, tmp_path: Path) -> None:
    checkpoint.write(average.average([STORED / f"{version}.pt"]), tmp_path / "average.pt")
    torch.load(tmp_path / "average.pt", weights_only=True)
    assert not re.search(rb"weightdistill|Meter\W", (tmp_path / "average.pt").read_bytes())


def test_what_fairseq_leaves_to_chance_is_no_sign_of_divergence(version: str) -> None:
    state = checkpoint.read(STORED / f"{version}.pt")
    state["model"]["decoder.embed_positions._float_tensor"].fill_(float("nan"))
    checkpoint.require_finite(state, version)
    state["model"]["decoder.embed_tokens.weight"][0] = float("nan")
    with pytest.raises(DistillationError, match=r"embed_tokens.weight holds NaN"):
        checkpoint.require_finite(state, version)
