"""Progress of trainings: read off their logs, shown for one and for a whole workflow."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from weightdistill.experiment.progress import State, TrainingMonitor, run_training, run_workflow


def inner(updates: int, epochs: float) -> str:
    numbers = {"epoch": int(epochs) + 1, "update": epochs, "loss": "3.5", "num_updates": str(updates)}
    return f"2026-01-01 00:00:00 | INFO | train_inner | {json.dumps(numbers)}\n"


@pytest.mark.parametrize(
    ("limits", "done"),
    [
        (["--max-update", "100"], 0.25),
        (["--max-epoch=8"], 0.125),
        (["--max-update", "100", "--max-epoch", "2"], 0.5),
        ([], 0.0),
    ],
)
def test_a_training_ends_at_its_first_limit(tmp_path: Path, limits: list[str], done: float) -> None:
    log = tmp_path / "train.log"
    log.write_text(inner(90, 1.9))
    monitor = TrainingMonitor(log, ["fairseq-train", "data", *limits])
    assert monitor.poll() is None, "an earlier run's lines are no progress of this one"
    with log.open("a") as file:
        file.write(inner(10, 0.4) + inner(25, 1.0)[:-5])
    state = monitor.poll()
    assert state is not None and (state.updates, state.seconds_left) == (10, None)
    with log.open("a") as file:
        file.write(inner(25, 1.0)[-5:])
    state = monitor.poll()
    limit = 100 if "100" in limits else 0
    assert state == State(done, 2, 25, "3.5", state.seconds_left if state else None, limit)
    assert monitor.poll() is None


def test_time_left_is_that_of_the_part_that_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "train.log"
    log.touch()
    now = iter([0.0, 100.0, 130.0])
    monkeypatch.setattr("weightdistill.experiment.progress.time.monotonic", lambda: next(now))
    monitor = TrainingMonitor(log, ["--max-update", "100"])
    with log.open("a") as file:
        file.write(inner(40, 1.0) + inner(50, 1.1))  # resumed at 40 of 100
    state = monitor.poll()
    assert state is not None and state.seconds_left == pytest.approx(30 / 0.1 * 0.5)
    assert str(state) == "50%, epoch 2, update 50/100, loss 3.5, 150 s left"


def test_a_training_runs_with_its_output_in_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "wd" / "train.log"
    program = f"import time; print({inner(50, 0.5)!r}, flush=True); time.sleep(1.5)"
    assert run_training([sys.executable, "-c", program, "--max-update", "100"], log).code == 0
    assert "train_inner" in log.read_text()
    assert not (tmp_path / "wd/progress.json").exists()
    assert "wd: 50%, epoch 1, update 50/100, loss 3.5" in capfd.readouterr().out


def test_a_training_goes_on_where_its_progress_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "progress.json").mkdir()
    program = f"import time; print({inner(50, 0.5)!r}, flush=True); time.sleep(1.5); print('finished')"
    finished = run_training([sys.executable, "-c", program, "--max-update", "100"], tmp_path / "train.log")
    assert (finished.code, finished.last_lines[-1]) == (0, "finished")


def test_a_training_that_fails_gives_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("of an earlier run\n")
    finished = run_training([sys.executable, "-c", "import sys; print('out of memory'); sys.exit(3)"], log)
    assert (finished.code, finished.last_lines) == (3, ["out of memory"])


def test_a_training_has_the_variables_that_it_is_given(tmp_path: Path) -> None:
    program = "import os, sys; sys.exit(int(os.environ['CODE']))"
    assert run_training([sys.executable, "-c", program], tmp_path / "train.log", {"CODE": "7"}).code == 7


def test_a_workflow_shows_trainings_at_work_and_no_stale_ones(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = json.dumps(asdict(State(0.5, 1, 10, "3", 60.0)))
    trainings = [("teacher", state, 0), ("students/kd-tiny-1", state, 0), ("phase1/killed", state, 3600)]
    for folder, text, seconds in [*trainings, ("phase1/empty", "", 0), ("phase1/newer", '{"other": 1}', 0)]:
        (tmp_path / folder).mkdir(parents=True)
        file = tmp_path / folder / "progress.json"
        file.write_text(text)
        os.utime(file, (time.time() - seconds,) * 2)
    code = run_workflow([sys.executable, "-c", "print('training the teacher'); raise SystemExit(4)"], tmp_path)
    printed = capfd.readouterr().out
    assert code == 4 and "training the teacher" in printed
    assert "students/kd-tiny-1: 50%, epoch 1, update 10, loss 3, 60 s left" in printed and "  teacher: " in printed
    assert not any(folder in printed for folder in ("killed", "empty", "newer"))


def test_a_workflow_that_is_killed_gives_the_shells_exit_code(tmp_path: Path) -> None:
    program = "import os; os.kill(os.getpid(), 15)"
    command = [sys.executable, "-m", "weightdistill.experiment.progress", "--folder", tmp_path, "--"]
    done = subprocess.run([*map(str, command), sys.executable, "-c", program], check=False)
    assert done.returncode == 128 + signal.SIGTERM
