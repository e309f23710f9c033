"""An exported model translates in `transformers` as in fairseq, from the same pieces; what it cannot be is refused."""

import random
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import TO_DECODE, MakeOnce, Training, fork, hypotheses, phase1
from fairseq.models import build_model
from fairseq.tasks.translation import TranslationTask
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, FSMTTokenizer

from fairseq_plugins import huggingface
from fairseq_plugins.export import export
from fairseq_plugins.loading import translation_task
from weightdistill import checkpoint
from weightdistill.errors import DistillationError
from weightdistill.text import subwords
from weightdistill.text.processing import SideProcessing, TextProcessing


@pytest.fixture(scope="session")
def exported(teacher: Path, make_once: MakeOnce) -> Path:
    """The teacher as a plain checkpoint, model.pt, and for transformers, model/."""

    def write(folder: Path) -> None:
        options = ["--output", folder / "model.pt", "--huggingface", folder / "model"]
        printed = fork("weightdistill", "export", teacher, *options)
        assert f"wrote {folder / 'model'}\n" in printed
        assert (
            "without a tokenizer, because its text processing is not known; name its text.json with --text" in printed
        )

    return make_once("huggingface", write)


def build(teacher: Path, data: Path, **changes: object) -> tuple[dict[str, Any], TranslationTask, Any]:
    """A model with the teacher's settings, but for some, and random weights."""
    torch.manual_seed(1)
    state = checkpoint.read(teacher)
    settings = {**checkpoint.model_config(state), **changes, "data": str(data)}
    task = translation_task(state, data, "teacher")
    return settings, task, build_model(Namespace(**settings), task).eval()


@pytest.mark.slow
def test_beam_search_finds_the_same_translations_as_fairseq_generate(data: Path, exported: Path) -> None:
    everything = ["--gen-subset", "train", "--cpu", "--num-workers", 0, "--required-batch-size-multiple", 1]
    printed = fork("fairseq-generate", data, "--path", exported / "model.pt", *TO_DECODE, *everything)
    expected = hypotheses(printed)
    task = translation_task(checkpoint.read(exported / "model.pt"), data, "teacher")
    task.load_dataset("train")
    model = AutoModelForSeq2SeqLM.from_pretrained(exported / "model")
    assert len(expected) == len(task.dataset("train")) == 300
    for start in range(0, 300, 100):
        numbers = range(start, start + 100)
        sentences = [task.dataset("train").src[number].long() for number in numbers]
        padded = torch.nn.utils.rnn.pad_sequence(sentences, batch_first=True, padding_value=1)
        translated = model.generate(
            padded, attention_mask=padded.ne(1), return_dict_in_generate=True, output_scores=True
        )
        for number, tokens, score in zip(numbers, translated.sequences, translated.sequences_scores, strict=True):
            assert task.target_dictionary.string(tokens[tokens.ne(1)]) == expected[number][1]
            # fairseq prints scores to the base 2
            assert float(score) / torch.log(torch.tensor(2.0)) == pytest.approx(expected[number][0], abs=1e-3)


@pytest.mark.slow
def test_a_generated_student_as_wide_as_its_encoder_is_exported(data: Path, teacher: Path, tmp_path: Path) -> None:
    options = ["--student-preset", "small", "--max-update", 2, "--disable-validation", "--no-epoch-checkpoints"]
    fork(*phase1(data, tmp_path / "save", teacher, *options))
    report = export(tmp_path / "save" / "checkpoint_last.pt", tmp_path / "s.pt", huggingface=tmp_path / "s")
    assert report.largest_difference <= 1e-5
    assert report.files == [tmp_path / "s.pt", tmp_path / "s"]
    assert huggingface.read_model(tmp_path / "s").config.tie_word_embeddings  # the teacher's three embeddings are one


