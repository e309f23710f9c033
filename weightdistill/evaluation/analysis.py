"""Differences between systems by sentence length and by word frequency.

Knows lines of text; nothing about models.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from weightdistill.errors import DistillationError
from weightdistill.evaluation.bootstrap import resampled_bleu, resampled_shares

_TOKENISER = Tokenizer13a()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Bucket:
    """A range of lengths or frequencies: at least `least`, and less than `limit` (None: no limit)."""

    least: int
    limit: int | None
    count: int
    """Number of sentences, or of reference words, in this range."""
    scores: list[float | None]
    """Score of each system, from 0 to 100; None if there is nothing to score."""
    resampled: NDArray[np.float64] | None = field(default=None, compare=False)
    """Scores on resampled test sets, (resamples, systems); None without resamples or if there is nothing to score."""

    @property
    def name(self) -> str:
        """Text of the range."""
        if self.limit is None:
            return f"{self.least} and more"
        return str(self.least) if self.limit == self.least + 1 else f"{self.least} to {self.limit - 1}"


def bleu_by_length(
    systems: Sequence[Sequence[str]],
    references: Sequence[str],
    edges: Sequence[int] | None = None,
    resamples: int = 0,
) -> list[Bucket]:
    """Compute each system's corpus BLEU separately for sentences of different reference lengths.

    Args:
        systems: Translations of each system, one sentence per line.
        references: Reference of each sentence.
        edges: Lower bound of each bucket in words, in BLEU's tokenisation, ascending. Default: fifths of the sentences,
            as nearly as the lengths allow.
        resamples: Number of test sets to draw with replacement from the sentences of each bucket.

    Raises:
        DistillationError: The numbers of lines differ, or the edges do not ascend.
    """
    lengths = [len(_words(reference)) for reference in references]
    if edges is None:
        ordered = sorted(lengths) or [0]
        edges = sorted({ordered[len(ordered) * fifth // 5] for fifth in range(5)})
    _require(systems, references, edges)
    buckets = []
    for least, limit in _ranges(edges):
        chosen = [
            index for index, length in enumerate(lengths) if least <= length and (limit is None or length < limit)
        ]
        chosen_references = [references[index] for index in chosen]
        translations = [[system[index] for index in chosen] for system in systems]
        # "force" only silences a warning about text that looks tokenised.
        scores: list[float | None] = [
            BLEU(force=True).corpus_score(lines, [chosen_references]).score if chosen else None
            for lines in translations
        ]
        resampled = resampled_bleu(translations, [chosen_references], resamples) if chosen and resamples else None
        buckets.append(Bucket(least, limit, len(chosen), scores, resampled))
    return buckets


def word_f1_by_frequency(
    systems: Sequence[Sequence[str]],
    references: Sequence[str],
    training: Sequence[str],
    edges: Sequence[int] = (0, 1, 5, 20, 100, 1000),
    resamples: int = 0,
) -> list[Bucket]:
    """Compute each system's word F1, separately for words of different frequencies in the training data.

    Case matters. Within a sentence, a word counts as correct at most as often as the reference has it, as in compare-mt
    (Neubig et al., 2019).

    Args:
        systems: Translations of each system, one sentence per line.
        references: Reference of each sentence.
        training: Target side of the training data.
        edges: Lower bound of each bucket, ascending.
        resamples: Number of test sets to draw with replacement from the sentences.

    Raises:
        DistillationError: The numbers of lines differ, or the edges do not ascend.
    """
    _require(systems, references, edges)
    frequencies = Counter(word for line in training for word in _words(line))
    reference_counts = [Counter(_words(line)) for line in references]
    system_counts = [[Counter(_words(line)) for line in system] for system in systems]
    buckets = []
    for least, limit in _ranges(edges):

        def count(words: Counter[str], least: int = least, limit: int | None = limit) -> int:
            """Count the words whose frequency is in this range."""
            return sum(
                number
                for word, number in words.items()
                if least <= frequencies[word] and (limit is None or frequencies[word] < limit)
            )

        in_references = [count(words) for words in reference_counts]
        correct = np.array(
            [
                [count(words & expected) for words, expected in zip(counts, reference_counts, strict=True)]
                for counts in system_counts
            ],
            dtype=float,
        )  # (systems, sentences)
        total = np.array([list(map(count, counts)) for counts in system_counts], dtype=float) + in_references
        scores: list[float | None] = [
            float(200 * hits.sum() / words.sum()) if words.any() else None
            for hits, words in zip(correct, total, strict=True)
        ]
        resampled = 200 * resampled_shares(correct, total, resamples) if resamples else None
        buckets.append(Bucket(least, limit, sum(in_references), scores, resampled))
    return buckets


def _words(line: str) -> list[str]:
    """Split a line into the tokens that BLEU counts."""
    return str(_TOKENISER(line)).split()


def _ranges(edges: Sequence[int]) -> list[tuple[int, int | None]]:
    return list(zip(edges, [*edges[1:], None], strict=True))


def _require(systems: Sequence[Sequence[str]], references: Sequence[str], edges: Sequence[int]) -> None:
    for number, system in enumerate(systems):
        if len(system) != len(references):
            raise DistillationError(
                f"every system must have {len(references)} lines like the references, but system {number} has "
                f"{len(system)}; translate the whole set again"
            )
    if not edges or list(edges) != sorted(set(edges)):
        raise DistillationError(f"edges of buckets must ascend, but are {', '.join(map(str, edges))}; sort them")
