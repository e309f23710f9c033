"""Decoding speed of several models, measured so that they can be compared.

The models take turns within each repetition, so that other load on the machine affects all of them alike. Ratios are
computed within a repetition. Knows engines, not what is inside them.
"""

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weightdistill.decoding.engines import Engine, Pieces, Search, translate
from weightdistill.errors import DistillationError
from weightdistill.terminal import text_table

WARM_UP = 16
"""Sentences that each model translates at each batch size before it is timed; at least one full batch."""
LENGTH_TOLERANCE = 0.1
"""Largest relative difference between output lengths at which sentences per second are comparable."""


@dataclass(frozen=True)
class Spread:
    """A measurement over all repetitions."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Compute median, minimum and maximum of one or more values."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        """Format as `median (minimum-maximum)`."""
        digits = 3 if self.median < 10 else 1
        return f"{self.median:.{digits}f} ({self.minimum:.{digits}f}-{self.maximum:.{digits}f})"


@dataclass(frozen=True)
class Speed:
    """Speed of one model at one batch size. Tokens are output pieces, without end-of-sentence symbols."""

    model: str
    parameters: int
    batch_size: int
    """Sentences per batch."""
    sentences_per_second: Spread
    tokens_per_second: Spread
    tokens_per_sentence: float
    ratio: Spread
    """Sentences per second, relative to the first model in the same repetition."""
    token_ratio: Spread
    """Tokens per second, relative to the first model in the same repetition."""


@dataclass(frozen=True)
class DecodingBenchmark:
    """All speeds of one run, with the settings and the machine that it depends on."""

    speeds: list[Speed]
    settings: dict[str, Any]
    machine: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Convert to dictionaries, lists, strings and numbers, for JSON."""
        return asdict(self)

    def table(self) -> str:
        """Format the speeds as a table: medians, with minima and maxima in brackets."""
        headings = [
            *("model", "parameters", "batch", "sentences/s", "ratio", "tokens/s", "ratio"),
            "tokens/sentence",
        ]
        rows = [
            [
                speed.model,
                f"{speed.parameters:,}",
                str(speed.batch_size),
                *map(str, (speed.sentences_per_second, speed.ratio, speed.tokens_per_second, speed.token_ratio)),
                f"{speed.tokens_per_sentence:.1f}",
            ]
            for speed in self.speeds
        ]
        return text_table(headings, rows)

    def warning(self) -> str | None:
        """Return a warning if the models' outputs differ in length; see `length_warning`."""
        return length_warning({speed.model: speed.tokens_per_sentence for speed in self.speeds})


def length_warning(tokens_per_sentence: Mapping[str, float]) -> str | None:
    """Warn if sentences per second mislead, because some models write longer or shorter translations than the first.

    Args:
        tokens_per_sentence: Mean output length of each model.

    Returns:
        The warning, or None if all lengths are within LENGTH_TOLERANCE of the first model's.
    """
    (first, reference), *others = tokens_per_sentence.items()
    uneven = [
        f"{name} {length:.1f}" for name, length in others if abs(length - reference) > LENGTH_TOLERANCE * reference
    ]
    if not uneven:
        return None
    return (
        f"Output lengths differ by more than {LENGTH_TOLERANCE:.0%}; compare tokens/s. Tokens per sentence: {first} "
        f"{reference:.1f}, {', '.join(uneven)}."
    )


def benchmark_decoding(
    engines: Sequence[Engine],
    sentences: Sequence[Pieces],
    *,
    batch_sizes: Sequence[int] = (1, 64),
    beam: int = 4,
    length_penalty: float = 1.0,
    output_length: int | None = None,
    repetitions: int = 3,
    threads: int | None = None,
    progress: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> DecodingBenchmark:
    """Time all engines in turn. Ratios are relative to the first engine.

    Args:
        engines: Loaded models.
        sentences: Source pieces. Every engine translates all of them in each repetition, at each batch size.
        batch_sizes: Sentences per batch.
        beam: Hypotheses kept at each step.
        length_penalty: See `engines.Search`.
        output_length: Forced length of every translation; see `engines.Search`.
        repetitions: Measurements of each model at each batch size.
        threads: CPU threads that the engines use; only recorded.
        progress: Called after each measurement.
        clock: Returns the time in seconds.

    Returns:
        The speeds, ordered by batch size, then as `engines`.

    Raises:
        DistillationError: There is no engine or no sentence with a piece, or a number is not positive.
    """
    sentences = list(sentences)  # lines that are split on access would be split while the clock runs
    if not engines:
        raise DistillationError("a benchmark needs at least one model; name a checkpoint or a CTranslate2 folder")
    if not any(sentences):
        raise DistillationError("a benchmark needs sentences to translate, but all are empty; give a file of pieces")
    if not batch_sizes:
        raise DistillationError("a benchmark needs at least one batch size, e.g. 1")
    if repetitions < 1:
        raise DistillationError(f"repetitions must be at least 1, but is {repetitions}")
    searches = [Search(beam, 1, length_penalty, size, "sentences", output_length=output_length) for size in batch_sizes]

    speeds = []
    for size, search in zip(batch_sizes, searches, strict=True):
        for engine in engines:
            translate(engine, sentences[: max(WARM_UP, size)], search)
        seconds: list[list[float]] = [[] for _ in engines]
        tokens: list[list[int]] = [[] for _ in engines]
        for _ in range(repetitions):
            for index, engine in enumerate(engines):
                start = clock()
                output = translate(engine, sentences, search)
                seconds[index].append(clock() - start)
                tokens[index].append(sum(map(len, output)))
                progress()
        rates = [
            [count / duration for count, duration in zip(tokens[index], seconds[index], strict=True)]
            for index in range(len(engines))
        ]
        for index, engine in enumerate(engines):
            speeds.append(
                Speed(
                    model=engine.name,
                    parameters=engine.parameters,
                    batch_size=size,
                    sentences_per_second=Spread.of([len(sentences) / duration for duration in seconds[index]]),
                    tokens_per_second=Spread.of(rates[index]),
                    tokens_per_sentence=statistics.fmean(tokens[index]) / len(sentences),
                    ratio=Spread.of(_ratios(seconds[0], seconds[index])),
                    token_ratio=Spread.of(_ratios(rates[index], rates[0])),
                )
            )
    settings = {
        "batch_sizes": list(batch_sizes),
        "beam": beam,
        "length_penalty": length_penalty,
        "output_length": output_length,
        "repetitions": repetitions,
        "sentences": len(sentences),
        "source_tokens": sum(map(len, sentences)),
        "warm_up_sentences": [min(max(WARM_UP, size), len(sentences)) for size in batch_sizes],
        "threads": threads,
    }
    return DecodingBenchmark(speeds=speeds, settings=settings, machine=machine())


def _ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Divide pairwise; a model that wrote nothing has no speed in tokens, and gives 0."""
    return [first / second if second else 0.0 for first, second in zip(numerators, denominators, strict=True)]


def machine() -> dict[str, Any]:
    """Describe what a measured speed depends on: software versions, CPU and GPU."""
    versions = {"python": platform.python_version()}
    for package in ("torch", "ctranslate2", "fairseq", "fairseq-fixed", "weightdistill"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "cpu": _cpu_name(), "cpu_count": os.cpu_count(), "gpu": _gpu_name()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