@pytest.mark.parametrize(
    "changes",
    [
        {"share_all_embeddings": False},
        {"share_all_embeddings": False, "share_decoder_input_output_embed": False},
        {"activation_fn": "gelu"},
        {"activation_fn": "gelu_accurate"},
        {"no_scale_embedding": True},
        {"encoder_ffn_embed_dim": 24, "decoder_ffn_embed_dim": 40, "encoder_layers": 3, "decoder_layers": 1},
        {"encoder_attention_heads": 4, "decoder_attention_heads": 1},
    ],
)
def test_settings_that_fsmt_has(data: Path, teacher: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    settings, _, model = build(teacher, data, **changes)
    state = {**checkpoint.read(teacher), "model": model.state_dict()}
    state["cfg"]["model"] = settings
    checkpoint.write(state, tmp_path / "source.pt")
    report = export(tmp_path / "source.pt", tmp_path / "plain.pt", huggingface=tmp_path / "model")
    assert report.largest_difference <= 1e-5


def test_a_released_teacher_with_separate_dictionaries(data: Path, teacher: Path, tmp_path: Path) -> None:
    """Like WMT19's: settings in a Namespace, one dictionary per language, the decoder's embeddings tied."""
    shutil.copytree(data, tmp_path / "data")
    with (tmp_path / "data" / "dict.bb.txt").open("a", encoding="utf-8") as file:
        file.writelines(f"more{number} 1\n" for number in range(5))
    changes = {"share_all_embeddings": False, "share_decoder_input_output_embed": True, "encoder_ffn_embed_dim": 64}
    settings, _, model = build(teacher, tmp_path / "data", arch="transformer_wmt_en_de_big", **changes)
    del settings["_name"]
    state = {"args": Namespace(**settings), "model": model.state_dict(), "optimizer_history": []}
    checkpoint.write(state, tmp_path / "source.pt")
    export(tmp_path / "source.pt", tmp_path / "plain.pt", huggingface=tmp_path / "model")
    config = huggingface.read_model(tmp_path / "model").config
    assert (config.src_vocab_size, config.tgt_vocab_size) == (40, 45)
    assert config.langs == ["aa", "bb"] and not config.tie_word_embeddings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_normalize_before": True}, "FSMT needs encoder_normalize_before = False, but m has True"),
        ({"decoder_learned_pos": True}, "FSMT needs decoder_learned_pos = False, but m has True"),
        ({"layernorm_embedding": True}, "FSMT needs layernorm_embedding = False, but m has True"),
        ({"decoder_output_dim": 8, "share_decoder_input_output_embed": False}, "decoder_output_dim = 16 .*but m has 8"),
        ({"activation_fn": "relu_squared"}, "FSMT needs activation_fn = one of relu, .*, but m has 'relu_squared'"),
    ],
)
def test_settings_that_fsmt_lacks(data: Path, teacher: Path, changes: dict[str, Any], message: str) -> None:
    _, _, model = build(teacher, data, share_all_embeddings=False, **changes)
    with pytest.raises(DistillationError, match=rf"{message}.*; export it without --huggingface"):
        huggingface.require_expressible(model, "m")


def test_a_student_of_two_widths_is_refused_in_one_line(tiny: Training, tmp_path: Path) -> None:
    options = ["--output", tmp_path / "tiny.pt", "--huggingface", tmp_path / "model"]
    printed = fork("weightdistill", "export", tiny.last, *options, fails=True)
    rule = "FSMT needs decoder_embed_dim = 16 (encoder and decoder equally wide)"
    assert printed.splitlines()[-1].startswith(f"weightdistill: error: --huggingface: {rule}, but {tiny.last} has 8;")
    assert not list(tmp_path.iterdir())


