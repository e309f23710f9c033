"""Scores translations: BLEU, chrF, chrF++ and TER by sacrebleu, COMET, and their significance against the first system.

Knows text files, one sentence a line; nothing about models, subwords or fairseq.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest, Result

from weightdistill.errors import DistillationError
from weightdistill.evaluation.comet import require_comet, segment_scores
from weightdistill.files import read_lines
from weightdistill.tables import text_table

DEFAULT_SEED = 12345
"""Seed of the resamples where the environment variable SACREBLEU_SEED is not set; the same as sacrebleu's."""
METRICS: Mapping[str, str] = {"bleu": "BLEU", "chrf": "chrF", "chrf++": "chrF++", "ter": "TER", "comet": "COMET"}
"""Titles of the metrics. Of TER less is better."""
TESTS: Mapping[str, str] = {"bootstrap": "bs", "randomisation": "ar"}
"""Paired tests and sacrebleu's names of them: bootstrap (Koehn, 2004), approximate randomisation (Riezler, 2005)."""
SMOOTHING = tuple(BLEU.SMOOTH_DEFAULTS)
"""What BLEU does where no n-gram fits. `none` is the definition of multi-bleu.perl."""
MOSES = "moses:"
"""Prefix of a tokeniser of sacremoses, as in `moses:de`."""


@dataclass(frozen=True)
class Settings:
    """How translations are scored."""

    metrics: tuple[str, ...] = ("bleu", "chrf")
    """Names of METRICS."""
    lowercase: bool = False
    """Ignore case, in every metric but COMET."""
    tokenize: str = "13a"
    """BLEU's tokeniser: a name of sacrebleu's, or `moses:LANG` for sacremoses, which splits at hyphens too."""
    smooth: str = "exp"
    """BLEU's smoothing, one of SMOOTHING. With `moses:LANG` or `none` as the tokeniser and without smoothing, BLEU is
    that of Moses' multi-bleu.perl; in lower case, of multi-bleu.perl -lc."""
    resamples: int = 0
    """Resamples of the paired test against the first system, 0 for none."""
    test: str = "bootstrap"
    """One of TESTS."""
    comet: Path | None = None
    """Checkpoint of a COMET model, for the metric of that name."""

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            DistillationError: one is out of its range.
        """
        rules = (
            *(("metric", metric, tuple(METRICS)) for metric in self.metrics),
            ("smooth", self.smooth, SMOOTHING),
            ("test", self.test, tuple(TESTS)),
        )
        for name, value, choices in rules:
            if value not in choices:
                raise DistillationError(f"{name} must be one of {', '.join(choices)}, but is {value!r}")
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise DistillationError(f"metrics must be named once each, but are {', '.join(self.metrics) or 'none'}")
        if not self.tokenize.startswith(MOSES) and self.tokenize not in BLEU.TOKENIZERS:
            raise DistillationError(
                f"tokenize must be one of {', '.join(BLEU.TOKENIZERS)} or {MOSES}LANG, but is {self.tokenize!r}"
            )
        if self.resamples < 0:
            raise DistillationError(f"resamples must be 0 or more, but are {self.resamples}")
        if ("comet" in self.metrics) != (self.comet is not None):
            raise DistillationError("COMET is a metric with a model; give both, or neither")

    def steps(self, systems: int) -> int:
        """Count the calls of `progress` while so many systems are evaluated: paired tests of sacrebleu's metrics."""
        return max(1, systems - 1) * sum(metric != "comet" for metric in self.metrics)


@dataclass(frozen=True)
class MetricScore:
    """One system's score by one metric on its usual scale; COMET's times 100."""

    score: float
    signature: str
    """sacrebleu's: everything that somebody needs to get this number again."""
    mean: float | None = None
    """Mean over the bootstrap's resamples."""
    half_interval: float | None = None
    """Half the width of the bootstrap's 95% confidence interval."""
    p_value: float | None = None
    """Of the paired test against the first system, of one side with the bootstrap and of both with randomisation; None
    for the first itself, and without a test."""


@dataclass(frozen=True)
class SystemScore:
    """All scores of one system, by metric."""

    name: str
    metrics: Mapping[str, MetricScore]


