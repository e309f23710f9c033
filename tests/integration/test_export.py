"""An export translates as its checkpoint does, in stock fairseq and in CTranslate2, or writes no file at all."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import GREEDY, PLUGIN, TO_DECODE, Corpus, MakeOnce, Training, fork, hypotheses, run, start, weights_of
from fairseq.data import Dictionary
from fairseq.sequence_generator import SequenceGenerator
from safetensors.torch import load_file

import fairseq_plugins.export as exporting
from fairseq_plugins.engine import open_engine
from fairseq_plugins.export import export
from fairseq_plugins.loading import load_model, translation_task
from weightdistill import checkpoint, files
from weightdistill.decoding.engines import CTranslate2Engine, Search, translate
from weightdistill.errors import DistillationError


@pytest.fixture(scope="session")
def exported(tiny: Training, make_once: MakeOnce) -> Path:
    """The tiny student in every format: tiny.pt, tiny.ct2/ and tiny.safetensors."""

    def write(folder: Path) -> None:
        formats = {"output": "tiny.pt", "ctranslate2": "tiny.ct2", "safetensors": "tiny.safetensors"}
        options = [word for format_, name in formats.items() for word in (f"--{format_}", folder / name)]
        printed = run("weightdistill", "export", tiny.last, "--batches", 2, *options)
        assert "largest difference of a logit" in printed
        assert all(f"wrote {folder / name}" in printed for name in formats.values())

    return make_once("exported", write) / "tiny.pt"


@pytest.fixture(scope="session")
def translations(data: Path, exported: Path, make_once: MakeOnce) -> dict[int, tuple[float, str]]:
    """Greedy translations of the exported student by stock fairseq-generate, which knows nothing of the plugin."""

    def generate(folder: Path) -> None:
        printed = run("fairseq-generate", data, "--path", exported, *TO_DECODE, *GREEDY)
        (folder / "printed").write_text(printed, encoding="utf-8")

    return hypotheses((make_once("translations", generate) / "printed").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_export_translates_as_the_phase_1_checkpoint_does(
    data: Path, corpus: Corpus, tiny: Training, translations: dict[int, tuple[float, str]]
) -> None:
    generated = hypotheses(run("fairseq-generate", data, "--user-dir", PLUGIN, "--path", tiny.last, *GREEDY))
    assert generated.keys() == translations.keys() == set(range(len(corpus.sentences("test"))))
    for number, (score, pieces) in translations.items():
        assert generated[number][0] == pytest.approx(score, abs=1e-3)
        assert generated[number][1] == pieces
    assert len({pieces for _, pieces in translations.values()}) > 5, "the student translates everything alike"


@pytest.mark.slow
def test_ctranslate2_translates_as_fairseq_does(
    corpus: Corpus, exported: Path, translations: dict[int, tuple[float, str]]
) -> None:
    engine = CTranslate2Engine(exported.with_suffix(".ct2"), threads=1)
    translated = translate(engine, [sentence.split() for sentence in corpus.sentences("test")], Search(beam=1))
    expected = [translations[number][1] for number in range(len(translations))]
    assert [" ".join(pieces) for pieces in translated] == expected


@pytest.mark.slow
def test_safetensors_hold_the_exported_weights(exported: Path) -> None:
    weights = load_file(exported.with_suffix(".safetensors"))
    expected = checkpoint.read(exported)["model"]
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in weights.items())


def test_the_export_is_plain_and_names_its_sources(exported: Path, tiny: Training, teacher: Path) -> None:
    state = checkpoint.read(exported)
    assert checkpoint.plain(state["cfg"]) == state["cfg"]
    config = checkpoint.model_config(state)
    assert config["_name"] == "transformer" and state["cfg"]["task"]["_name"] == "translation"
    assert not any(key.startswith(("generator", "teacher", "student")) for key in config)
    provenance = state["extra_state"]["weightdistill"]
    assert provenance["teachers"] == [{"path": str(teacher), "sha256": files.fingerprint(teacher)}]
    assert provenance["source_sha256"] == files.fingerprint(tiny.last)


def test_a_teacher_can_be_exported_as_it_is(teacher: Path, tmp_path: Path) -> None:
    assert export(teacher, tmp_path / "teacher.pt").largest_difference == 0
    before, after = weights_of(teacher), weights_of(tmp_path / "teacher.pt")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_an_export_replaces_an_older_one(tiny: Training, tmp_path: Path) -> None:
    for _ in range(2):
        export(tiny.last, tmp_path / "tiny.pt", ctranslate2=tmp_path / "tiny.ct2", quantization="int8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.ct2", "tiny.pt"]
    CTranslate2Engine(tmp_path / "tiny.ct2", threads=1)


FORMS = {"output": "model.pt", "ctranslate2": "ct2", "safetensors": "weights", "huggingface": "hf"}


@pytest.fixture(scope="session")
def exported_teacher(teacher: Path, make_once: MakeOnce) -> Path:
    """A folder with the teacher in every form."""

    def write(folder: Path) -> None:
        forms: dict[str, Any] = {form: folder / name for form, name in FORMS.items()}
        export(teacher, forms.pop("output"), **forms)

    return make_once("exported_teacher", write)


def test_all_files_of_an_export_can_be_read_by_the_same_users(exported_teacher: Path) -> None:
    modes = {path.stat().st_mode for path in exported_teacher.rglob("*") if path.is_file()}
    assert modes == {(exported_teacher / "model.pt").stat().st_mode}


@pytest.mark.parametrize("form", FORMS)
def test_an_export_of_another_checkpoint_is_replaced_only_by_force(
    teacher: Path, second_teacher: Path, exported_teacher: Path, tmp_path: Path, form: str
) -> None:
    place = tmp_path / "model" / FORMS[form]
    (shutil.copytree if (exported_teacher / FORMS[form]).is_dir() else _copy)(exported_teacher / FORMS[form], place)
    before = _content(place)
    outputs: dict[str, Any] = {"output": tmp_path / "plain.pt", form: place}
    origin = files.fingerprint(teacher)[:12]
    message = (
        rf"{place} may only be replaced by .* exported from another checkpoint \(SHA-256 {origin}\.\.\.\).*--force"
    )
    with pytest.raises(DistillationError, match=message):
        export(second_teacher, **outputs)
    assert _content(place) == before and not (tmp_path / "plain.pt").exists()
    export(teacher, **outputs)
    export(second_teacher, **outputs, force=True)
    assert _content(place) != before


@pytest.mark.parametrize("form", FORMS)
def test_a_model_that_does_not_say_where_it_comes_from_is_replaced_only_by_force(
    teacher: Path, exported_teacher: Path, tmp_path: Path, form: str
) -> None:
    place = tmp_path / FORMS[form]
    if form in ("output", "safetensors"):
        place.write_text("precious", encoding="utf-8")
    else:
        shutil.copytree(exported_teacher / FORMS[form], place)
        (place / "config.json").write_text("{}", encoding="utf-8")
    before = _content(place)
    options = ["--output", tmp_path / "plain.pt", f"--{form}", place]  # of two --output, the last counts
    printed = fork("weightdistill", "export", teacher, *options, fails=True)
    assert f"{place} may only be replaced by" in printed
    assert "does not say which checkpoint it was exported from" in printed.splitlines()[-1]
    assert _content(place) == before
    fork("weightdistill", "export", teacher, *options, "--force")
    assert _content(place) != before


def test_what_is_left_of_a_model_without_its_weights_is_replaced(
    second_teacher: Path, exported_teacher: Path, tmp_path: Path
) -> None:
    """As a workflow leaves it that removes its outputs before it repeats a step."""
    shutil.copytree(exported_teacher / "ct2", tmp_path / "ct2")
    (tmp_path / "ct2" / "model.bin").unlink()
    export(second_teacher, tmp_path / "plain.pt", ctranslate2=tmp_path / "ct2")
    assert (tmp_path / "ct2" / "model.bin").exists()


def _copy(source: Path, place: Path) -> None:
    place.parent.mkdir()
    shutil.copyfile(source, place)


def _content(place: Path) -> dict[str, bytes]:
    paths = place.iterdir() if place.is_dir() else [place]
    return {path.name: path.read_bytes() for path in paths}


def test_an_unknown_number_format_is_refused_before_any_work(teacher: Path, tmp_path: Path) -> None:
    options = ["--output", tmp_path / "plain.pt", "--ctranslate2", tmp_path / "ct2", "--quantization", "int3"]
    printed = fork("weightdistill", "export", teacher, *options, fails=True)
    assert "--quantization must be one of int8, " in printed and "but is 'int3'; give int8 for CPUs" in printed
    assert "proof" not in printed and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_stock_fairseq_interactive_translates_with_an_export_and_its_dictionaries(
    data: Path, corpus: Corpus, exported: Path, translations: dict[int, tuple[float, str]], tmp_path: Path
) -> None:
    shutil.copyfile(exported, tmp_path / "model.pt")
    for language in ("aa", "bb"):
        shutil.copyfile(data / f"dict.{language}.txt", tmp_path / f"dict.{language}.txt")
    languages = ["--source-lang", "aa", "--target-lang", "bb"]
    printed = run(
        *("fairseq-interactive", tmp_path, "--path", tmp_path / "model.pt", *languages, *TO_DECODE),
        *("--beam", 1, "--cpu"),
        text="".join(f"{sentence}\n" for sentence in corpus.sentences("test")),
    )
    assert {number: pieces for number, (_, pieces) in hypotheses(printed).items()} == {
        number: pieces for number, (_, pieces) in translations.items()
    }


def test_weights_are_generated_once_for_all_decoding_steps(
    data: Path, tiny: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = checkpoint.read(tiny.last)
    task = translation_task(state, data, "tiny")
    model: Any = load_model(checkpoint.model_config(state), state["model"], task, "tiny").train()
    calls = 0
    forward = model.generator.forward

    def counted() -> Any:
        nonlocal calls
        calls += 1
        return forward()

    monkeypatch.setattr(model.generator, "forward", counted)
    model.eval()
    tokens = torch.tensor([[4, 5, 6, 7, task.source_dictionary.eos()]])
    inputs = {"src_tokens": tokens, "src_lengths": torch.tensor([5])}
    longer = SequenceGenerator([model], task.target_dictionary, beam_size=2, min_len=12, max_len_b=14)
    sentences = longer.generate([model], {"net_input": inputs})
    assert len(sentences[0][0]["tokens"]) >= 12
    assert calls == 1
    model.train()
    model(**inputs, prev_output_tokens=tokens)
    model(**inputs, prev_output_tokens=tokens)
    assert calls == 3, "each training forward generates the weights anew"


@pytest.mark.parametrize("wrong", [1e-3, 1e37])  # the latter makes logits that are no numbers
def test_an_export_whose_logits_differ_leaves_nothing_behind(
    tiny: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    faithful = exporting._student_weights

    def faulty(*arguments: Any) -> dict[str, torch.Tensor]:
        weights = faithful(*arguments)
        name = "encoder.layers.0.fc2.bias"
        return {**weights, name: weights[name] + wrong * torch.arange(len(weights[name]))}

    monkeypatch.setattr(exporting, "_student_weights", faulty)
    with pytest.raises(DistillationError, match=r"logits must agree within 1e-05, but differ by .*nothing was written"):
        export(
            *(tiny.last, tmp_path / "tiny.pt"),
            ctranslate2=tmp_path / "tiny.ct2",
            safetensors=tmp_path / "tiny.safetensors",
        )
    assert not list(tmp_path.iterdir())


def test_an_export_needs_real_batches(tiny: Training, tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"has no subset 'absent' .*give another with --subset"):
        export(tiny.last, tmp_path / "tiny.pt", subset="absent")
    assert not list(tmp_path.iterdir())


def test_an_export_does_not_overwrite_what_it_reads_or_writes(tiny: Training, tmp_path: Path) -> None:
    before = tiny.last.read_bytes()
    with pytest.raises(DistillationError, match=r"--output must not replace what is read, .* \(the checkpoint\)"):
        export(tiny.last, tiny.last)
    with pytest.raises(DistillationError, match="--output and --safetensors must name different files, but two are"):
        export(tiny.last, tmp_path / "tiny", safetensors=tmp_path / "tiny")
    assert tiny.last.read_bytes() == before and not list(tmp_path.iterdir())


def test_an_older_checkpoint_is_exported_after_the_teachers_data_moved(tiny: Training, tmp_path: Path) -> None:
    state = checkpoint.read(tiny.last)
    state["cfg"]["model"].teacher_data = str(tmp_path / "moved")
    assert state["cfg"]["model"].generator_layer_init == "middle"
    state["cfg"]["model"].generator_layer_init = "spaced"  # what older versions called it
    checkpoint.write(state, tmp_path / "last.pt")
    assert export(tmp_path / "last.pt", tmp_path / "tiny.pt").largest_difference < 1e-5


def test_a_folder_that_holds_something_else_is_not_overwritten(tiny: Training, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.bin").touch()
    (model / "precious.txt").touch()
    with pytest.raises(DistillationError, match="holds something else"):
        export(tiny.last, tmp_path / "plain.pt", ctranslate2=model)
    with pytest.raises(DistillationError, match="a folder for that model alone"):
        export(tiny.last, tmp_path / "both" / "plain.pt", ctranslate2=tmp_path / "both")
    with pytest.raises(DistillationError, match="must name a file to write, but is a folder"):
        export(tiny.last, model, ctranslate2=tmp_path / "ct2")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model", "model.bin", "precious.txt"]


def test_a_teacher_that_has_moved_is_found_beside_the_checkpoint_or_where_it_is_named(
    tiny: Training, teacher: Path, tmp_path: Path
) -> None:
    state = checkpoint.read(tiny.last)
    state["cfg"]["model"].teacher_path = f"gone/{teacher.name}"
    moved = tmp_path / "phase1" / "checkpoint.pt"
    checkpoint.write(state, moved)
    with pytest.raises(DistillationError, match=f"gone/{teacher.name} does not exist"):
        export(moved, tmp_path / "plain.pt")
    assert export(moved, tmp_path / "plain.pt", teacher=teacher).largest_difference == 0
    (moved.parent / teacher.name).symlink_to(teacher)
    assert export(moved, tmp_path / "plain.pt").largest_difference == 0


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ctranslate2", "fairseq"])
def test_a_distilled_corpus_is_the_teachers_translations_even_after_a_kill(
    corpus: Corpus, teacher: Path, tmp_path: Path, engine: str
) -> None:
    model = tmp_path / "model.pt"
    export(teacher, model, ctranslate2=tmp_path / "ct2")
    model = tmp_path / "ct2" if engine == "ctranslate2" else model
    opened = open_engine(model, corpus.data)
    assert opened.longest_source == 1023  # fairseq's --max-source-positions, of which one is for the end
    assert len(opened.search([["w1"] * 1023], Search(beam=1))) == 1
    with pytest.raises(DistillationError, match=r"at most 1023 pieces for .*, but one has 1024"):
        opened.search([["w1"] * 1024], Search(beam=1))
    command = [
        *("weightdistill", "translate-corpus", model, "--data", corpus.data, "--source", corpus.pieces / "train.aa"),
        *("--reference", corpus.pieces / "train.bb", "--output", tmp_path / "out", "--shards", 3, "--threads", 1),
        *("--beam", 3, "--n-best", 3, "--select", "chrf"),
    ]
    fork(*command, "--only", 1)
    assert [path.name for path in (tmp_path / "out" / "shards").iterdir()] == ["1-of-3.jsonl"]
    process = start(*command)
    while not (tmp_path / "out" / "shards" / "0-of-3.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (tmp_path / "out" / "distilled.json").exists()
    printed = run(*command)
    report = json.loads((tmp_path / "out" / "distilled.json").read_text(encoding="utf-8"))
    assert report["sentences"] == 300 == report["kept"] + sum(report["left_out"].values())
    assert f"{report['kept']} of 300 sentences translated" in printed and report["engine"] == engine
    fork(*command, "--output", tmp_path / "once", "--shards", 1)
    for name in ("source", "target"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()
    shutil.copytree(corpus.data, tmp_path / "data")
    words = tmp_path / "data" / "dict.bb.txt"
    words.write_text(words.read_text(encoding="utf-8").replace("w", "v", 1), encoding="utf-8")
    printed = fork(*command, "--output", tmp_path / "other", "--data", tmp_path / "data", fails=True)
    assert ("lacks the word 'v" if engine == "ctranslate2" else "target dictionary of teacher") in printed


def test_data_that_a_checkpoint_names_from_a_folder_above_it_is_found_from_everywhere(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data, tmp_path / "run/prepared/data-bin")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    state = {"cfg": {"task": {"_name": "translation", "data": "prepared/data-bin"}}}
    task = translation_task(state, None, "../run/phase1/wd/checkpoint_best.pt")
    assert len(task.target_dictionary) == len(Dictionary.load(str(data / "dict.bb.txt")))
    with pytest.raises(
        DistillationError, match=r"data folder prepared/data-bin of .* does not exist, .* give .* --data"
    ):
        translation_task(state, None, "last.pt")
