"""Plans count what models of these shapes really have, and follow the settings."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from weightdistill.errors import DistillationError
from weightdistill.experiment.cost import Machine, Model, generator_cost
from weightdistill.experiment.plan import check_table, plan, read_results
from weightdistill.experiment.settings import read, resolve
from weightdistill.method.shape import TEACHERS

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
CPU = Machine(1e11)


@pytest.mark.parametrize("tied", ["none", "decoder", "all"])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_weights_are_those_of_a_real_model(make_state, tiny_student, tied, pre_norm):
    # 4 = the encoder's width too, so that all embeddings can be tied
    state = make_state(tiny_student, vocabularies=(7, 7), tie=tied, pre_norm=pre_norm)
    distinct = {id(weight): weight for weight in state.values()}
    model = Model(tiny_student, 7, tied, pre_norm)
    assert model.parameters() == sum(weight.numel() for weight in distinct.values())
    assert all(tuple(state[name].shape) == size for name, size in model.weights().items())


def test_the_generators_parameters_are_those_of_a_real_generator(build, teacher_shape, tiny_student, uneven_student):
    for student in (tiny_student, uneven_student):
        real = build(student, dtype=torch.float32, vocabularies=(7, 7))
        parameters, operations = generator_cost(Model(teacher_shape, 7), Model(student, 7))
        trained = sum(parameter.numel() for parameter in real.parameters())
        assert parameters == trained and operations > 0


def test_an_experiment_costs_the_sum_of_its_stages_and_a_smoke_test_little():
    files = [EXPERIMENTS / "recipe.yaml", EXPERIMENTS / "wmt14-en-de-base/config.yaml"]
    full = plan(read(files), CPU)
    stages = {stage.name: stage for stage in full.stages}
    assert list(stages)[:2] == ["teacher", "corpus real+distilled"]
    assert stages["teacher"].updates == 100_000 and stages["wd tiny, phase 1"].updates == 30_000
    assert stages["teacher"].parameters == stages["corpus real+distilled"].parameters > 90e6
    assert 1.0 < stages["kd tiny"].seconds / stages["plain tiny"].seconds < 3, "the teacher is at work"
    assert stages["wd tiny, phase 1"].memory > stages["wd tiny, phase 2"].memory
    assert "all, one after the other" in full.table() and "teacher" in full.table()
    one, eight = (plan(read(files), Machine(1e14, devices, "cuda")).stages[1] for devices in (1, 8))
    assert one.name.startswith("corpus") and one.seconds == pytest.approx(8 * eight.seconds)
    smoke = plan(read([files[0], EXPERIMENTS / "smoke.yaml", files[1]]), CPU)
    assert sum(s.seconds for s in smoke.stages if "corpus" not in s.name) < 900
    assert {s.name for s in smoke.stages} == set(stages)


def test_a_first_phase_without_generator_costs_what_a_student_does():
    config = read([EXPERIMENTS / "recipe.yaml", EXPERIMENTS / "wmt14-en-de-base/config.yaml"]).as_dict()
    config |= {"methods": {"copied": {"title": "control", "generator": "none"}}, "timed": "copied", "baselines": []}
    first, second = (stage for stage in plan(resolve(config), CPU).stages if stage.system == "copied tiny")
    assert (first.name, first.parameters) == ("copied tiny, phase 1", second.parameters)


def test_a_cache_is_planned_once_for_all_that_read_it():
    config = read([EXPERIMENTS / "small.yaml", EXPERIMENTS / "en-ro/config.yaml"])
    (cache,) = (stage for stage in plan(config, CPU).stages if stage.name == "cache of 64 words")
    assert cache.disk == 258 * config.size.tokens and 0 < cache.seconds < plan(config, CPU).stages[0].seconds


def test_a_corpus_costs_what_it_translates_and_its_size_counts_in_all_that_reads_it():
    settings = read([EXPERIMENTS / "small.yaml", EXPERIMENTS / "en-ro/config.yaml"]).as_dict()
    pairs, tokens = settings["size"]["pairs"], settings["size"]["tokens"]
    more = {"sources": "more.en", "sentences": 2 * pairs}
    settings["corpora"] = {
        "beam": {"options": "--real 1 --beam 5"},
        "more": {"options": "--real 1 --beam 5", **more},
        "samples": {"options": "--real 0 --samples 5", **more},
    }
    epoch = {"generator": None, "cache": 64, "students": {"tiny": [1]}, "options": "--max-epoch 1 --max-update 0"}
    settings["methods"] = {
        "kd": {"title": "KD", "students": settings["students"]},
        **{data: {"title": data, "data": data, **epoch} for data in settings["corpora"]},
    }
    settings.update(timed="kd", baselines=[])
    stages = {stage.name: stage for stage in plan(resolve(settings), CPU).stages}
    assert stages["corpus more"].updates == 3 * pairs == stages["corpus samples"].updates
    assert stages["corpus more"].seconds == pytest.approx(3 * stages["corpus beam"].seconds)
    assert stages["corpus samples"].seconds == pytest.approx(stages["corpus more"].seconds), "as many hypotheses"
    # real pairs and translations of the training sources, and of twice as many others
    sizes = {"beam": 2, "more": 4, "samples": 15}
    for data, size in sizes.items():
        assert stages[f"cache of 64 words, {data}"].tokens == pytest.approx(size * tokens)
        assert stages[f"{data} tiny"].updates == pytest.approx(size * tokens / stages[f"{data} tiny"].tokens, abs=1)
    settings["corpora"]["more"]["sentences"] = 0
    with pytest.raises(DistillationError, match=r"number of sentences in more\.en; add it as corpora\.more\.sentences"):
        plan(resolve(settings), CPU)


def test_a_plan_stands_beside_a_run_of_it():
    planned = plan(read([EXPERIMENTS / "recipe.yaml", EXPERIMENTS / "wmt16-en-ro/config.yaml"]), CPU)
    rows = [
        {"method": "wd", "preset": "tiny", "training_seconds": {"mean": 100.0}, "training_memory": 2**30},
        {"method": "plain", "preset": "tiny", "training_seconds": {"mean": 50.0}},
        {"method": "unplanned", "preset": "tiny", "training_seconds": {"mean": 50.0}},
    ]
    wd, plain = planned.against({"rows": rows})
    phases = [stage for stage in planned.stages if stage.system == "wd tiny"]
    assert wd.planned_seconds == pytest.approx(sum(stage.seconds for stage in phases))
    assert wd.planned_memory == max(stage.memory for stage in phases) and wd.measured_memory == 2**30
    assert plain.measured_memory is None
    table = check_table([wd, plain]).splitlines()
    assert f"{wd.planned_seconds / 100:.2f}" in table[-2] and f"{wd.planned_memory / 2**30:.2f}" in table[-2]
    assert "GiB" in table[-1] and len(table[-1]) < len(table[-2]), "no memory was measured"


def test_more_gpus_mean_fewer_passes_and_the_same_batch():
    config = read([EXPERIMENTS / "recipe.yaml", EXPERIMENTS / "wmt16-en-ro/config.yaml"])
    one, three, eight, many = (plan(config, Machine(1e14, devices, "cuda")).stages[0] for devices in (1, 3, 8, 16))
    assert one.tokens == eight.tokens == many.tokens == pytest.approx(0.9 * 32_768)
    assert three.tokens == pytest.approx(0.9 * 32_768, rel=1e-3) and many.memory < eight.memory
    assert one.seconds == pytest.approx(8 * eight.seconds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": None}, "a plan needs the size of the training data"),
        ({"student_options": "--lr 1"}, "plain tiny: the options must have --max-update or --max-epoch"),
        ({"teacher": {"options": "--arch transformer_iwslt_de_en --max-update 1"}}, "or all sizes.*'transformer_iwslt"),
        (
            {"teacher": {"options": "--arch teacher_huge --max-update 1"}},
            r"--arch must be one of teacher_base.*'teacher_huge'",
        ),
        ({"student_options": "--max-update many"}, "options cannot be planned: .*--max-update.*'many'"),
    ],
)
def test_settings_that_cannot_be_planned_are_refused(change, message):
    settings = read([EXPERIMENTS / "recipe.yaml", EXPERIMENTS / "wmt16-en-ro/config.yaml"]).as_dict()
    with pytest.raises(DistillationError, match=message):
        plan(resolve({**settings, **change}), CPU)


@pytest.mark.parametrize("form", ["--encoder-layers {} --max-epoch {}", "--encoder-layers={} --max-epoch={}"])
def test_options_are_read_in_both_forms_that_argparse_takes(form):
    settings = read([EXPERIMENTS / "recipe.yaml", EXPERIMENTS / "wmt16-en-ro/config.yaml"]).as_dict()
    settings["teacher"] = {"options": f"--arch teacher_base --max-update 9999999 {form.format(3, 2)}"}
    planned = plan(resolve(settings), CPU).stages[0]
    shape = replace(TEACHERS["base"], encoder=replace(TEACHERS["base"].encoder, layers=3))
    assert planned.parameters == Model(shape, 32_000).parameters()
    assert planned.updates == math.ceil(2 * settings["size"]["tokens"] / planned.tokens)


def test_a_student_has_the_shape_that_its_options_give():
    settings = read([EXPERIMENTS / "recipe.yaml", EXPERIMENTS / "wmt16-en-ro/config.yaml"]).as_dict()
    settings["methods"] = {"kd": {"title": "KD", "options": "--decoder-layers=3 --decoder-ffn-embed-dim 64"}}
    settings.update(timed="kd", baselines=[], corpora={})
    (student,) = (stage for stage in plan(resolve(settings), CPU).stages if stage.system == "kd small")
    shape = replace(TEACHERS["base"], decoder=replace(TEACHERS["base"].decoder, layers=3, ffn=64))
    assert student.parameters == Model(shape, 32_000).parameters()


def test_the_machine_that_trains_is_given_or_measured(monkeypatch):
    assert Machine.chosen(tflops=2.0, gpus=4) == Machine(2e12, devices=4, kind="cuda")
    assert Machine.chosen(tflops=2.0, gpus=0) == Machine(2e12, devices=1, kind="cpu")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert Machine.chosen(tflops=2.0).kind == "cpu"
    with pytest.raises(DistillationError, match="must have a GPU to measure its speed, but has none; give --tflops"):
        Machine.chosen(gpus=1)


def test_only_the_results_of_an_experiment_are_compared_with_a_plan(tmp_path):
    path = tmp_path / "results.json"
    for content, message in (("{", "is damaged"), ("[]", "has no rows"), ('{"row": 1}', "has no rows")):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(DistillationError, match=rf"results\.json {message}.*; give the results\.json of an exp"):
            read_results(path)
    path.write_text('{"rows": []}', encoding="utf-8")
    assert read_results(path) == {"rows": []}
