"""Scores of translations (BLEU, chrF, chrF++ and TER by sacrebleu; COMET), with significance tests.

Knows text files with one sentence per line; nothing about models, subwords or fairseq.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from weightdistill.errors import DistillationError
from weightdistill.evaluation.comet import require_comet, segment_scores
from weightdistill.evaluation.forms import require_words, tokenisation_warning
from weightdistill.evaluation.significance import TESTS, Significance, paired_tests, resampling_seed, segment_tests
from weightdistill.files import read_lines
from weightdistill.terminal import text_table

METRICS: Mapping[str, str] = {"bleu": "BLEU", "chrf": "chrF", "chrf++": "chrF++", "ter": "TER", "comet": "COMET"}
"""Titles of the metrics. For TER, lower is better."""
SMOOTHING = tuple(BLEU.SMOOTH_DEFAULTS)
"""BLEU's smoothing when no n-gram matches. `none` is the definition in multi-bleu.perl."""
MOSES = "moses:"
"""Prefix of sacremoses' tokenisers, as in `moses:de`."""


@dataclass(frozen=True)
class Settings:
    """How translations are scored.

    Raises:
        DistillationError: A value is out of range.
    """

    metrics: tuple[str, ...] = ("bleu", "chrf")
    """Names of METRICS."""
    lowercase: bool = False
    """Ignore case in all metrics except COMET."""
    tokenize: str = "13a"
    """BLEU's tokeniser: one of sacrebleu's, or `moses:LANG` for sacremoses with aggressive hyphen splitting."""
    smooth: str = "exp"
    """BLEU's smoothing, one of SMOOTHING. With the tokeniser `moses:LANG` or `none` and without smoothing, BLEU equals
    that of Moses' multi-bleu.perl (with `lowercase`, of multi-bleu.perl -lc)."""
    resamples: int = 0
    """Resamples of the paired test against the first system; 0 for no test."""
    test: str = "bootstrap"
    """One of TESTS."""
    comet: Path | None = None
    """Checkpoint of a COMET model, for the metric `comet`."""

    def __post_init__(self) -> None:
        rules = (
            *(("metric", metric, tuple(METRICS)) for metric in self.metrics),
            ("smooth", self.smooth, SMOOTHING),
            ("test", self.test, tuple(TESTS)),
        )
        for name, value, choices in rules:
            if value not in choices:
                raise DistillationError(f"{name} must be one of {', '.join(choices)}, but is {value!r}")
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise DistillationError(
                f"metrics must be one or more different ones, but are {', '.join(self.metrics) or 'none'}"
            )
        if not self.tokenize.startswith(MOSES) and self.tokenize not in BLEU.TOKENIZERS:
            raise DistillationError(
                f"tokenize must be one of {', '.join(BLEU.TOKENIZERS)} or {MOSES}LANG, but is {self.tokenize!r}"
            )
        if self.resamples < 0:
            raise DistillationError(f"resamples must be 0 or more, but are {self.resamples}; give 0 for no test")
        if ("comet" in self.metrics) != (self.comet is not None):
            raise DistillationError(
                "the metric comet and the checkpoint of its model belong together; give both or neither"
            )

    def steps(self, systems: int) -> int:
        """Count the calls of `progress` when this many systems are evaluated: one per test of a sacrebleu metric."""
        return max(1, systems - 1) * sum(metric != "comet" for metric in self.metrics)


@dataclass(frozen=True)
class MetricScore:
    """One system's score by one metric, on its usual scale; COMET times 100."""

    score: float
    signature: str
    """sacrebleu's signature: all settings needed to reproduce the score."""
    mean: float | None = None
    """See `Significance`; None without a test."""
    half_interval: float | None = None
    """See `Significance`; None without a test."""
    p_value: float | None = None
    """See `Significance`; None without a test."""

    def tested(self, significance: Significance) -> "MetricScore":
        """Return the score with the result of its paired test."""
        return replace(self, **asdict(significance))


@dataclass(frozen=True)
class SystemScore:
    """Scores of one system, by metric."""

    name: str
    metrics: Mapping[str, MetricScore]


