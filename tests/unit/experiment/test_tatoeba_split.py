"""The split of a corpus with several translations of a sentence: no side is in two parts; training keeps the rest."""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("split", Path(__file__).parents[3] / "experiments/tatoeba-de-en/split.py")
module = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(module)
PAIRS = [(f"de {number} {variant}", f"en {number}") for number in range(40) for variant in range(1 + number % 3)]


def test_parts_share_no_english_sentence_and_training_keeps_every_translation():
    parts = module.split(PAIRS, 10, seed=1)
    english = {name: {pair[1] for pair in part} for name, part in parts.items()}
    assert len(parts["valid"]) == len(parts["test"]) == 10
    assert sum(map(len, english.values())) == len(set.union(*english.values())) == 40
    assert sorted(parts["train"]) == sorted(pair for pair in PAIRS if pair[1] in english["train"])
    assert module.split(PAIRS, 10, seed=1) == parts != module.split(PAIRS, 10, seed=2)


def test_a_source_with_several_translations_is_in_one_part():
    ambiguous = [("de", f"en {number}") for number in range(40)]
    parts = module.split([*PAIRS, *ambiguous], 10, seed=1)
    german = {name: {pair[0] for pair in part} for name, part in parts.items()}
    assert sum(map(len, german.values())) == len(set.union(*german.values()))
    assert len(parts["valid"]) == len(parts["test"]) == 10
    assert ("de" in german["train"]) == ("de" not in german["valid"] | german["test"])


def test_a_corpus_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="less than half of the 40 English sentences, but is 20"):
        module.split(PAIRS, 20, seed=1)
