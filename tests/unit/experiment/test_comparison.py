"""Which systems are compared, and how far apart they are."""

from dataclasses import replace
from typing import Any

import pytest

from weightdistill.errors import DistillationError
from weightdistill.experiment.comparison import Experiment
from weightdistill.experiment.settings import resolve


def test_students_are_ranked_by_the_validation_set(results: dict[str, Any]) -> None:
    experiment = Experiment(results)
    # on the tests wd-fixed is ahead of all, copied ahead of wd on one
    assert [system.key for system in experiment.students("tiny")] == [
        "wd-tiny",
        "copied-tiny",
        "wd-fixed-tiny",
        "kd-tiny",
        "plain-tiny",
    ]
    assert [system.key for system in experiment.best_of_groups("tiny")] == [
        "wd-tiny",
        "copied-tiny",
        "kd-tiny",
        "plain-tiny",
    ]


def test_without_a_validation_set_the_tests_rank(results: dict[str, Any]) -> None:
    results["config"]["evaluated"] = ["here", "there"]
    experiment = Experiment(results)
    assert experiment.judges == experiment.tests == ["here", "there"]
    assert experiment.students("tiny")[0].key == "wd-fixed-tiny"


def test_a_mean_over_sets_deviates_as_its_seeds_do(results: dict[str, Any]) -> None:
    teacher, plain = (
        next(system for system in Experiment(results).systems if system.key == key) for key in ("teacher", "plain-tiny")
    )
    # seeds have 19 and 9, 21 and 11: means of 14 and 16
    assert plain.bleu(["here", "there"]) == {"mean": 15.0, "sd": pytest.approx(2**0.5), "values": [14.0, 16.0]}
    assert teacher.bleu(["here"])["sd"] is None


def test_differences_come_with_the_p_value_of_either_direction(results: dict[str, Any]) -> None:
    experiment = Experiment(results)
    wd, kd, copied = (
        next(system for system in experiment.systems if system.key == f"{name}-tiny") for name in ("wd", "kd", "copied")
    )
    ahead, behind = experiment.difference(wd, kd, "there"), experiment.difference(kd, wd, "there")
    assert ahead.mean == pytest.approx((5.0 + 5.4) / 2) and ahead.p_value == 0.01 and ahead.significant
    assert (behind.mean, behind.p_value) == (-ahead.mean, 0.01)
    assert not experiment.difference(wd, kd, "here").significant
    untested = experiment.difference(wd, copied, "here")
    assert untested.mean == pytest.approx(-0.8) and untested.p_value is None and not untested.significant
    assert experiment.difference(copied, experiment.teacher, "here").mean == pytest.approx(-2)


def test_pictures_show_no_variants_unless_they_are_the_best_of_their_group(results: dict[str, Any]) -> None:
    def shown() -> set[str]:
        return {system.key for system in Experiment(results).main}

    assert "wd-fixed-tiny" not in shown() and {"teacher", "wd-tiny", "wd-small", "copied-tiny"} <= shown()
    (fixed,) = (row for row in results["rows"] if row["method"] == "wd-fixed")
    fixed["scores"]["valid"]["bleu"]["values"] = [40.0]
    assert "wd-fixed-tiny" in shown()


def test_other_settings_may_give_title_groups_and_notes(results: dict[str, Any]) -> None:
    settings = resolve(results["config"])
    settings.title = "Another title"
    settings.methods = {"wd": replace(settings.methods["wd"], group="Generated", note="Another note.")}
    experiment = Experiment(results, settings)
    systems = {system.key: system for system in experiment.systems}
    assert experiment.title == "Another title"
    assert (systems["wd-tiny"].group, systems["wd-tiny"].note) == ("Generated", "Another note.")
    assert (systems["kd-tiny"].group, systems["kd-tiny"].note) == ("KD student", ""), "the settings do not have it"


def test_results_without_bleu_are_refused(results: dict[str, Any]) -> None:
    results["signatures"] = {"ter": "nrefs:1"}
    with pytest.raises(DistillationError, match=r"the metrics of toy are ter; add bleu to evaluation\.metrics"):
        Experiment(results)