@dataclass(frozen=True)
class Evaluation:
    """Scores of one or several systems on the same references. The first system is the baseline of the paired test."""

    references: list[str]
    sentences: int
    resamples: int
    """Resamples of the paired test; 0 without a test."""
    test: str | None
    """Name of the paired test; None without a test."""
    seed: int | None
    """Seed of the test; None without a test."""
    systems: list[SystemScore]

    def as_dict(self) -> dict[str, Any]:
        """Convert to dictionaries, lists, strings and numbers, for JSON. Metrics stand beside the system's name."""
        systems = [
            {"name": system.name} | {metric: asdict(score) for metric, score in system.metrics.items()}
            for system in self.systems
        ]
        return {**asdict(replace(self, systems=[])), "systems": systems}

    def table(self) -> str:
        """Format the scores as a table with one line per system, followed by the signatures."""
        first = self.systems[0]
        headings = ["system", *(METRICS[metric] for metric in first.metrics)]
        rows = [[system.name, *map(_cell, system.metrics.values())] for system in self.systems]
        lines = [text_table(headings, rows)]
        if self.test:
            interval = "± half of the 95% interval; " if self.test == "bootstrap" else ""
            sides = "one-sided" if self.test == "bootstrap" else "two-sided"
            lines.append(
                f"{interval}p: paired {self.test} against the first system, {sides}, {self.resamples} resamples, "
                f"seed {self.seed}"
            )
        lines += [f"{METRICS[metric]} signature: {score.signature}" for metric, score in first.metrics.items()]
        return "\n".join(lines)


def evaluate_files(
    hypotheses: Sequence[str | Path],
    references: Sequence[str | Path],
    settings: Settings | None = None,
    *,
    source: str | Path | None = None,
    progress: Callable[[], object] = lambda: None,
    warn: Callable[[str], object] = lambda warning: None,
) -> Evaluation:
    """Score files of detokenised text, one sentence per line, gzipped if their names end in .gz.

    Args:
        hypotheses: One file per system; the first is the baseline of the paired test.
        references: One or several reference translations of the same sentences.
        settings: Metrics, their options, and the paired test.
        source: Source text, for COMET.
        progress: Called after each paired test, which takes long.
        warn: Called with a warning about each file that looks tokenised.

    Raises:
        DistillationError: A file cannot be read, two files differ in their number of lines (both are named), or
            hypotheses are still subword pieces. Also see `evaluate`.
    """
    if not hypotheses or not references:
        raise DistillationError("scoring needs at least one file of hypotheses and one of references; name both")
    reference_lines = [read_lines(path) for path in references]
    sentences = len(reference_lines[0])
    for path, lines in zip(references[1:], reference_lines[1:], strict=True):
        if len(lines) != sentences:
            raise DistillationError(
                f"references must have the same number of lines, but {references[0]} has {sentences} and {path} "
                f"has {len(lines)}; name references of one test set"
            )
    systems = []
    for path in hypotheses:
        lines = read_lines(path)
        if len(lines) != sentences:
            raise DistillationError(
                f"hypotheses and references must have the same number of lines, but {path} has {len(lines)} and "
                f"{references[0]} has {sentences}; translate the whole set again"
            )
        require_words(str(path), lines)
        if warning := tokenisation_warning(str(path), lines, reference_lines[0]):
            warn(warning)
        systems.append((str(path), lines))
    return evaluate(
        systems,
        reference_lines,
        settings,
        reference_names=[str(path) for path in references],
        sources=None if source is None else read_lines(source),
        progress=progress,
    )


