"""Logs of fairseq-train with --log-format json."""

from pathlib import Path

from weightdistill.experiment.training_log import records, validation_losses, validations


def valid(updates: int, loss: float) -> str:
    numbers = f'{{"epoch": 1, "valid_loss": "9.5", "valid_nll_loss": "{loss}", "valid_num_updates": "{updates}"}}'
    return f"2026-01-01 00:00:00 | INFO | valid | {numbers}\n"


def test_lines_with_numbers_are_found_among_others() -> None:
    lines = ["INFO | fairseq.trainer | begin training epoch 1\n", valid(10, 5.0), 'INFO | train | {"cut": "by a ki']
    ((name, numbers),) = records(lines)
    assert name == "valid" and numbers["valid_num_updates"] == "10"


def test_a_training_started_again_leaves_nothing_of_the_old_one_in_its_curve(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(valid(10, 5.0) + valid(20, 4.0) + valid(30, 3.0) + valid(10, 6.0) + valid(20, 5.5))
    assert validation_losses(log) == {10: 6.0, 20: 5.5}
    assert [validation.loss for validation in validations(log)] == [9.5, 9.5]


def test_no_log_has_no_validations(tmp_path: Path) -> None:
    assert validation_losses(tmp_path / "absent") == {}
