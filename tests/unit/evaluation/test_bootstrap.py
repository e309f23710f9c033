"""Resampled scores, against scores of the lines that were drawn."""

import numpy as np
import pytest
import sacrebleu

from weightdistill.evaluation import bootstrap

REFERENCES = ["the cat sat on a mat .", "the dog ran far away .", "a bird", "the bird sang all day long , it did ."]
OTHERS = ["a cat sat on the mat .", "the dog ran off .", "some bird", "all day long the bird sang ."]
GOOD = ["the cat sat on a mat .", "the dog ran away .", "a bird", "the bird sang all day , it did ."]
BAD = ["the cat sat there .", "a dog ran far away .", "the fish", "a bird sang all day ."]


def drawn(sentences: int, resamples: int) -> list[list[int]]:
    """The sentences of each resample, drawn as the module says that it draws."""
    counts = np.random.default_rng(bootstrap.SEED).multinomial(sentences, [1 / sentences] * sentences, resamples)
    return [np.repeat(np.arange(sentences), row).tolist() for row in counts]


@pytest.mark.parametrize("references", [[REFERENCES], [REFERENCES, OTHERS]])
def test_resampled_bleu_is_bleu_of_the_lines_that_were_drawn(references: list[list[str]]) -> None:
    scores = bootstrap.resampled_bleu([GOOD, BAD], references, resamples=20)
    for row, lines in zip(scores, drawn(4, 20), strict=True):
        for score, system in zip(row, (GOOD, BAD), strict=True):
            chosen = [[side[line] for line in lines] for side in references]
            assert score == pytest.approx(sacrebleu.corpus_bleu([system[line] for line in lines], chosen).score)


def test_resampled_shares_are_of_the_sentences_that_were_drawn() -> None:
    right, total = np.array([[1.0, 0, 2, 0]]), np.array([[2.0, 1, 2, 0]])
    shares = bootstrap.resampled_shares(right, total, resamples=20)
    for share, lines in zip(shares[:, 0], drawn(4, 20), strict=True):
        assert share == pytest.approx(sum(right[0, line] for line in lines) / sum(total[0, line] for line in lines))
    assert np.isnan(bootstrap.resampled_shares(0 * right, 0 * total, resamples=1)).all()
