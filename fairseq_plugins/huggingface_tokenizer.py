"""Tokenizer files beside an FSMT model, if a tokenizer of `transformers` gives exactly the pieces of ours.

SentencePiece becomes a MarianTokenizer, which runs the same model; BPE after Moses becomes an FSMTTokenizer. Both are
proven on the text of a split; a tokenizer that gives one other piece is not written.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.tasks.translation import TranslationTask
from torch import Tensor

from weightdistill.text.processing import TextProcessing
from weightdistill.text.subwords import detect

_PROOF = 1000
"""Number of sentences that a tokenizer is proven on."""
_END_OF_WORD = "</w>"
_CONTINUES = "@@"

# What each tokenizer needs of the text processing: side, setting and value.
_MARIAN = (
    ("source", "tokeniser", "none"),
    ("source", "normalise", False),
    ("source", "lowercase", False),
    ("source", "truecase", None),
    ("target", "tokeniser", "none"),
    ("target", "truecase", None),
)
_FSMT = (
    ("source", "tokeniser", "moses"),
    ("source", "normalise", True),
    ("source", "split_hyphens", True),
    ("source", "escape", True),
    ("source", "truecase", None),
    ("target", "tokeniser", "moses"),
    ("target", "escape", True),
    ("target", "truecase", None),
)


def write_tokenizer(processing: TextProcessing | None, task: TranslationTask, subset: str, folder: Path) -> str | None:
    """Write the files of a tokenizer beside an FSMT model.

    Args:
        processing: How the model's text becomes pieces; None if that is not known.
        task: Gives the dictionaries, and the split `subset` if it has loaded that.
        subset: The split whose text the tokenizer is proven on.
        folder: Holds the model's files; receives those of the tokenizer.

    Returns:
        Why none was written, or None.
    """
    if processing is None:
        return "its text processing is not known; name its text.json with --text"
    if subset not in task.datasets:
        return f"{task.cfg.data} holds no binarised text to prove it on"
    paths = [side.subwords for side in (processing.source, processing.target) if side.subwords is not None]
    if len(paths) < 2:
        return "transformers has no tokenizer for text that is segmented already"
    kinds = [detect(path) for path in paths]
    bpe = "sentencepiece" not in kinds
    if not bpe and kinds[0] != kinds[1]:
        return f"source and target must have the same kind of subwords, but have {kinds[0]} and {kinds[1]}"
    tokenizer, requirements = ("FSMTTokenizer", _FSMT) if bpe else ("MarianTokenizer", _MARIAN)
    for side, setting, value in requirements:
        present = getattr(getattr(processing, side), setting)
        if present != value:
            return f"{tokenizer} needs {setting} = {value!r} on the {side} side, but it is {present!r}"
    present_before = set(folder.iterdir())
    if bpe:
        _write_fsmt(processing, paths[0], task, folder)
    else:
        _write_marian(paths, task, folder)
    text = _difference(processing, task, subset, folder)
    if text is None:
        return None
    for path in set(folder.iterdir()) - present_before:
        path.unlink()
    return f"{tokenizer} handles a sentence of {subset} otherwise: {text!r}"


def _write_marian(models: list[Path], task: TranslationTask, folder: Path) -> None:
    """Write a MarianTokenizer. It runs SentencePiece, and looks its pieces up in fairseq's dictionaries."""
    from transformers import MarianTokenizer

    copies = {"source_spm": folder / "source.spm", "target_spm": folder / "target.spm"}
    for copy, model in zip(copies.values(), models, strict=True):
        shutil.copyfile(model, copy)
    vocabularies = {"vocab": folder / "vocab.json", "target_vocab_file": folder / "target_vocab.json"}
    for path, words in zip(vocabularies.values(), (task.source_dictionary, task.target_dictionary), strict=True):
        _write_json(path, {word: number for number, word in enumerate(words.symbols)})
    given = {name: str(path) for name, path in (copies | vocabularies).items()}
    MarianTokenizer(**given, separate_vocabs=True, **_common(task)).save_pretrained(folder)


def _write_fsmt(processing: TextProcessing, codes: Path, task: TranslationTask, folder: Path) -> None:
    """Write an FSMTTokenizer. It marks the end of a word, where fairseq's dictionaries mark that a word continues."""
    from transformers import FSMTTokenizer

    vocabularies = {"src_vocab_file": folder / "vocab-src.json", "tgt_vocab_file": folder / "vocab-tgt.json"}
    for path, words in zip(vocabularies.values(), (task.source_dictionary, task.target_dictionary), strict=True):
        special = words.symbols[: words.nspecial]
        _write_json(path, {word if word in special else _ending(word): words.index(word) for word in words.symbols})
    lines = [line for line in codes.read_text(encoding="utf-8").splitlines() if not line.startswith("#version")]
    merges = dict.fromkeys(tuple(line.split(" ")[:2]) for line in lines)  # of equal ones the first counts
    (folder / "merges.txt").write_text("".join(f"{first} {second}\n" for first, second in merges), encoding="utf-8")
    given = {name: str(path) for name, path in vocabularies.items()}
    FSMTTokenizer(
        [processing.source.language, processing.target.language],
        merges_file=str(folder / "merges.txt"),
        do_lower_case=processing.source.lowercase,
        **given,
        **_common(task),
    ).save_pretrained(folder)


def _ending(piece: str) -> str:
    return piece.removesuffix(_CONTINUES) if piece.endswith(_CONTINUES) else piece + _END_OF_WORD


def _common(task: TranslationTask) -> dict[str, Any]:
    return {"model_max_length": task.cfg.max_source_positions, "clean_up_tokenization_spaces": False}


def _write_json(path: Path, value: dict[str, int]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def _difference(processing: TextProcessing, task: TranslationTask, subset: str, folder: Path) -> str | None:
    """Return the first text, of the split, that a written tokenizer handles otherwise, or None."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    back = TextProcessing(processing.source, processing.source)  # source pieces to source text
    dataset = task.dataset(subset)
    for number in range(min(len(dataset), _PROOF)):
        _, pieces = _known(dataset.src[number], task.source_dictionary)
        text = back.decode(pieces)
        line = task.source_dictionary.encode_line(processing.encode(text, "source"), add_if_not_exist=False)
        if tokenizer(text)["input_ids"] != line.tolist():
            return text
        tokens, pieces = _known(dataset.tgt[number], task.target_dictionary)
        if tokenizer.decode(tokens, skip_special_tokens=True) != processing.decode(pieces):
            return processing.decode(pieces)
    return None


def _known(sentence: Tensor, words: Dictionary) -> tuple[list[int], str]:
    """Return the tokens of a sentence, less unknown ones, which have no text, and its pieces joined by blanks."""
    tokens = [token for token in sentence.tolist() if token != words.unk()]
    return tokens, words.string(torch.tensor(tokens))
