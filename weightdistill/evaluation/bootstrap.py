"""Bootstrap resampling: scores on test sets drawn with replacement from the given one (Koehn, 2004).

All systems of one call are scored on the same resamples, so that differences between systems are paired. Knows lines of
text and counts; nothing about models.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU

SEED = 12345
"""Seed of every call, so that all calls draw the same resamples; sacrebleu's default."""
_ORDER = 4  # length of BLEU's longest n-grams


def resampled_bleu(
    systems: Sequence[Sequence[str]], references: Sequence[Sequence[str]], resamples: int
) -> NDArray[np.float64]:
    """Compute the BLEU of each system on resampled test sets.

    Args:
        systems: Translations of each system, one sentence per line.
        references: One or several reference translations of the same sentences.
        resamples: Number of test sets to draw.

    Returns:
        BLEU of shape (resamples, systems).
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
    """Compute a ratio of two summed counts, for each system on resampled test sets.

    Args:
        right: Counts of the numerator, shape (systems, sentences).
        total: Counts of the denominator, shape (systems, sentences).
        resamples: Number of test sets to draw.

    Returns:
        Ratios of shape (resamples, systems); NaN if a test set has nothing to count.
    """
    drawn = _draws(right.shape[1], resamples)
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = (drawn @ right.T) / (drawn @ total.T)
    return shares


def _draws(sentences: int, resamples: int) -> NDArray[np.float64]:
    """Draw how often each resample contains each sentence, shape (resamples, sentences)."""
    generator = np.random.default_rng(SEED)
    return generator.multinomial(sentences, np.full(sentences, 1 / sentences), resamples).astype(np.float64)


def _bleu_counts(system: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Return BLEU's counts per sentence: correct and total n-grams by order, lengths of translation and reference."""
    scorer = BLEU(effective_order=True)  # does not change the counts, but avoids a warning per sentence
    scores = [scorer.sentence_score(line, lines) for line, *lines in zip(system, *references, strict=True)]
    return np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores], dtype=float)
