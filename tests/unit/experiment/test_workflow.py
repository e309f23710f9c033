"""Names and places in a workflow, as the Snakefile and the gathering of results ask for them."""

from pathlib import Path

import pytest

from weightdistill.experiment import workflow
from weightdistill.experiment.schema import Settings
from weightdistill.experiment.settings import resolve


@pytest.fixture
def settings() -> Settings:
    return resolve(
        {
            **dict.fromkeys(("name", "source", "target", "raw"), "x"),
            "vocabulary": 700,
            "teacher": {"options": "--max-update 1"},
            "tests": ["test"],
            "evaluated": ["test"],
            "students": {"tiny": [1, 2], "small": [1]},
            "corpora": {
                "translated": {"options": "--real 0"},
                "more": {"options": "--samples 2", "sources": "{experiment}/more.en"},
            },
            "methods": {
                "plain": {"title": "plain", "weight": 0, "data": "translated"},
                "kd": {"title": "KD", "cache": 64, "options": "--matches {experiment}/matches.yaml"},
                "wd": {"title": "WD", "generator": "paper", "students": {"tiny": [2], "small": [1]}},
                "cached": {"title": "cached", "cache": 64, "data": "more", "students": {"tiny": [2]}},
                "control": {"title": "control", "generator": "none", "students": {"tiny": [2]}},
            },
            "baselines": ["kd"],
            "timed": "wd",
            "student_options": "--lr 1",
        }
    )


def test_a_student_is_a_method_in_a_shape_with_a_seed(settings: Settings) -> None:
    students = ["plain-tiny-1", "plain-tiny-2", "plain-small-1", "kd-tiny-1", "kd-tiny-2", "kd-small-1"]
    assert workflow.students(settings) == [*students, "wd-tiny-2", "wd-small-1", "cached-tiny-2", "control-tiny-2"]
    assert workflow.systems(settings)[0] == "teacher"
    assert workflow.method_of(workflow.student_name("copied-restart", "tiny", 3)) == "copied-restart"


def test_one_student_of_each_shape_is_timed(settings: Settings) -> None:
    assert workflow.timed(settings) == {None: "teacher", "tiny": "wd-tiny-2", "small": "wd-small-1"}


def test_baselines_are_compared_within_a_shape_and_seed(settings: Settings) -> None:
    groups = workflow.compared(settings)
    assert groups.pop("teacher") == workflow.systems(settings)
    assert groups == {
        "kd-tiny-1": ["kd-tiny-1", "plain-tiny-1"],
        "kd-tiny-2": ["kd-tiny-2", "plain-tiny-2", "wd-tiny-2", "cached-tiny-2", "control-tiny-2"],
        "kd-small-1": ["kd-small-1", "plain-small-1", "wd-small-1"],
    }


def test_places_follow_the_methods_stages(settings: Settings) -> None:
    assert workflow.data_folder(settings, "plain") == "corpora/translated/data-bin"
    assert workflow.data_folder(settings, "wd") == "prepared/data-bin"
    assert workflow.training_folders(settings, "teacher") == ["teacher"]
    assert workflow.training_folders(settings, "kd-tiny-1") == ["students/kd-tiny-1"]
    assert workflow.training_folders(settings, "wd-tiny-2") == ["phase1/wd-tiny-2", "phase2/wd-tiny-2"]
    assert workflow.exported_checkpoint(settings, "teacher") == "teacher/average.pt"
    assert workflow.exported_checkpoint(settings, "wd-tiny-2") == "phase2/wd-tiny-2/checkpoint_best.pt"
    settings.average = 5
    assert workflow.exported_checkpoint(settings, "kd-tiny-1") == "students/kd-tiny-1/average.pt"


def test_options_of_a_training_name_the_experiment_and_the_cache(settings: Settings) -> None:
    options = workflow.training_options(settings, "kd", "student", Path("/with blank"))
    assert options == "--lr 1 --matches '/with blank'/matches.yaml --teacher-cache caches/64"
    assert workflow.distillation_options(settings, "plain") == "--distillation-weight 0 --temperature 1"


def test_a_cache_is_of_the_data_that_the_method_learns_from(settings: Settings) -> None:
    folders = {name: workflow.cache_folder(settings, name) for name in ("plain", "kd", "cached")}
    assert folders == {"plain": None, "kd": "caches/64", "cached": "caches/more-64"}


def test_further_sources_are_text_of_the_settings_and_pieces_in_the_corpus(settings: Settings) -> None:
    experiment = Path("/with blank")
    assert workflow.source_text(settings, "more", experiment) == "/with blank/more.en"
    assert workflow.translation_options(settings, "more") == "--samples 2 --sources corpora/more/sources"
    assert workflow.source_pieces(settings, "translated") is None
    assert workflow.translation_options(settings, "translated") == "--real 0"


def test_the_control_trains_no_generator(settings: Settings) -> None:
    assert workflow.first_stage(settings, "wd") == "phase1.sh --generator paper"
    assert workflow.first_stage(settings, "control") == "train_student.sh"


def test_a_search_is_tuned_where_there_is_a_choice(settings: Settings) -> None:
    assert not workflow.is_tuned(settings)
    settings.evaluation.beam = [4, 6]
    assert workflow.is_tuned(settings)


def test_a_given_teacher_is_used_where_it_lies(settings: Settings) -> None:
    assert workflow.teacher_checkpoints(settings) == ["teacher/average.pt"]
    assert workflow.preparation_options(settings) == "--vocab-size 700"
    changes = {
        "vocabulary": None,
        "teacher": {"path": "/a/one.pt, /a/two.pt"},
        "text": {"processing": "/a/my text.json", "dictionaries": "/a"},
        "bundle": {"method": "wd"},
    }
    given = resolve({**settings.as_dict(), **changes})
    assert workflow.teacher_checkpoints(given) == ["/a/one.pt", "/a/two.pt"]
    assert workflow.exported_checkpoint(given, "teacher") == "/a/one.pt"
    assert workflow.training_folders(given, "teacher") == []
    assert workflow.preparation_options(given) == "--text '/a/my text.json' --dictionaries /a"
    assert workflow.bundled(given) == "wd-tiny-2"
    assert workflow.bundled(settings) is None
