"""Scores of resampled test sets: what other sentences of the same kind might have given (Koehn, 2004).

The resamples of one call are the same for all its systems, so that differences between systems are paired. Knows lines
of text and counts; nothing about models.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU

SEED = 12345
"""The same resamples in every call, sacrebleu's default seed."""
_ORDER = 4  # BLEU's longest n-grams


def resampled_bleu(
    systems: Sequence[Sequence[str]], references: Sequence[Sequence[str]], resamples: int
) -> NDArray[np.float64]:
    """BLEU of each system on test sets drawn from this one with replacement.

    Args:
        systems: Translations, a line a sentence.
        references: One or several translations of the same sentences by people.
        resamples: Number of test sets to draw.

    Returns:
        BLEU, (resamples, systems).
    """
    drawn = _draws(len(references[0]), resamples)
    scores = np.empty((resamples, len(systems)))
    for column, system in enumerate(systems):
        sums = drawn @ _bleu_counts(system, references)  # (resamples, correct 4 + total 4 + lengths 2)
        for row, counts in enumerate(sums.astype(int).tolist()):
            correct, total, (length, reference_length) = counts[:_ORDER], counts[_ORDER:-2], counts[-2:]
            score = BLEU.compute_bleu(correct, total, length, reference_length, smooth_method="exp")
            scores[row, column] = score.score
    return scores


def resampled_shares(right: NDArray[np.float64], total: NDArray[np.float64], resamples: int) -> NDArray[np.float64]:
    """The sum of one count over the sum of another on test sets drawn from this one with replacement.

    Args:
        right: Counts of the numerator, (systems, sentences).
        total: Counts of the denominator, (systems, sentences).
        resamples: Number of test sets to draw.

    Returns:
        Shares, (resamples, systems); NaN where a test set has nothing to count.
    """
    drawn = _draws(right.shape[1], resamples)
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = (drawn @ right.T) / (drawn @ total.T)
    return shares


def _draws(sentences: int, resamples: int) -> NDArray[np.float64]:
    """How often each resample has each sentence, (resamples, sentences)."""
    generator = np.random.default_rng(SEED)
    return generator.multinomial(sentences, np.full(sentences, 1 / sentences), resamples).astype(np.float64)


def _bleu_counts(system: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """What BLEU adds up over the sentences: correct and all n-grams by order, lengths of translation and reference."""
    scorer = BLEU(effective_order=True)  # counts are the same; it spares a warning at each sentence
    scores = [scorer.sentence_score(line, lines) for line, *lines in zip(system, *references, strict=True)]
    return np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores], dtype=float)
