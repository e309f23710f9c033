"""Models that cannot be teachers are refused when they are read, in one line that says what they are."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Corpus, fork

from fairseq_plugins import teachers
from fairseq_plugins.teacher_check import inspect_teachers, require_sane
from weightdistill import checkpoint, files
from weightdistill.errors import DistillationError

REMEDY = "translate the training sources with this model, and train a student on its translations"


@pytest.mark.parametrize(
    ("model", "task", "message"),
    [
        ({"_name": "fconv_wmt_en_de"}, {}, r"is convolutional \(architecture fconv_wmt_en_de\)"),
        ({"_name": "lightconv_wmt_zh_en_big"}, {}, "is convolutional"),
        ({"_name": "lstm_luong_wmt_en_de"}, {}, "is an LSTM"),
        ({"_name": "transformer_lm_gpt"}, {}, r"is a language model \(decoder only\)"),
        ({"_name": "transformer_lm_big"}, {"_name": "language_modeling"}, "is a language model"),
        ({"_name": "roberta_base"}, {}, "is an encoder without a decoder"),
        ({"_name": "multilingual_transformer_iwslt_de_en"}, {}, "is multilingual, with language tokens"),
        ({"_name": "mbart_large"}, {"_name": "translation_from_pretrained_bart"}, "is multilingual"),
        (
            {"_name": "transformer_wmt_en_de_big"},
            {"_name": "translation_multi_simple_epoch", "encoder_langtok": "src"},
            r"is multilingual, with language tokens \(task translation_multi_simple_epoch\)",
        ),
        (
            {"_name": "transformer"},
            {"_name": "mine", "decoder_langtok": True},
            r"is multilingual.* \(decoder_langtok True\)",
        ),
        ({"_name": "cmlm_transformer_wmt_en_de"}, {"_name": "translation_lev"}, "is non-autoregressive"),
        ({"_name": "s2t_transformer_s"}, {"_name": "speech_to_text"}, "reads or writes speech"),
        ({"_name": "convtransformer_espnet"}, {}, "reads or writes speech"),
        ({"_name": "wav2vec_ctc"}, {}, "reads or writes speech"),
        ({"_name": "unheard_of"}, {}, "is none of fairseq's plain Transformers"),
        ({"_name": "transformer", "adaptive_softmax_cutoff": "100,200"}, {}, "has an adaptive softmax"),
        (
            {"_name": "transformer", "decoder_input_dim": 8, "decoder_embed_dim": 16},
            {},
            r"projects its embeddings \(decoder_input_dim 8, decoder_embed_dim 16\)",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["args", "cfg"])
def test_a_model_that_cannot_be_a_teacher(
    tmp_path: Path, form: str, model: dict[str, Any], task: dict[str, Any], message: str
) -> None:
    task = {"_name": "translation", **task}
    settings: dict[str, Any] = {"cfg": {"model": model, "task": task}}
    if form == "args":
        settings = {"args": Namespace(**{**model, **task, "arch": model["_name"], "task": task["_name"]})}
        del settings["args"]._name
    torch.save({"model": {"weight": torch.zeros(2)}, **settings}, tmp_path / "model.pt")
    with pytest.raises(DistillationError, match=rf"teacher .*model\.pt {message}.*; .*{REMEDY}$") as error:
        teachers.read(str(tmp_path / "model.pt"))
    assert "\n" not in str(error.value)


def test_a_student_of_phase_1_is_no_teacher(tmp_path: Path) -> None:
    settings = {"cfg": {"model": {"_name": "generated_transformer"}}}
    torch.save({"model": {"generator.x": torch.zeros(2)}, **settings}, tmp_path / "model.pt")
    with pytest.raises(DistillationError, match=r"is a student of phase 1, .*; export it first \(weightdistill export"):
        teachers.read(str(tmp_path / "model.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_weight_that_is_no_number_is_named(teacher: Path, tmp_path: Path, value: float) -> None:
    state = checkpoint.read(teacher)
    state["model"]["encoder.layers.1.fc1.bias"][3] = value
    checkpoint.write(state, tmp_path / "broken.pt")
    with pytest.raises(DistillationError, match=r"broken\.pt must be finite, but encoder\.layers\.1\.fc1\.bias holds"):
        teachers.read(str(tmp_path / "broken.pt"))


def test_a_teacher_is_described(teacher: Path, second_teacher: Path, data: Path) -> None:
    described = inspect_teachers([teacher, second_teacher], "aa", "bb")
    assert described.fingerprints == (files.fingerprint(teacher), files.fingerprint(second_teacher))
    assert described.dictionaries == data
    assert described.shape.decoder.width == 16
    embeddings = checkpoint.read(teacher)["model"]["encoder.embed_tokens.weight"].numel()
    layers = 2 * (4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 2 * 32)
    cross_attention = 2 * (4 * (16 * 16 + 16) + 32)
    assert described.parameters == embeddings + 2 * layers + cross_attention


def test_a_teacher_of_the_opposite_direction(teacher: Path) -> None:
    with pytest.raises(DistillationError, match="translates aa-bb, but bb-aa is asked for; give --source aa --target"):
        inspect_teachers([teacher], "bb", "aa")


@pytest.mark.parametrize("score", [4.9, float("nan")])
def test_an_absurd_score_stops_unless_forced(score: float) -> None:
    with pytest.raises(
        DistillationError, match=r"BLEU on the validation set, below the floor of 5; .*swapped.*--force"
    ):
        require_sane(score, 5, "teacher.pt")
    require_sane(score, 5, "teacher.pt", force=True)
    require_sane(5, 5, "teacher.pt")


@pytest.fixture
def check(corpus: Corpus, tmp_path: Path) -> Callable[..., str]:
    """Runs the check on the validation set, whose words are the pieces."""
    sides = {side: {"language": language} for side, language in (("source", "aa"), ("target", "bb"))}
    files.write_json(tmp_path / "text.json", {"version": 1, **sides})
    text = ["--text", tmp_path / "text.json", "--beam", 1]
    valid = ["--source", corpus.pieces / "valid.aa", "--reference", corpus.pieces / "valid.bb"]
    return lambda *arguments, **how: fork("weightdistill", "check-teacher", *text, *valid, *arguments, **how)


def test_each_teacher_is_scored_by_the_engine_of_its_format(
    check: Callable[..., str], teacher: Path, second_teacher: Path, tmp_path: Path
) -> None:
    fork("weightdistill", "export", teacher, "--output", tmp_path / "plain.pt", "--ctranslate2", tmp_path / "plain.ct2")
    scores = tmp_path / "scores.json"
    models = [teacher, second_teacher, tmp_path / "plain.ct2"]
    printed = check(*models, "--least-bleu", 0, "--json", scores)
    assert "aa-bb" in printed and all(f"{model}: " in printed for model in models)
    bleu = [system["bleu"]["score"] for system in json.loads(scores.read_text(encoding="utf-8"))["systems"]]
    assert bleu[0] == pytest.approx(bleu[2], abs=1e-6)
    assert len(bleu) == 3


def test_a_teacher_below_the_floor_stops_after_its_score_is_shown(
    check: Callable[..., str], teacher: Path, tmp_path: Path
) -> None:
    printed = check(teacher, "--least-bleu", 101, "--json", tmp_path / "scores.json", fails=True)
    assert f"{teacher}: " in printed and (tmp_path / "scores.json").is_file()
    assert "below the floor of 101; usually (1)" in printed.splitlines()[-1]
    check(teacher, "--least-bleu", 101, "--force")


def test_what_cannot_be_right_stops_before_decoding(
    check: Callable[..., str], corpus: Corpus, teacher: Path, tmp_path: Path
) -> None:
    printed = check(teacher, "--reference", corpus.pieces / "train.bb", fails=True)
    assert "--source and --reference must have a line for each sentence, but have 24 and 300 lines" in printed
    state = checkpoint.read(teacher)
    state["cfg"]["task"]["source_lang"], state["cfg"]["task"]["target_lang"] = "bb", "aa"
    checkpoint.write(state, tmp_path / "opposite.pt")
    printed = check(tmp_path / "opposite.pt", fails=True)
    assert "translates bb-aa, but aa-bb is asked for" in printed and "BLEU" not in printed