def test_logits_that_differ_leave_nothing_behind(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = huggingface._config

    def wrong(settings: dict[str, Any], task: TranslationTask) -> Any:
        return convert({**settings, "no_scale_embedding": True}, task)

    monkeypatch.setattr(huggingface, "_config", wrong)
    with pytest.raises(DistillationError, match=r"as FSMT: logits must agree within .*nothing was written"):
        export(teacher, tmp_path / "plain.pt", huggingface=tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_without_the_package_one_line_says_how_to_install_it(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    remedy = r"needs the package transformers .*pip install 'weightdistill\[huggingface\]'"
    with pytest.raises(DistillationError, match=remedy):
        export(teacher, tmp_path / "plain.pt", huggingface=tmp_path / "model")
    assert not list(tmp_path.iterdir())


class Text:
    """Sentences of two languages with punctuation, hyphens and rare words, their processing, and a model for them."""

    def __init__(self, teacher: Path, folder: Path, **settings: Any) -> None:
        generator = random.Random(1)
        words = ["der", "Hund", "läuft", "rot-weiß", "can't", "schnell", "Straße", "Auto", "„gut“", "3,5", "und"]
        self.lines = [
            " ".join(generator.choices(words, k=generator.randint(2, 8))) + generator.choice([".", "!", " ?", "..."])
            for _ in range(200)
        ]
        kind = settings.pop("kind")
        unsegmented = TextProcessing(SideProcessing("en", **settings), SideProcessing("de", **settings))
        text = folder / "text"
        text.write_text("".join(f"{unsegmented.encode(line, 'source')}\n" for line in self.lines), encoding="utf-8")
        if kind == "sentencepiece":
            subwords.train(str(folder / "spm"), 60, [str(text)])
            model = folder / "spm.model"
        else:
            model = folder / "codes"
            fork("subword-nmt", "learn-bpe", "--symbols", 40, "--input", text, "--output", model)
        settings["subwords"] = model
        self.processing = TextProcessing(SideProcessing("en", **settings), SideProcessing("de", **settings))
        self.processing.write(folder / "processing")
        for side, lines in (("source", self.lines), ("target", self.lines[::-1])):
            pieces = [self.processing.encode(line, side) for line in lines]  # type: ignore[arg-type]
            (folder / f"pieces.{side}").write_text("".join(f"{line}\n" for line in pieces), encoding="utf-8")
        fork(
            *("fairseq-preprocess", "--source-lang", "source", "--target-lang", "target"),
            *("--trainpref", folder / "pieces", "--validpref", folder / "pieces", "--destdir", folder / "data"),
        )
        state = checkpoint.read(teacher)
        changes = {"share_all_embeddings": False, "source_lang": "source", "target_lang": "target"}
        state["cfg"]["task"].update(source_lang="source", target_lang="target", data=str(folder / "data"))
        settings = {**checkpoint.model_config(state), **changes, "data": str(folder / "data")}
        self.task = translation_task(state, folder / "data", "teacher")
        state["cfg"]["model"], state["model"] = settings, build_model(Namespace(**settings), self.task).state_dict()
        checkpoint.write(state, folder / "source.pt")
        options: dict[str, Any] = {"huggingface": folder / "model", "text": folder / "processing"}
        self.report = export(folder / "source.pt", folder / "plain.pt", **options)
        self.folder = folder / "model"


MOSES = {"tokeniser": "moses", "normalise": True, "split_hyphens": True}


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"kind": "sentencepiece"}, "MarianTokenizer"),
        ({"kind": "subword-nmt", **MOSES}, "FSMTTokenizer"),
        ({"kind": "subword-nmt", **MOSES, "lowercase": True}, "FSMTTokenizer"),
    ],
)
def test_a_tokenizer_gives_the_pieces_and_the_text_of_the_processing(
    teacher: Path, tmp_path: Path, settings: dict[str, Any], kind: str
) -> None:
    text = Text(teacher, tmp_path, **settings)
    assert text.report.no_tokenizer is None
    tokenizer: Any = AutoTokenizer.from_pretrained(text.folder)
    assert type(tokenizer).__name__ == kind
    words = text.task.source_dictionary
    for line in text.lines:
        pieces = text.processing.encode(line, "source")
        assert tokenizer(line)["input_ids"] == words.encode_line(pieces, add_if_not_exist=False).tolist()
        pieces = text.processing.encode(line, "target")
        tokens = text.task.target_dictionary.encode_line(pieces, add_if_not_exist=False)
        assert tokenizer.decode(tokens, skip_special_tokens=True) == text.processing.decode(pieces)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kind": "subword-nmt"}, "FSMTTokenizer needs tokeniser = 'moses' on the source side, but it is 'none'"),
        ({"kind": "sentencepiece", **MOSES}, "MarianTokenizer needs tokeniser = 'none' on the source side"),
    ],
)
def test_text_that_transformers_cannot_process_gives_a_model_without_a_tokenizer(
    teacher: Path, tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    text = Text(teacher, tmp_path, **settings)
    assert reason in str(text.report.no_tokenizer)
    files = sorted(path.name for path in text.folder.iterdir())
    assert files == ["config.json", "generation_config.json", "model.safetensors"]


def test_a_tokenizer_that_gives_other_pieces_is_not_written(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FSMTTokenizer, "moses_pipeline", lambda self, text, lang: text.replace("Hund", "Katze"))
    text = Text(teacher, tmp_path, kind="subword-nmt", **MOSES)
    assert "FSMTTokenizer handles a sentence of valid otherwise: " in str(text.report.no_tokenizer)
    assert not (text.folder / "merges.txt").exists() and not (text.folder / "tokenizer_config.json").exists()
