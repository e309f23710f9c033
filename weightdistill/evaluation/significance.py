"""Paired significance tests against the first system: sacrebleu's for its metrics, and the same for segment scores.

Knows scores and sentences; nothing about models or files.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest

from weightdistill.errors import DistillationError

DEFAULT_SEED = 12345
"""Seed of the resamples if the environment variable SACREBLEU_SEED is not set; the same as in sacrebleu."""
TESTS: Mapping[str, str] = {"bootstrap": "bs", "randomisation": "ar"}
"""Paired tests and their names in sacrebleu: bootstrap (Koehn, 2004), approximate randomisation (Riezler, 2005)."""


@dataclass(frozen=True)
class Significance:
    """Result of a paired test of one system."""

    mean: float | None = None
    """Mean over the resamples of the bootstrap."""
    half_interval: float | None = None
    """Half the width of the bootstrap's 95% confidence interval."""
    p_value: float | None = None
    """P-value against the first system: one-sided for the bootstrap, two-sided for randomisation. None for the first
    system."""


def resampling_seed() -> int:
    """Return the seed that sacrebleu will use. It treats 0 and `none` as no seed, which is not reproducible.

    Raises:
        DistillationError: SACREBLEU_SEED is not a positive whole number.
    """
    value = os.environ.get("SACREBLEU_SEED", str(DEFAULT_SEED))
    if not value.isdecimal() or int(value) == 0:
        raise DistillationError(f"SACREBLEU_SEED must be a positive whole number, but is {value!r}; change or unset it")
    return int(value)


def paired_tests(
    scorer: Metric,
    systems: Sequence[Sequence[str]],
    scores: Sequence[float],
    *,
    test: str,
    resamples: int,
    lowercase: bool = False,
    progress: Callable[[], object] = lambda: None,
) -> list[Significance]:
    """Run sacrebleu's paired test of each system against the first. Its seed is SACREBLEU_SEED.

    Args:
        scorer: The metric, with its references.
        systems: Sentences of each system.
        scores: Corpus score of each system.
        test: One of TESTS.
        resamples: Number of resamples.
        lowercase: Whether the metric ignores case.
        progress: Called after the test of each system.
    """
    fold = str.lower if lowercase else str
    significances = [Significance() for _ in systems]
    for index in range(1, max(2, len(systems))):
        compared = (0, index)[: len(systems)]
        named = [(str(number), systems[number]) for number in compared]
        _, columns = PairedTest(named, {"metric": scorer}, None, test_type=TESTS[test], n_samples=resamples)()
        (results,) = (column for name, column in columns.items() if name != "System")
        for number, result in zip(compared, results, strict=True):
            if isinstance(result, str):
                raise TypeError(f"sacrebleu must return a result, but returned {result!r}")
            p_value = result.p_value
            if p_value is not None and scores[number] == scores[0]:
                p_value = (
                    1.0  # sacrebleu counts only larger differences, so that equal systems would get the smallest p
                )
            elif p_value is not None and test == "randomisation":
                # For the same reason it omits two of all 2^n assignments: the observed one and its mirror image.
                sentence_pairs = zip(systems[0], systems[number], strict=True)
                different = sum(fold(first) != fold(second) for first, second in sentence_pairs)
                p_value = max(p_value, 2.0 ** (1 - different))
            significances[number] = Significance(
                mean=None if result.mean is None else float(result.mean),
                half_interval=None if result.ci is None else float(result.ci),
                p_value=p_value,
            )
        progress()
    return significances


def segment_tests(segments: Sequence[Any], *, test: str, resamples: int, seed: int) -> list[Significance]:
    """Run the same test on means of segment scores. P-values have the same sides as sacrebleu's.

    Args:
        segments: Segment scores of each system, arrays of shape (sentences,).
        test: One of TESTS.
        resamples: Number of resamples.
        seed: Seed of the resamples.
    """
    generator = np.random.default_rng(seed)
    count = len(segments[0])
    if test == "bootstrap":
        weights = generator.multinomial(count, [1 / count] * count, resamples) / count
    else:
        weights = generator.choice((-1.0, 1.0), (resamples, count)) / count
    significances = []
    for index, scores in enumerate(segments):
        mean = half_interval = p_value = None
        if test == "bootstrap":
            means = weights @ scores  # (resamples,)
            low, high = np.quantile(means, (0.025, 0.975))
            mean, half_interval = float(means.mean()), float(high - low) / 2
        if index:
            p_value = _p_value(scores - segments[0], weights, test)
        significances.append(Significance(mean, half_interval, p_value))
    return significances


def _p_value(differences: Any, weights: Any, test: str) -> float:
    """Compute the p-value of differences (sentences,) under resampling weights (resamples, sentences)."""
    observed = float(differences.mean())
    resampled = weights @ differences  # (resamples,)
    # Bootstrap: deviations from the mean on the observed side. Randomisation: absolute differences.
    resampled = np.sign(observed) * (resampled - resampled.mean()) if test == "bootstrap" else abs(resampled)
    larger = int((resampled >= abs(observed) * (1 - 1e-9)).sum())  # the order of summation affects the last digits
    return (larger + 1) / (len(resampled) + 1)
