"""A training that is killed at any point resumes to the weights of one that was not."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import PHASE1_UPDATES, Training, run, start, weights_of

from weightdistill import checkpoint


def kill_when(condition: Callable[[], bool], command: list[object]) -> None:
    """Start a training and end it with SIGKILL as soon as the condition holds."""
    process = start(*command)
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, f"the training ended before it was killed:\n{process.communicate()[0][-4000:]}"
        assert time.monotonic() < deadline, "the training takes too long"
        time.sleep(0.001)
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_training_killed_twice_ends_with_the_weights_of_an_unbroken_one(tiny: Training, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    command = [folder if part == tiny.folder else part for part in tiny.command]
    last, unfinished = folder / "checkpoint_last.pt", folder / "checkpoint_last.pt.tmp"

    kill_when(last.exists, command)
    first_stop = checkpoint.read(last)["optimizer_history"][-1]["num_updates"]
    unfinished.write_bytes(last.read_bytes()[:1000])  # as a kill within the copy leaves it

    written = last.stat().st_mtime_ns
    kill_when(lambda: last.stat().st_mtime_ns != written and any(folder.glob("*.tmp")), command)
    second_stop = checkpoint.read(last)["optimizer_history"][-1]["num_updates"]
    assert first_stop < second_stop < PHASE1_UPDATES

    log = run(*command)
    assert f"Loaded checkpoint {last}" in log
    assert checkpoint.read(last)["optimizer_history"][-1]["num_updates"] == PHASE1_UPDATES
    unbroken, resumed = weights_of(tiny.last), weights_of(last)
    assert resumed.keys() == unbroken.keys()
    for name, weight in unbroken.items():
        assert torch.equal(resumed[name], weight), name
    assert not list(folder.glob("*.tmp"))
