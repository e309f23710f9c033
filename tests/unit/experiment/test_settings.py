"""Settings of experiments: one schema, in which nothing misspelt is ignored."""

import json
from pathlib import Path

import pytest
import yaml

from weightdistill.errors import DistillationError
from weightdistill.experiment.settings import read, resolve

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
SHARED = {
    "recipe.yaml": ["wmt16-en-ro", "wmt14-en-de-base", "wmt14-en-de-big", "wmt14-en-de-deep", "nist12-zh-en"],
    "small.yaml": ["en-ro", "tatoeba-de-en"],
    "": ["toy", "multi30k-en-de"],
}
FILES = {name: [shared, f"{name}/config.yaml"] for shared, names in SHARED.items() for name in names}


def files_of(name: str) -> list[Path]:
    return [EXPERIMENTS / file for file in FILES[name] if file]


def toy(**changes: object) -> dict[str, object]:
    """The toy's settings, with some changed; a setting that is None is left out."""
    settings = yaml.safe_load((EXPERIMENTS / "toy/config.yaml").read_text()) | changes
    return {name: value for name, value in settings.items() if value is not None}


def test_every_experiment_of_the_project_is_known() -> None:
    assert {path.parent.name for path in EXPERIMENTS.glob("*/config.yaml")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_settings_of_every_experiment_are_valid_and_survive_json(name: str) -> None:
    settings = read(files_of(name))
    assert settings.name == name
    assert resolve(json.loads(json.dumps(settings.as_dict()))) == settings


# Those of own-teacher are options of a command.
COMMITTED = [path for path in sorted(EXPERIMENTS.glob("*/results/results.json")) if path.parts[-3] in FILES]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parts[-3])
def test_committed_results_are_of_the_settings_beside_them(path: Path) -> None:
    results = json.loads(path.read_text(encoding="utf-8"))
    settings = read(files_of(path.parts[-3]))
    assert results["settings_sha256"] == settings.fingerprint() == resolve(results["config"]).fingerprint()


def test_a_method_takes_over_what_it_does_not_say() -> None:
    methods = {
        "kd": {"title": "KD"},
        "wd": {"title": "WD", "generator": "default", "weight": 0.3, "students": {"tiny": [4]}},
    }
    changes = {"title": None, "distillation": {"weight": 0.7, "temperature": 2}, "timed": "kd", "baselines": []}
    settings = resolve(toy(methods=methods, **changes))
    assert (settings.methods["kd"].weight, settings.methods["wd"].weight) == (0.7, 0.3)
    assert (settings.methods["kd"].students, settings.methods["wd"].students) == ({"tiny": [1]}, {"tiny": [4]})
    assert settings.methods["kd"].stages == ("student",) and settings.methods["wd"].stages == ("phase1", "phase2")
    assert settings.title == "toy"
    assert (settings.evaluation.beam, settings.evaluation.length_penalty) == ([5], [1.0])


def test_later_options_of_a_stage_come_last() -> None:
    methods = {"wd": {"title": "WD", "generator": "default", "options": "--b", "phase2_options": "--c"}}
    changes = {"options": "--shared", "phase2_options": "--a", "reduced": {"training": "--d"}}
    settings = resolve(toy(methods=methods, baselines=[], **changes))
    assert settings.stage_options("wd", "phase2") == "--shared --a --b --c --d"


