"""Scores by length and by frequency, on lines short enough to count by hand."""

import pytest
import sacrebleu

from weightdistill.errors import DistillationError
from weightdistill.evaluation.analysis import bleu_by_length, word_f1_by_frequency

REFERENCES = ["the cat sat on a mat .", "the dog ran far away .", "a bird", "the bird sang all day long , it did ."]
GOOD = list(REFERENCES)
BAD = ["the cat sat on the mat .", "a dog ran away .", "the fish", "the bird sang all day , it did ."]


def test_each_length_is_scored_as_a_separate_corpus():
    short, middle, long = bleu_by_length([GOOD, BAD], REFERENCES, edges=(1, 5, 8))
    assert (short.name, middle.name, long.name) == ("1 to 4", "5 to 7", "8 and more")
    assert [bucket.count for bucket in (short, middle, long)] == [1, 2, 1]
    assert middle.scores[0] == pytest.approx(100)
    assert middle.scores[1] == pytest.approx(sacrebleu.corpus_bleu(BAD[:2], [REFERENCES[:2]]).score)
    assert bleu_by_length([GOOD], REFERENCES, edges=(50,))[0].scores == [None]


def test_default_lengths_are_fifths_of_the_sentences() -> None:
    lines = ["a " * length for length in (30, *range(1, 20))]
    buckets = bleu_by_length([lines], lines)
    assert [(bucket.least, bucket.count) for bucket in buckets] == [(1, 4), (5, 4), (9, 4), (13, 4), (17, 4)]
    assert [bucket.least for bucket in bleu_by_length([["a b"] * 3], ["a b"] * 3)] == [2]


def test_a_word_is_correct_at_most_as_often_as_the_reference_has_it():
    """Frequencies in the training data: the 3, bird 2, cat 1; `a` and `mat` do not occur."""
    training = ["the the the bird bird cat"]
    never, seldom, often = word_f1_by_frequency([GOOD, BAD], REFERENCES, training, edges=(0, 1, 3))
    assert (never.name, seldom.name, often.name) == ("0", "1 to 2", "3 and more")
    assert often.count == 3 and often.scores[0] == 100
    # `the` occurs 1, 1, 0, 1 times in the references and 2, 0, 1, 1 times in the translations: two are correct
    assert often.scores[1] == pytest.approx(100 * 2 * 2 / (3 + 4))
    # cat 1 and bird 2 times in the references; cat 1 and bird 1 times in the translations
    assert (seldom.count, seldom.scores[1]) == (3, pytest.approx(100 * 2 * 2 / (3 + 2)))
    assert sum(bucket.count for bucket in (never, seldom, often)) == sum(len(line.split()) for line in REFERENCES)


def test_impossible_input_is_refused():
    with pytest.raises(
        DistillationError, match="every system must have 4 lines like the references, but system 1 has 3"
    ):
        bleu_by_length([GOOD, BAD[:3]], REFERENCES)
    with pytest.raises(DistillationError, match="edges of buckets must ascend, but are 5, 1"):
        word_f1_by_frequency([GOOD], REFERENCES, GOOD, edges=(5, 1))


def test_resamples_vary_around_the_scores_and_keep_systems_paired() -> None:
    references, good, bad = REFERENCES * 10, GOOD * 10, BAD * 10
    training = ["the the the bird bird cat"]
    for buckets in (
        bleu_by_length([good, bad, bad], references, edges=(1,), resamples=200),
        word_f1_by_frequency([good, bad, bad], references, training, edges=(0,), resamples=200),
    ):
        (bucket,) = buckets
        assert bucket.resampled is not None and bucket.resampled.shape == (200, 3)
        assert bucket.resampled[:, 0] == pytest.approx(100), "a perfect system is perfect on every sample"
        assert (bucket.resampled[:, 1] == bucket.resampled[:, 2]).all(), "equal systems are equal on every sample"
        assert bucket.resampled[:, 1].mean() == pytest.approx(bucket.scores[1], abs=1)
        assert 0.1 < bucket.resampled[:, 1].std() < 10
    assert bleu_by_length([good], references)[0].resampled is None