def evaluate(
    systems: Sequence[tuple[str, Sequence[str]]],
    references: Sequence[Sequence[str]],
    settings: Settings | None = None,
    *,
    reference_names: Sequence[str] = (),
    sources: Sequence[str] | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Score systems on the same references.

    Args:
        systems: Name and sentences of each system; the first is the baseline of the paired test.
        references: One or several reference translations of the same sentences.
        settings: Metrics, their options, and the paired test.
        reference_names: Names of the references, to be recorded.
        sources: Source sentences, for COMET.
        progress: Called after each paired test, which takes long.

    Raises:
        DistillationError: The numbers of sentences differ, a tokeniser or model cannot be used, or SACREBLEU_SEED does
            not make the resamples reproducible.
    """
    settings = settings or Settings()
    sentences = len(references[0])
    sides = [*systems, *((f"reference {index + 1}", lines) for index, lines in enumerate(references))]
    for name, lines in [*sides, *([("the source", sources)] if sources is not None else [])]:
        if len(lines) != sentences:
            raise DistillationError(
                f"every system and reference must have {sentences} sentences like the first reference, but {name} "
                f"has {len(lines)}; use the sentences of one test set"
            )
    seed = resampling_seed() if settings.resamples else None
    if settings.comet is not None:  # checked before the tests of the other metrics, which take long
        if sources is None:
            raise DistillationError("COMET needs the source text; name its file with --source")
        require_comet(settings.comet)
    scores: list[dict[str, MetricScore]] = [{} for _ in systems]
    for metric in settings.metrics:
        if metric == "comet" and sources is not None and settings.comet is not None:
            metric_scores = _comet(systems, references, sources, settings.comet, settings, seed)
        else:
            metric_scores = _sacrebleu(metric, systems, references, settings, progress)
        for system_scores, score in zip(scores, metric_scores, strict=True):
            system_scores[metric] = score
    return Evaluation(
        references=list(reference_names) or [f"reference {index + 1}" for index in range(len(references))],
        sentences=sentences,
        resamples=settings.resamples,
        test=settings.test if settings.resamples else None,
        seed=seed,
        systems=[SystemScore(name, by_metric) for (name, _), by_metric in zip(systems, scores, strict=True)],
    )


def _sacrebleu(
    metric: str,
    systems: Sequence[tuple[str, Sequence[str]]],
    references: Sequence[Sequence[str]],
    settings: Settings,
    progress: Callable[[], object],
) -> list[MetricScore]:
    suffix = ""
    if metric == "bleu" and settings.tokenize.startswith(MOSES):
        tokenize, suffix = _moses(settings.tokenize.removeprefix(MOSES))
        systems = [(name, [tokenize(line) for line in lines]) for name, lines in systems]
        references = [[tokenize(line) for line in lines] for lines in references]
    scorer = _scorer(metric, settings, references)
    results = [scorer.corpus_score(lines, None) for _, lines in systems]
    signature = str(scorer.get_signature()) + suffix
    scores = [MetricScore(result.score, signature) for result in results]
    if not settings.resamples:
        return scores
    significances = paired_tests(
        scorer,
        [lines for _, lines in systems],
        [score.score for score in scores],
        test=settings.test,
        resamples=settings.resamples,
        lowercase=settings.lowercase,
        progress=progress,
    )
    return [score.tested(significance) for score, significance in zip(scores, significances, strict=True)]


def _scorer(metric: str, settings: Settings, references: Sequence[Sequence[str]]) -> Metric:
    if metric == "ter":
        return TER(case_sensitive=not settings.lowercase, references=references)
    if metric != "bleu":
        return CHRF(lowercase=settings.lowercase, word_order=2 if metric == "chrf++" else 0, references=references)
    tokenize = "none" if settings.tokenize.startswith(MOSES) else settings.tokenize
    try:
        # "force" only silences a warning about tokenised text, which is intended here.
        return BLEU(
            lowercase=settings.lowercase,
            tokenize=tokenize,
            smooth_method=settings.smooth,
            force=tokenize == "none",
            references=references,
        )
    except (ImportError, RuntimeError) as error:
        raise DistillationError(f"tokeniser {tokenize!r} cannot be used: {error}; choose another") from error


def _moses(language: str) -> tuple[Callable[[str], str], str]:
    """Return Moses' tokeniser with aggressive hyphen splitting, as in papers on tokenised BLEU, and its signature."""
    try:
        import sacremoses
    except ImportError as error:
        raise DistillationError(f"tokeniser {MOSES}{language} needs the package sacremoses; install it") from error
    tokeniser = sacremoses.MosesTokenizer(lang=language)
    tokenize = partial(tokeniser.tokenize, aggressive_dash_splits=True, escape=False, return_str=True)
    return tokenize, f"|before:sacremoses-{language}-{sacremoses.__version__}"


def _comet(
    systems: Sequence[tuple[str, Sequence[str]]],
    references: Sequence[Sequence[str]],
    sources: Sequence[str],
    model: Path,
    settings: Settings,
    seed: int | None,
) -> list[MetricScore]:
    """Score by the mean over segments."""
    segments, signature = segment_scores([lines for _, lines in systems], references, sources, model)
    scores = [MetricScore(float(system_segments.mean()), signature) for system_segments in segments]
    if seed is None:
        return scores
    significances = segment_tests(segments, test=settings.test, resamples=settings.resamples, seed=seed)
    return [score.tested(significance) for score, significance in zip(scores, significances, strict=True)]


def _cell(score: MetricScore) -> str:
    text = f"{score.score:.2f}"
    if score.half_interval is not None:
        text += f" ± {score.half_interval:.2f}"
    if score.p_value is not None:
        text += f" p={score.p_value:.3f}"
    return text
