"""The toy corpus: the same for the same seed, no test sentence in the training data, agreement as described."""

import importlib.util
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("corpus", Path(__file__).parents[3] / "experiments/toy/corpus.py")
corpus = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(corpus)
SIZES = {"test": 50, "valid": 50, "train": 500}


def test_a_seed_gives_one_corpus_and_another_seed_another():
    assert corpus.generate(1, SIZES) == corpus.generate(1, SIZES)
    assert corpus.generate(1, SIZES) != corpus.generate(2, SIZES)


def test_parts_have_their_sizes_and_no_source_in_common():
    parts = corpus.generate(1, SIZES)
    assert {part: len(pairs) for part, pairs in parts.items()} == SIZES
    sources = [source for pairs in parts.values() for source, _ in pairs]
    assert len(set(sources)) == len(sources)
    assert all(source and target for pairs in parts.values() for source, target in pairs)


def test_some_source_words_have_several_stems_in_the_target():
    languages = corpus.Languages(corpus.random.Random(1))
    assert any(noun.targets[0] != noun.targets[1] for noun in languages.nouns)
    assert any(verb.targets[0] != verb.targets[1] for verb in languages.transitive)
    assert len({noun.source for noun in languages.nouns}) == len(languages.nouns)
