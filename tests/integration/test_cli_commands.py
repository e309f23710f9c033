"""The commands that only read a checkpoint, on that of phase 1."""

import json
from pathlib import Path

import pytest
from commands import PLUGIN, Corpus, Training, fork, hypotheses, run

from weightdistill import files
from weightdistill.decoding.engines import CTranslate2Engine, Search, translate, vocabulary
from weightdistill.errors import DistillationError

pytestmark = pytest.mark.slow

SPECIAL = ("<s>", "<unk>")  # CTranslate2 always allows these


@pytest.fixture
def source(corpus: Corpus, tmp_path: Path) -> Path:
    """Three sentences, one of them empty."""
    first, second = corpus.sentences("test")[:2]
    path = tmp_path / "source"
    path.write_text(f"{first}\n\n{second}\n", encoding="utf-8")
    return path


def test_fairseq_validate_takes_the_phase_1_checkpoint(data: Path, tiny: Training) -> None:
    command = ["fairseq-validate", data, "--user-dir", PLUGIN, "--task", "distillation", "--path", tiny.last]
    printed = run(
        *command, "--valid-subset", "valid", "--max-tokens", 400, "--cpu", "--required-batch-size-multiple", 1
    )
    assert "valid on 'valid' subset" in printed and "nll_loss" in printed


def test_fairseq_interactive_takes_the_phase_1_checkpoint(data: Path, corpus: Corpus, tiny: Training) -> None:
    sentences = corpus.sentences("test")[:3]
    command = ["fairseq-interactive", data, "--user-dir", PLUGIN, "--path", tiny.last, "--cpu"]
    assert sorted(hypotheses(fork(*command, text="".join(f"{line}\n" for line in sentences)))) == [0, 1, 2]


def test_inspect_shows_the_teacher_and_every_class(tiny: Training, teacher: Path) -> None:
    printed = run("weightdistill", "inspect", tiny.last)
    assert f"SHA-256 {files.fingerprint(teacher)}" in printed
    assert "decoder: 1 layers, width 8, feed-forward 16, 2 heads" in printed
    assert "decoder.encoder_attn.k_proj.weight" in printed and "W_L" in printed


def test_translate_evaluate_and_benchmark(
    data: Path, tiny: Training, teacher: Path, source: Path, tmp_path: Path
) -> None:
    output, scores, speeds = tmp_path / "output", tmp_path / "scores.json", tmp_path / "speeds.json"
    fork("weightdistill", "translate", tiny.last, "--input", source, "--output", output, "--threads", 1)
    lines = output.read_text(encoding="utf-8").split("\n")
    assert len(lines) == 4 and lines[0] and not lines[1] and lines[2] and not lines[3]

    fork("weightdistill", "evaluate", output, "--reference", output, "--json", scores)
    assert json.loads(scores.read_text(encoding="utf-8"))["systems"][0]["chrf"]["score"] == pytest.approx(100)

    command = ["weightdistill", "benchmark", teacher, tiny.last, "--data", data, "--input", source]
    fork(*command, "--batch-size", 2, "--repetitions", 1, "--sentences", 1, "--threads", 1, "--json", speeds)
    measured = json.loads(speeds.read_text(encoding="utf-8"))["speeds"]
    assert len(measured) == 2


@pytest.fixture
def exported(teacher: Path, tmp_path: Path) -> Path:
    """The teacher as a CTranslate2 model, whose vocabulary map allows w00 for every sentence and w01 where w02 is."""
    folder = tmp_path / "exported"
    fork("weightdistill", "export", teacher, "--output", tmp_path / "model.pt", "--ctranslate2", folder)
    (folder / "vmap.txt").write_text("\tw00\nw02\tw01\n", encoding="utf-8")
    return folder


def test_a_vocabulary_map_limits_the_words_of_a_translation(exported: Path, tmp_path: Path) -> None:
    sentences = [["w02", "w03"], ["w03"], ["w05"] * 4]
    one_by_one = Search(4, batch_size=1, batch_type="sentences")
    mapped = translate(CTranslate2Engine(exported, 1), sentences, one_by_one)
    assert set(mapped[0]) <= {"w00", "w01", *SPECIAL} and {*mapped[1], *mapped[2]} <= {"w00", *SPECIAL}
    free = translate(CTranslate2Engine(exported, 1, vocabulary_map=False), sentences, one_by_one)
    assert {piece for pieces in free for piece in pieces} - {"w00", "w01", *SPECIAL}
    all_words = tmp_path / "all"
    all_words.write_text("\t" + " ".join(vocabulary(exported, "target")) + "\n", encoding="utf-8")
    assert translate(CTranslate2Engine(exported, 1, all_words), sentences, one_by_one) == free


