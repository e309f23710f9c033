"""Where one translation is better than another: by length of the sentence, and by frequency of the word.

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
    """A range of lengths or frequencies, from `least` to just below `limit` (None: no limit)."""

    least: int
    limit: int | None
    count: int
    """Sentences, or reference words, in it."""
    scores: list[float | None]
    """Of each system, from 0 to 100; None where nothing is to be scored."""
    resampled: NDArray[np.float64] | None = field(default=None, compare=False)
    """The same of resampled test sets, (resamples, systems); None where none were drawn, or nothing is to be scored."""

    @property
    def name(self) -> str:
        """The range as text."""
        if self.limit is None:
            return f"{self.least} and more"
        return str(self.least) if self.limit == self.least + 1 else f"{self.least} to {self.limit - 1}"


def bleu_by_length(
    systems: Sequence[Sequence[str]],
    references: Sequence[str],
    edges: Sequence[int] | None = None,
    resamples: int = 0,
) -> list[Bucket]:
    """BLEU of each system over the sentences whose references have so many words.

    Args:
        systems: translations, a line a sentence.
        references: their references.
        edges: the least number of words (in BLEU's own tokenisation) of each bucket, rising; default: fifths of the
            sentences, as nearly as their lengths allow.
        resamples: test sets to draw with replacement from the sentences of each bucket.

    Raises:
        DistillationError: numbers of lines that differ, or edges that do not rise.
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
        own = [references[index] for index in chosen]
        translations = [[system[index] for index in chosen] for system in systems]
        # "force" only silences a warning at text that looks tokenised
        scores: list[float | None] = [
            BLEU(force=True).corpus_score(lines, [own]).score if chosen else None for lines in translations
        ]
        resampled = resampled_bleu(translations, [own], resamples) if chosen and resamples else None
        buckets.append(Bucket(least, limit, len(chosen), scores, resampled))
    return buckets


def word_f1_by_frequency(
    systems: Sequence[Sequence[str]],
    references: Sequence[str],
    training: Sequence[str],
    edges: Sequence[int] = (0, 1, 5, 20, 100, 1000),
    resamples: int = 0,
) -> list[Bucket]:
    """How well each system translates words that the training data have so often: F1 of words, case and all.

    A word of a translation is right where its reference has it as often in that sentence. As compare-mt does (Neubig et
    al., 2019).

    Args:
        systems: translations, a line a sentence.
        references: their references.
        training: target side of the training data.
        edges: the least frequency of each bucket, rising.
        resamples: test sets to draw with replacement from the sentences.

    Raises:
        DistillationError: numbers of lines that differ, or edges that do not rise.
    """
    _require(systems, references, edges)
    frequencies = Counter(word for line in training for word in _words(line))
    wanted = [Counter(_words(line)) for line in references]
    found = [[Counter(_words(line)) for line in system] for system in systems]
    buckets = []
    for least, limit in _ranges(edges):

        def own(words: Counter[str], least: int = least, limit: int | None = limit) -> int:
            return sum(
                count
                for word, count in words.items()
                if least <= frequencies[word] and (limit is None or frequencies[word] < limit)
            )

        of_references = [own(words) for words in wanted]
        right = np.array(
            [[own(ours & theirs) for ours, theirs in zip(system, wanted, strict=True)] for system in found], dtype=float
        )  # (systems, sentences)
        total = np.array([list(map(own, system)) for system in found], dtype=float) + of_references
        scores: list[float | None] = [
            float(200 * hits.sum() / words.sum()) if words.any() else None
            for hits, words in zip(right, total, strict=True)
        ]
        resampled = 200 * resampled_shares(right, total, resamples) if resamples else None
        buckets.append(Bucket(least, limit, sum(of_references), scores, resampled))
    return buckets


def _words(line: str) -> list[str]:
    """The words that BLEU counts."""
    return str(_TOKENISER(line)).split()


def _ranges(edges: Sequence[int]) -> list[tuple[int, int | None]]:
    return list(zip(edges, [*edges[1:], None], strict=True))


def _require(systems: Sequence[Sequence[str]], references: Sequence[str], edges: Sequence[int]) -> None:
    for number, system in enumerate(systems):
        if len(system) != len(references):
            raise DistillationError(
                f"every system must have the {len(references)} lines of the references, but number {number} has "
                f"{len(system)}"
            )
    if not edges or list(edges) != sorted(set(edges)):
        raise DistillationError(f"edges of buckets must rise, but are {', '.join(map(str, edges))}")
