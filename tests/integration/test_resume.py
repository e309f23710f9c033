"""A killed training resumes, with the same teachers only, and ends with the weights of an unbroken one."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from building import Built, student
from commands import PHASE1_UPDATES, MakeOnce, Training, fork, run, start, weights_of
from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from fairseq_plugins.loading import translation_task
from weightdistill import checkpoint, files
from weightdistill.errors import DistillationError


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


@pytest.fixture(scope="session")
def two_updates(data: Path, teacher: Path, make_once: MakeOnce) -> Path:
    """The folder of a student's training that stopped after two updates."""
    return make_once("two_updates", lambda folder: fork(*student(data, folder, teacher, "--max-update", 2)))


def resumed(command: list[object]) -> int:
    """Load what a training would go on from, as fairseq-train does; the number of updates that are done."""
    built = Built(command)
    trainer = Trainer(built.config, built.task, built.model, built.criterion)
    checkpoint_utils.load_checkpoint(built.config.checkpoint, trainer)
    return int(trainer.get_num_updates())


def test_a_finished_training_has_no_further_update(
    data: Path, teacher: Path, two_updates: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(two_updates, tmp_path / "finished")
    before = (folder / "checkpoint_last.pt").read_bytes()
    log = fork(*student(data, folder, teacher, "--max-update", 2))
    assert f"nothing to train: {folder}/checkpoint_last.pt has all 2 updates" in log
    assert (folder / "checkpoint_last.pt").read_bytes() == before
    fork(*student(data, folder, teacher, "--max-update", 3))
    assert checkpoint.read(folder / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 3


def test_a_teacher_that_resumes_in_the_second_epoch_sees_its_batches(data: Path, teacher: Path) -> None:
    def sentences_of_last(epochs: list[int]) -> list[list[int]]:
        task = translation_task(checkpoint.read(teacher), data, str(teacher))
        task.load_dataset("train")
        for epoch in epochs:
            batches = task.get_batch_iterator(task.dataset("train"), max_tokens=400, epoch=epoch, seed=1)
        return [batch["id"].tolist() for batch in batches.next_epoch_itr(shuffle=False)]

    assert sentences_of_last([1, 2]) == sentences_of_last([2])


def test_a_training_resumes_with_the_same_teacher_wherever_its_file_is(
    data: Path, teacher: Path, two_updates: Path, tmp_path: Path
) -> None:
    shutil.copy(teacher, tmp_path / "moved.pt")
    assert resumed(student(data, two_updates, tmp_path / "moved.pt")) == 2


def test_a_training_does_not_resume_with_other_teachers(
    data: Path, teacher: Path, second_teacher: Path, two_updates: Path
) -> None:
    last = two_updates / "checkpoint_last.pt"
    before, after = (f"{path} \\(SHA-256 {files.fingerprint(path)}\\)" for path in (teacher, second_teacher))
    with pytest.raises(DistillationError, match=f"^{last} was trained with {before}, but this .* has {after}; give"):
        resumed(student(data, two_updates, second_teacher))
    with pytest.raises(DistillationError, match=f"was trained with {before}, but this training has {before}, {after};"):
        resumed(student(data, two_updates, f"{teacher},{second_teacher}"))


def test_other_teachers_may_go_on_from_the_weights_of_a_training(
    data: Path, second_teacher: Path, two_updates: Path, tmp_path: Path
) -> None:
    reset = ["--reset-optimizer", "--reset-lr-scheduler", "--reset-dataloader", "--reset-meters"]
    assert resumed(student(data, two_updates, second_teacher, *reset)) == 0
    last = two_updates / "checkpoint_last.pt"
    assert resumed(student(data, tmp_path, second_teacher, "--finetune-from-model", last)) == 0


@pytest.mark.slow
def test_phase_1_does_not_resume_with_another_teacher(tiny: Training, second_teacher: Path, teacher: Path) -> None:
    command = [second_teacher if part == teacher else part for part in tiny.command]
    last_line = fork(*command, fails=True).splitlines()[-1]
    assert last_line.startswith("weightdistill: error: ")
    assert f"was trained with {teacher} (SHA-256 {files.fingerprint(teacher)}), but" in last_line
    assert f"has {second_teacher} (SHA-256 {files.fingerprint(second_teacher)}); give the former" in last_line


def test_a_student_that_was_trained_with_another_criterion_is_still_validated(
    two_updates: Path, tmp_path: Path
) -> None:
    """The task used to train it without its teachers, and without a word."""
    state = checkpoint.read(two_updates / "checkpoint_last.pt")
    state["cfg"]["criterion"] = {"_name": "cross_entropy", "sentence_avg": False}
    checkpoint.write(state, tmp_path / "older.pt")
    _, config, task = checkpoint_utils.load_model_ensemble_and_task([str(tmp_path / "older.pt")])
    assert type(task.build_criterion(config.criterion)).__name__ == "CrossEntropyCriterion"