@pytest.mark.parametrize("content", [None, "", "w02 w01\n"])
def test_an_unusable_vocabulary_map_is_refused(exported: Path, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "map").write_text(content, encoding="utf-8")
    with pytest.raises(
        DistillationError,
        match=r"^vocabulary map .*map(: line 1 must have one tab| cannot be read: No such file).*; make one with",
    ):
        CTranslate2Engine(exported, 1, tmp_path / "map")


def test_inspect_describes_a_ctranslate2_model(exported: Path) -> None:
    printed = fork("weightdistill", "inspect", exported)
    assert "matrices in float32" in printed and "decoder: 2 layers, width 16, feed-forward 32" in printed
    assert "vocabulary: source 40, target 40 pieces" in printed and "vocabulary map: 1 source pieces" in printed


def test_benchmark_times_a_model_without_and_with_a_map(exported: Path, source: Path, tmp_path: Path) -> None:
    speeds = tmp_path / "speeds.json"
    command = ["weightdistill", "benchmark", exported, "--input", source, "--batch-size", 2, "--repetitions", 1]
    fork(*command, "--threads", 1, "--vocabulary-map", exported / "vmap.txt", "--output-length", 5, "--json", speeds)
    plain, mapped = json.loads(speeds.read_text(encoding="utf-8"))["speeds"]
    assert (plain["model"], mapped["model"]) == (str(exported), f"{exported} with {exported / 'vmap.txt'}")
    assert plain["tokens_per_sentence"] == mapped["tokens_per_sentence"] == pytest.approx(5 * 2 / 3)


def test_benchmark_times_random_models_of_a_shape(data: Path, source: Path, tmp_path: Path) -> None:
    speeds, vocabulary_map = tmp_path / "speeds.json", tmp_path / "map"
    vocabulary_map.write_text("\tw00 w01\n", encoding="utf-8")
    fork(
        *("weightdistill", "benchmark", "--shape", "base", "--student", "tiny", "--output-length", 2, "--data", data),
        *("--input", source, "--sentences", 1, "--vocabulary-map", vocabulary_map, "--beam", 2, "--batch-size", 1),
        *("--repetitions", 1, "--threads", 1, "--json", speeds),
    )
    measured = json.loads(speeds.read_text(encoding="utf-8"))["speeds"]
    names = ["base, float32", "base, int8", "base, int8, vocabulary map"]
    names += [name.replace("base", "tiny") for name in names]
    assert [speed["model"] for speed in measured] == ["fairseq, base", *(f"CTranslate2, {name}" for name in names)]
    assert {speed["tokens_per_sentence"] for speed in measured} == {2}


@pytest.mark.parametrize("preset", ["base", "deep"])
def test_benchmark_training_measures_all_updates_and_counts_what_they_keep(tmp_path: Path, preset: str) -> None:
    result = tmp_path / "cost.json"
    command = run if preset == "base" else fork
    command(
        *("weightdistill", "benchmark-training", "--teacher-preset", preset, "--width", 16, "--tokens", 64),
        *("--vocabulary", 40, "--repetitions", 2, "--threads", 1, "--json", result),
    )
    updates = {update["update"]: update for update in json.loads(result.read_text(encoding="utf-8"))["updates"]}
    assert list(updates) == ["plain", "phase 1", "KD, teacher at work", "KD, teacher cached"]
    for update in updates.values():
        # parameters, gradients and Adam's two moments in float32, and a step count for each tensor
        assert update["state_bytes"] == pytest.approx(16 * update["parameters"], rel=0.02)
        assert update["seconds"]["minimum"] > 0
        assert update["memory_ratio"] == pytest.approx(update["state_bytes"] / updates["plain"]["state_bytes"])
    assert updates["plain"]["time_ratio"]["maximum"] == 1
    assert updates["phase 1"]["parameters"] > updates["plain"]["parameters"]
    assert updates["KD, teacher cached"]["parameters"] == updates["plain"]["parameters"]
