"""Decoding speed of several models, measured so that they can be compared.

All models take their turn within each repetition, so that what else the machine does hits all alike, and ratios are
taken within a repetition. Knows engines, not what is inside them.
"""

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weightdistill.decoding.engines import Engine, Pieces, Search, translate
from weightdistill.errors import DistillationError

WARM_UP = 16
"""Sentences that each model translates at each batch size before anything is measured; a full batch at least."""


@dataclass(frozen=True)
class Spread:
    """A measured number over the repetitions."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Median, minimum and maximum of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        digits = 3 if self.median < 10 else 1
        return f"{self.median:.{digits}f} ({self.minimum:.{digits}f}-{self.maximum:.{digits}f})"


@dataclass(frozen=True)
class Speed:
    """Speed of one model at one batch size."""

    model: str
    parameters: int
    batch_size: int
    """Sentences decoded together."""
    sentences_per_second: Spread
    tokens_per_second: Spread
    """Output pieces, without end-of-sentence marks."""
    ratio: Spread
    """Sentences per second, divided by the first model's in the same repetition."""


@dataclass(frozen=True)
class DecodingBenchmark:
    """All speeds of one run, and what somebody needs to repeat it."""

    speeds: list[Speed]
    settings: dict[str, Any]
    machine: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries, lists, strings and numbers, for JSON."""
        return asdict(self)

    def table(self) -> str:
        """The speeds as text: medians, and minima and maxima in brackets."""
        heads = ["model", "parameters", "batch", "sentences/s", "tokens/s", "ratio"]
        rows = [
            [
                speed.model,
                f"{speed.parameters:,}",
                str(speed.batch_size),
                *map(str, (speed.sentences_per_second, speed.tokens_per_second, speed.ratio)),
            ]
            for speed in self.speeds
        ]
        return text_table(heads, rows)


def benchmark_decoding(
    engines: Sequence[Engine],
    sentences: Sequence[Pieces],
    *,
    batch_sizes: Sequence[int] = (1, 64),
    beam: int = 4,
    length_penalty: float = 1.0,
    repetitions: int = 3,
    threads: int | None = None,
    progress: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> DecodingBenchmark:
    """Measure all engines in turn; the ratio is to the first.

    Args:
        engines: loaded models.
        sentences: source pieces; every engine translates all of them in each repetition, at each batch size.
        batch_sizes: in sentences.
        beam: hypotheses kept at each step.
        length_penalty: see `engines.Search`.
        repetitions: measurements of each model at each batch size.
        threads: CPU threads that the engines were given; only recorded.
        progress: called after each measurement.
        clock: seconds.

    Raises:
        DistillationError: no engine, no sentence with a piece in it, or a number that is not positive.
    """
    if not engines:
        raise DistillationError("a benchmark needs at least one model")
    if not any(sentences):
        raise DistillationError("a benchmark needs sentences to translate, but all are empty")
    if not batch_sizes:
        raise DistillationError("a benchmark needs at least one batch size")
    if repetitions < 1:
        raise DistillationError(f"repetitions must be at least 1, but is {repetitions}")
    searches = [Search(beam, 1, length_penalty, size, "sentences") for size in batch_sizes]

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
        for index, engine in enumerate(engines):
            speeds.append(
                Speed(
                    model=engine.name,
                    parameters=engine.parameters,
                    batch_size=size,
                    sentences_per_second=Spread.of([len(sentences) / time for time in seconds[index]]),
                    tokens_per_second=Spread.of(
                        [count / time for count, time in zip(tokens[index], seconds[index], strict=True)]
                    ),
                    ratio=Spread.of([first / own for first, own in zip(seconds[0], seconds[index], strict=True)]),
                )
            )
    settings = {
        "batch_sizes": list(batch_sizes),
        "beam": beam,
        "length_penalty": length_penalty,
        "repetitions": repetitions,
        "sentences": len(sentences),
        "source_tokens": sum(map(len, sentences)),
        "warm_up_sentences": [min(max(WARM_UP, size), len(sentences)) for size in batch_sizes],
        "threads": threads,
    }
    return DecodingBenchmark(speeds=speeds, settings=settings, machine=machine())


def machine() -> dict[str, Any]:
    """Versions and hardware that a measured speed depends on."""
    versions = {"python": platform.python_version()}
    for package in ("torch", "ctranslate2", "fairseq", "fairseq-fixed", "weightdistill"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "cpu": _cpu_name(), "cpu_count": os.cpu_count(), "gpu": _gpu_name()}


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (heads, *rows)
    ]
    return "\n".join(lines)


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