def test_later_files_change_single_settings(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("benchmark: {beam: 7}\ntests: [other]\nevaluated: [other]\n")
    files = files_of("toy")
    before, after = read(files), read([*files, tmp_path / "more.yaml"])
    assert after.benchmark.beam == 7 and after.benchmark.sentences == before.benchmark.sentences
    assert after.tests == ["other"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"methods": {"wd": {"title": "WD", "generator": "default", "phase1_option": "--x"}}},
            "there is no setting methods.wd.phase1_option; did you mean phase1_options?",
        ),
        ({"vocabulry": 1}, "there is no setting vocabulry; did you mean vocabulary?"),
        ({"evaluation": {"colour": 1}}, "there is no setting evaluation.colour; the settings here are beam, .*metrics"),
        ({"vocabulary": "many"}, "vocabulary: Value 'many'"),
        ({"vocabulary": None}, "settings must have either a vocabulary, .* or text.processing, .* but have neither"),
        ({"text": {"processing": "text.json"}}, "settings must have either a vocabulary, .* but have both"),
        ({"teacher": {"threads": 1}}, "teacher must have either options, .* or the path .* but has neither"),
        ({"teacher": {"options": "--lr 1", "path": "teacher.pt"}}, "teacher must have either .* but has both"),
        ({"teacher": {"path": "teacher.pt"}}, r"teacher\.path needs text\.processing and text\.dictionaries"),
        ({"evaluation": {"engine": "marian"}}, "evaluation.engine must be one of fairseq, ctranslate2"),
        ({"bundle": {"method": "wdd"}}, "bundle.method must be one of .*'wdd'; did you mean wd?"),
        ({"timed": "wdd"}, "timed must be one of plain, .*'wdd'; did you mean wd?"),
        ({"baselines": ["kdd"]}, "baselines must be one of .*'kdd'"),
        ({"evaluated": ["tset"]}, "evaluated must be one of valid, test, but is 'tset'; did you mean test?"),
        (
            {"students": {"tiney": [1]}},
            "^students must be of presets tiny, small, but names 'tiney'; did you mean tiny?",
        ),
        ({"students": {"tiny": 1}}, r"students\.tiny must be a list of seeds, such as \[1, 2\], but is 1"),
        ({"evaluation": {"beam": "wide"}}, "evaluation.beam must be a number or a list of numbers, but is 'wide'"),
        ({"evaluation": {"metrics": "bleu blue"}}, "evaluation.metrics must be one of .*'blue'; did you mean bleu?"),
        (
            {"methods": {"kd": {"title": "KD", "phase1_options": "--x"}}},
            r"methods\.kd\.phase1_options has no effect, since the method's stages are student; set its generator",
        ),
        (
            {"methods": {"wd": {"title": "WD", "generator": "paper", "student_options": "--x"}}},
            "student_options has no effect, since the method's stages are phase1 and phase2; leave out its generator",
        ),
        (
            {"methods": {"wd": {"title": "WD", "generator": "papre"}}},
            "must be one of none, default.*mean paper?",
        ),
        ({"methods": {"kd": {"title": "KD", "data": "translted"}}}, "methods.kd.data must be one of real"),
        ({"methods": {"kd": {"title": "KD", "weight": 1.5}}}, r"weight must be within \[0, 1\], but is 1.5"),
        (
            {"methods": {"kd": {"title": "KD", "cache": 64, "temperature": 2}}},
            r"methods\.kd\.temperature must be that of the cache, 1 .* but is 2",
        ),
        ({"methods": {"Teacher": {"title": "x"}}}, "name must be of lower-case letters"),
        ({"students": {"tiny": []}}, r"^students\.tiny must be a list of seeds"),
        ({"distillation": {"weight": 2}}, r"^distillation\.weight must be within \[0, 1\], but is 2"),
        ({"distillation": {"temperature": 0}}, r"^distillation\.temperature must be positive"),
        (
            {"methods": {"kd": {"title": "KD", "students": {"small": [1]}}}},
            r"methods\.kd\.students must be one of tiny, but is 'small'",
        ),
        ({"evaluated": []}, "evaluated must name at least one, but is empty"),
        ({"evaluation": {"metrics": ""}}, r"evaluation\.metrics must name at least one"),
        ({"evaluation": {"metrics": "bleu comet"}}, r"evaluation\.comet must name the checkpoint of a model"),
        ({"corpora": {"translated": {"shards": 0}}}, r"corpora\.translated\.shards must be at least 1, but is 0"),
        (
            {"corpora": {"more": {"sentences": 9}}},
            r"corpora\.more\.sentences must be 0 or more, .*, but is 9 without so",
        ),
        ({"corpora": {"more": {"sources": "more.en", "sentences": -1}}}, r"the number of its sources, but is -1$"),
        ({"raw": "bash {experment}/download.sh"}, r"raw may name \{experiment\} and \{output\} in braces"),
    ],
)
def test_unusable_settings_are_refused_with_the_remedy(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        resolve(toy(**changes))


BOMB = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "but holds list"),
        ("a: [", "cannot be read as YAML"),
        ("a: " + "[" * 5000 + "]" * 5000, "cannot be read as YAML: maximum recursion depth"),
        ("a: &a [*a]", "cannot be read as YAML: maximum recursion depth"),
        (BOMB, "must stand for at most 1,000,000 values, but its aliases make 1"),
    ],
    ids=["list", "cut", "deep", "cycle", "bomb"],
)
def test_files_that_hold_no_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(DistillationError, match=message):
        read([tmp_path / "config.yaml"])


def test_a_setting_that_has_its_default_leaves_the_fingerprint_as_it_is() -> None:
    settings = resolve(toy())
    assert resolve(toy(evaluation={"engine": "fairseq"})).fingerprint() == settings.fingerprint()
    assert resolve(toy(evaluation={"engine": "ctranslate2"})).fingerprint() != settings.fingerprint()
