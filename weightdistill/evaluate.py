"""Scores translations with sacrebleu: BLEU, chrF, their signatures, and a paired bootstrap against the first system.

Knows text files, one sentence a line; nothing about models, subwords or fairseq.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result

from weightdistill.errors import DistillationError

DEFAULT_SEED = 12345
"""Seed of the bootstrap where the environment variable SACREBLEU_SEED is not set; the same as sacrebleu's."""


@dataclass(frozen=True)
class MetricScore:
    """One system's score by one metric, from 0 to 100."""

    score: float
    signature: str
    """sacrebleu's: everything that somebody needs to get this number again."""
    mean: float | None = None
    """Mean over the bootstrap's resamples."""
    half_interval: float | None = None
    """Half the width of the bootstrap's 95% confidence interval."""
    p_value: float | None = None
    """Paired bootstrap against the first system; None for the first itself, and without a bootstrap."""


@dataclass(frozen=True)
class SystemScore:
    """All scores of one system."""

    name: str
    bleu: MetricScore
    chrf: MetricScore


@dataclass(frozen=True)
class Evaluation:
    """Scores of one or several systems on the same references. The first one is the baseline of the bootstrap."""

    references: list[str]
    sentences: int
    resamples: int
    """Resamples of the bootstrap; 0 where there was none."""
    seed: int | None
    """Seed of the bootstrap; None where there was none."""
    systems: list[SystemScore]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries, lists, strings and numbers, for JSON."""
        return asdict(self)

    def table(self) -> str:
        """The scores as text, one line a system, with the signatures below."""
        width = max(len("system"), *(len(system.name) for system in self.systems))
        lines = [f"{'system':{width}}  {'BLEU':>22}  {'chrF':>22}"]
        lines += [f"{s.name:{width}}  {_cell(s.bleu):>22}  {_cell(s.chrf):>22}" for s in self.systems]
        if self.resamples:
            lines.append(
                f"± half of the 95% interval; p: paired bootstrap against the first, "
                f"{self.resamples} resamples, seed {self.seed}"
            )
        first = self.systems[0]
        lines += [f"BLEU signature: {first.bleu.signature}", f"chrF signature: {first.chrf.signature}"]
        return "\n".join(lines)


def read_lines(path: str | Path) -> list[str]:
    """Read a UTF-8 text file as lines; only line feeds (and a carriage return before them) end a line.

    Raises:
        DistillationError: the file is missing, unreadable, empty, or not UTF-8.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DistillationError(f"{path} cannot be read: {error.strerror}; give the path of a text file") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DistillationError(f"{path}: line {line} is not UTF-8; convert the file first") from error
    if not text.strip():
        raise DistillationError(f"{path} is empty; it must hold one sentence a line")
    # Not splitlines(): it would also break lines at characters such as U+2028, and the sides would no longer align.
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def evaluate_files(
    hypotheses: Sequence[str | Path],
    references: Sequence[str | Path],
    *,
    lowercase: bool = False,
    tokenize: str = "13a",
    resamples: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Score files of detokenised text, one sentence a line.

    Args:
        hypotheses: one file a system; the first is the baseline of the bootstrap.
        references: one or several files, each a translation of the same sentences.
        lowercase: ignore case, in BLEU and chrF.
        tokenize: sacrebleu's name of BLEU's tokeniser.
        resamples: resamples of the paired bootstrap, 0 for none.
        progress: called after the bootstrap of each system but the first, which takes long.

    Raises:
        DistillationError: as `read_lines` and `evaluate`, or files whose numbers of lines differ; both are named.
    """
    if not hypotheses or not references:
        raise DistillationError("scoring needs at least one file of hypotheses and one of references")
    reference_lines = [read_lines(path) for path in references]
    sentences = len(reference_lines[0])
    for path, lines in zip(references[1:], reference_lines[1:], strict=True):
        if len(lines) != sentences:
            raise DistillationError(
                f"references must have the same number of lines, but {references[0]} has {sentences} and {path} "
                f"has {len(lines)}"
            )
    systems = []
    for path in hypotheses:
        lines = read_lines(path)
        if len(lines) != sentences:
            raise DistillationError(
                f"hypotheses and references must have the same number of lines, but {path} has {len(lines)} and "
                f"{references[0]} has {sentences}; translate the whole set again"
            )
        systems.append((str(path), lines))
    return evaluate(
        systems,
        reference_lines,
        reference_names=[str(path) for path in references],
        lowercase=lowercase,
        tokenize=tokenize,
        resamples=resamples,
        progress=progress,
    )


def evaluate(
    systems: Sequence[tuple[str, Sequence[str]]],
    references: Sequence[Sequence[str]],
    *,
    reference_names: Sequence[str] = (),
    lowercase: bool = False,
    tokenize: str = "13a",
    resamples: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Score systems, given as (name, sentences), on the same references; the other arguments as `evaluate_files`.

    Raises:
        DistillationError: numbers of sentences that differ, an unknown tokeniser, negative resamples, or a
            SACREBLEU_SEED that does not give the same resamples each time.
    """
    sentences = len(references[0])
    for name, lines in [*systems, *((f"reference {index + 1}", lines) for index, lines in enumerate(references))]:
        if len(lines) != sentences:
            raise DistillationError(
                f"every system and reference must have {sentences} sentences, as the first reference, but {name} "
                f"has {len(lines)}"
            )
    if resamples < 0:
        raise DistillationError(f"bootstrap resamples must be 0 or more, but are {resamples}")
    seed = _seed() if resamples else None
    metrics: dict[str, Metric] = {
        "bleu": _bleu(lowercase, tokenize, references),
        "chrf": CHRF(lowercase=lowercase, references=references),
    }
    scores = {
        metric: [
            MetricScore(scorer.corpus_score(lines, None).score, str(scorer.get_signature())) for _, lines in systems
        ]
        for metric, scorer in metrics.items()
    }
    if resamples:
        baseline = {metric: plain[0] for metric, plain in scores.items()}
        for index in range(1, max(2, len(systems))):
            pair = [systems[0], *systems[index : index + 1]]
            _, columns = PairedTest(pair, metrics, None, test_type="bs", n_samples=resamples)()
            columns = {name.rstrip("2").lower(): column for name, column in columns.items()}  # chrF2 -> chrf
            for metric, plain in scores.items():
                for place, result in zip((0, index), columns[metric], strict=False):
                    plain[place] = _with_bootstrap(plain[place], result, baseline[metric])
            progress()
    return Evaluation(
        references=list(reference_names) or [f"reference {index + 1}" for index in range(len(references))],
        sentences=sentences,
        resamples=resamples,
        seed=seed,
        systems=[
            SystemScore(name=name, bleu=scores["bleu"][index], chrf=scores["chrf"][index])
            for index, (name, _) in enumerate(systems)
        ],
    )


def _bleu(lowercase: bool, tokenize: str, references: Sequence[Sequence[str]]) -> BLEU:
    if tokenize not in BLEU.TOKENIZERS:
        raise DistillationError(f"tokenize must be one of {', '.join(BLEU.TOKENIZERS)}, but is {tokenize!r}")
    try:
        return BLEU(lowercase=lowercase, tokenize=tokenize, references=references)
    except (ImportError, RuntimeError) as error:
        raise DistillationError(f"tokeniser {tokenize!r} cannot be used: {error}") from error


def _seed() -> int:
    """The seed that sacrebleu will use. It takes 0 and `none` for "no seed", and no result is repeatable then."""
    value = os.environ.get("SACREBLEU_SEED", str(DEFAULT_SEED))
    if not value.isdecimal() or int(value) == 0:
        raise DistillationError(f"SACREBLEU_SEED must be a positive whole number, but is {value!r}; change or unset it")
    return int(value)


def _with_bootstrap(score: MetricScore, result: str | Result, baseline: MetricScore) -> MetricScore:
    if isinstance(result, str):
        raise TypeError(f"sacrebleu returned {result!r} where a result belongs")
    p_value = result.p_value
    if p_value is not None and score.score == baseline.score:
        p_value = 1.0  # of two equal systems sacrebleu says the smallest p there is, since it counts larger differences
    return replace(
        score,
        mean=None if result.mean is None else float(result.mean),
        half_interval=None if result.ci is None else float(result.ci),
        p_value=p_value,
    )


def _cell(score: MetricScore) -> str:
    text = f"{score.score:.2f}"
    if score.half_interval is not None:
        text += f" ± {score.half_interval:.2f}"
    if score.p_value is not None:
        text += f" p={score.p_value:.3f}"
    return text