@dataclass(frozen=True)
class Evaluation:
    """Scores of one or several systems on the same references. The first one is the baseline of the paired test."""

    references: list[str]
    sentences: int
    resamples: int
    """Resamples of the paired test; 0 where there was none."""
    test: str | None
    """The paired test; None where there was none."""
    seed: int | None
    """Its seed; None where there was none."""
    systems: list[SystemScore]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries, lists, strings and numbers, for JSON; metrics beside the system's name."""
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
            side = "one side" if self.test == "bootstrap" else "both sides"
            lines.append(
                f"{interval}p: paired {self.test} against the first, {side}, {self.resamples} resamples, "
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
) -> Evaluation:
    """Score files of detokenised text, one sentence a line.

    Args:
        hypotheses: one file a system; the first is the baseline of the paired test.
        references: one or several files, each a translation of the same sentences.
        settings: metrics, their options, and the paired test.
        source: what was translated, for COMET.
        progress: called after the test of each system but the first, which takes long.

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
    """Score systems, given as (name, sentences), on the same references; the other arguments as `evaluate_files`.

    Raises:
        DistillationError: numbers of sentences that differ, a tokeniser or model that cannot be used, or a
            SACREBLEU_SEED that does not give the same resamples each time.
    """
    settings = settings or Settings()
    sentences = len(references[0])
    sides = [*systems, *((f"reference {index + 1}", lines) for index, lines in enumerate(references))]
    for name, lines in [*sides, *([("the source", sources)] if sources is not None else [])]:
        if len(lines) != sentences:
            raise DistillationError(
                f"every system and reference must have {sentences} sentences, as the first reference, but {name} "
                f"has {len(lines)}"
            )
    seed = _seed() if settings.resamples else None
    if settings.comet is not None:  # what it lacks is said before the other metrics' tests, which take long
        if sources is None:
            raise DistillationError("COMET reads the source as well; name its file")
        require_comet(settings.comet)
    scores: list[dict[str, MetricScore]] = [{} for _ in systems]
    for metric in settings.metrics:
        if metric == "comet" and sources is not None and settings.comet is not None:
            found = _comet(systems, references, sources, settings.comet, settings, seed)
        else:
            found = _sacrebleu(metric, systems, references, settings, progress)
        for own, score in zip(scores, found, strict=True):
            own[metric] = score
    return Evaluation(
        references=list(reference_names) or [f"reference {index + 1}" for index in range(len(references))],
        sentences=sentences,
        resamples=settings.resamples,
        test=settings.test if settings.resamples else None,
        seed=seed,
        systems=[SystemScore(name, own) for (name, _), own in zip(systems, scores, strict=True)],
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
    if settings.resamples:
        baseline = scores[0]
        for index in range(1, max(2, len(systems))):
            pair = [systems[0], *systems[index : index + 1]]
            test = PairedTest(
                pair, {metric: scorer}, None, test_type=TESTS[settings.test], n_samples=settings.resamples
            )
            _, columns = test()
            (column,) = (column for name, column in columns.items() if name != "System")
            fold = str.lower if settings.lowercase else str
            different = sum(fold(own) != fold(first) for own, first in zip(pair[-1][1], pair[0][1], strict=True))
            for place, result in zip((0, index), column, strict=False):
                scores[place] = _with_test(scores[place], result, baseline, settings.test, different)
            progress()
    return scores


def _scorer(metric: str, settings: Settings, references: Sequence[Sequence[str]]) -> Metric:
    if metric == "ter":
        return TER(case_sensitive=not settings.lowercase, references=references)
    if metric != "bleu":
        return CHRF(lowercase=settings.lowercase, word_order=2 if metric == "chrf++" else 0, references=references)
    tokenize = "none" if settings.tokenize.startswith(MOSES) else settings.tokenize
    try:
        # "force" only silences a warning at text that looks tokenised, which that of Moses is
        return BLEU(
            lowercase=settings.lowercase,
            tokenize=tokenize,
            smooth_method=settings.smooth,
            force=tokenize == "none",
            references=references,
        )
    except (ImportError, RuntimeError) as error:
        raise DistillationError(f"tokeniser {tokenize!r} cannot be used: {error}") from error


def _moses(language: str) -> tuple[Callable[[str], str], str]:
    """Moses' tokeniser with splits at hyphens, as papers that score tokenised text use it; and its signature."""
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
    """Mean of the segments' scores."""
    segments, signature = segment_scores([lines for _, lines in systems], references, sources, model)
    scores = [MetricScore(float(own.mean()), signature) for own in segments]
    if settings.resamples:
        generator = np.random.default_rng(seed)
        count = len(segments[0])
        if settings.test == "bootstrap":
            weights = generator.multinomial(count, [1 / count] * count, settings.resamples) / count
        else:
            weights = generator.choice((-1.0, 1.0), (settings.resamples, count)) / count
        for index, own in enumerate(segments):
            scores[index] = _with_resamples(scores[index], own, segments[0], weights, index == 0, settings.test)
    return scores


def _with_resamples(score: MetricScore, own: Any, first: Any, weights: Any, is_first: bool, test: str) -> MetricScore:
    """The paired test on means of segments' scores; p-values of the side that sacrebleu counts."""
    if test == "bootstrap":
        means = weights @ own
        low, high = np.quantile(means, (0.025, 0.975))
        score = replace(score, mean=float(means.mean()), half_interval=float(high - low) / 2)
    if is_first:
        return score
    observed = float((own - first).mean())
    differences = weights @ (own - first)  # (resamples,)
    # bootstrap: further on the observed side than chance has it; randomisation: on either side
    differences = np.sign(observed) * (differences - differences.mean()) if test == "bootstrap" else abs(differences)
    larger = int((differences >= abs(observed) * (1 - 1e-9)).sum())  # sums in another order are not quite equal
    return replace(score, p_value=(larger + 1) / (len(differences) + 1))


def _seed() -> int:
    """The seed that sacrebleu will use. It takes 0 and `none` for "no seed", and no result is repeatable then."""
    value = os.environ.get("SACREBLEU_SEED", str(DEFAULT_SEED))
    if not value.isdecimal() or int(value) == 0:
        raise DistillationError(f"SACREBLEU_SEED must be a positive whole number, but is {value!r}; change or unset it")
    return int(value)


def _with_test(
    score: MetricScore, result: str | Result, baseline: MetricScore, test: str, different: int
) -> MetricScore:
    """What sacrebleu found for a system whose translations differ from the baseline's in so many sentences."""
    if isinstance(result, str):
        raise TypeError(f"sacrebleu returned {result!r} where a result belongs")
    p_value = result.p_value
    if p_value is not None and score.score == baseline.score:
        p_value = 1.0  # of two equal systems sacrebleu says the smallest p there is, since it counts larger differences
    elif p_value is not None and test == "randomisation":
        # for the same reason it leaves out the two of all 2^n assignments that give what was observed, or its mirror
        p_value = max(p_value, 2.0 ** (1 - different))
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
