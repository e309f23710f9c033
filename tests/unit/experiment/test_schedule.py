"""The schedule by the size of the data: batches, lengths and learning rates that a user can compute by hand."""

import pytest

from weightdistill.errors import DistillationError
from weightdistill.experiment.schedule import Schedule, Stage, passes


def test_a_corpus_of_medium_size_has_420_updates_an_epoch_and_16_epochs():
    schedule = Schedule.of(tokens=420 * 4000, width=512)
    assert (schedule.batch_tokens, schedule.max_tokens, schedule.learning_rate) == (4000, 4000, 7e-4)
    assert (schedule.phase1.updates, schedule.phase2.updates, schedule.student.updates) == (2520, 4200, 6720)
    assert (schedule.phase1.warmup, schedule.phase2.warmup, schedule.student.warmup) == (315, 262, 420)


def test_small_corpora_have_more_epochs_and_large_ones_the_authors_batches():
    small, large = Schedule.of(20_000, 512), Schedule.of(150_000_000, 512)
    assert small.batch_tokens == 1024 and small.phase1.updates + small.phase2.updates == 5000
    assert small.phase1.updates == pytest.approx(5000 * 6 / 16, abs=1)
    assert (large.batch_tokens, large.max_tokens) == (32768, 4096)
    assert large.student.updates == pytest.approx(16 * 150e6 / 32768, abs=1)


@pytest.mark.parametrize(("width", "rate"), [(16, 2.8e-3), (128, 2.8e-3), (256, 1.4e-3), (512, 7e-4), (1024, 7e-4)])
def test_narrow_teachers_have_higher_learning_rates(width, rate):
    assert Schedule.of(1_000_000, width).learning_rate == rate


def test_a_stage_of_another_length_keeps_its_share_of_warm_up():
    schedule = Schedule.of(420 * 4000, 256)
    assert schedule.options("phase1") == {
        "--lr": "0.0014",
        "--warmup-updates": "315",
        "--max-update": "2520",
        "--batch-tokens": "4000",
        "--max-tokens": "4000",
    }
    assert schedule.options("phase2", updates=160)["--warmup-updates"] == "10"
    assert schedule.options("teacher")["--max-update"] == schedule.options("student")["--max-update"] == "6720"
    assert Stage(3, 1 / 16).warmup == 1


@pytest.mark.parametrize(("tokens", "width"), [(0, 512), (1000, 0)])
def test_no_data_and_no_width_have_no_schedule(tokens, width):
    with pytest.raises(DistillationError, match=f"of at least 1, but has {tokens} and {width}; check"):
        Schedule.of(tokens, width)


@pytest.mark.parametrize("devices", [1, 3, 8, 16])
def test_the_passes_of_all_devices_make_the_batch(devices):
    number, share = passes(32768, 4096, devices)
    assert share <= 4096 and number * devices * share == pytest.approx(32768, rel=1e-3)
