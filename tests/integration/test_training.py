"""Phase 1 and phase 2 with stock fairseq-train: what is trained, what is saved, and on how many processes."""

import socket
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from commands import PLUGIN, TRAINING, hypotheses, phase1, run, start
from conftest import PHASE1_UPDATES, Corpus, Training

from weightdistill import checkpoint


def optimiser_sizes(state: dict) -> list[int]:
    """Entries of each moment that the optimiser keeps."""
    moments = state["last_optimizer_state"]["state"].values()
    return sorted(moment["exp_avg"].numel() for moment in moments)


def trained_sizes(state: dict) -> int:
    return sum(weight.numel() for name, weight in state["model"].items() if name != "teacher_fingerprint")


@pytest.mark.slow
def test_a_phase_1_checkpoint_holds_the_generator_and_nothing_of_the_teacher(tiny: Training, teacher: Path) -> None:
    state = checkpoint.read(tiny.last)
    assert state["optimizer_history"][-1]["num_updates"] == PHASE1_UPDATES
    assert {name.partition(".")[0] for name in state["model"]} <= {"generator", "teacher_fingerprint", "encoder", "decoder"}
    stock = [name for name in state["model"] if name.startswith(("encoder.", "decoder."))]
    assert all(name.endswith(("version", "_float_tensor")) for name in stock)
    theirs = {weight.shape: weight for weight in checkpoint.read(teacher)["model"].values() if weight.dim() == 2}
    for weight in state["model"].values():
        if weight.shape in theirs:
            assert not torch.equal(weight, theirs[weight.shape])


