"""Sequence-level distillation: a training corpus of the teacher's translations.

Kim and Rush, "Sequence-Level Knowledge Distillation" (2016): students learn from the teacher's best translation, or, in
"sequence-level interpolation", from the one of its n best that is most similar to the reference. They may also learn
from samples of its translations, and from its translations of text without references. Knows text files of subword
pieces and engines; neither datasets nor training.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from weightdistill.decoding.engines import Engine, Hypothesis, Pieces, Search
from weightdistill.decoding.translation import PieceLines, read_pieces
from weightdistill.distillation.shards import decode_shard, read_shards, shard_of, source_provenance
from weightdistill.errors import DistillationError
from weightdistill.files import fingerprint, read_lines, require_writable, write_json
from weightdistill.places import require_separate
from weightdistill.text.corpus import write_pairs

SELECTIONS = ("score", "bleu", "chrf", "all")
"""How hypotheses are selected: one by the teacher's score or by similarity to the reference, or all of them.

A corpus keeps all samples of a source, equal ones too: their frequencies are the teacher's probabilities, and each
source has the same weight.
"""
REASONS = ("empty", "repeated", "too long", "unterminated", "copy", "length ratio")
"""Why a source has no translation, in the order of the checks.

`repeated`: it has no reference and is equal to an earlier source. `too long`: the teacher cannot read it.
"""
_BY_SIMILARITY = ("bleu", "chrf")


@dataclass(frozen=True)
class FilterSettings:
    """Which translations of a source are selected, and which sources are left out.

    Raises:
        DistillationError: A value is out of range.
    """

    select: str = "score"
    """One of SELECTIONS."""
    max_ratio: float = 0.0
    """Largest ratio of the lengths of source and translation in pieces, whichever is longer; 0 for no limit."""
    keep_copies: bool = False
    """Keep translations that are equal to the source."""

    def __post_init__(self) -> None:
        if self.select not in SELECTIONS:
            raise DistillationError(f"select must be one of {', '.join(SELECTIONS)}, but is {self.select!r}")
        if self.max_ratio and not self.max_ratio >= 1:
            raise DistillationError(f"max ratio must be 0 or at least 1, but is {self.max_ratio}; give 0 for no limit")


@dataclass(frozen=True)
class Mixture:
    """Number of copies of the real and of the distilled pairs in the corpus.

    Raises:
        DistillationError: A number is negative, or both are 0.
    """

    real: int = 0
    distilled: int = 1

    def __post_init__(self) -> None:
        if self.real < 0 or self.distilled < 0 or not self.real + self.distilled:
            raise DistillationError(
                "weights of real and distilled data must be whole numbers from 0, not both 0, but are "
                f"{self.real} and {self.distilled}"
            )


@dataclass(frozen=True)
class Corpus:
    """The selected translations of a corpus.

    Attributes:
        pairs: (source, translation) in pieces, in the order of the sources.
        sentences: Number of sources, also of those left out.
        left_out: Line numbers, from 1, of the sources without a translation, for each of REASONS.
    """

    pairs: list[tuple[str, str]]
    sentences: int
    left_out: dict[str, list[int]]

    def counts(self) -> dict[str, int]:
        """Count the sources that were left out for each reason."""
        return {reason: len(lines) for reason, lines in self.left_out.items()}

    @property
    def translated(self) -> int:
        """Number of sources with a translation."""
        return self.sentences - sum(self.counts().values())

    def __str__(self) -> str:
        """Sum up in one line how many sources were translated and left out."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts().items())
        several = "" if len(self.pairs) == self.translated else f" in {len(self.pairs)} ways"
        return f"{self.translated} of {self.sentences} sentences translated{several}; left out: {reasons}"


class SequenceDistillation:
    """Distils one training corpus: decodes its shards, and writes the corpus when all are there.

    Files are checked and read on construction, so that unusable input ends before a teacher is loaded.

    Args:
        model: The teacher: a CTranslate2 folder or a fairseq checkpoint.
        source: File of training sources in pieces, one sentence per line.
        output: Folder that receives shards/, and source, target and distilled.json.
        reference: File of their references in pieces; needed for real pairs and for a selection by similarity.
        monolingual: File of further sources in pieces, which have no references. Empty and repeated lines are left out
            and counted.
        search: Settings of the search or sampling.
        filters: Which translations are selected.
        mixture: Numbers of copies of real and distilled pairs.
        shards: Number of parts of the corpus. An interrupted run resumes with the first unfinished part.
        only: The one shard to decode, from 0; default: all. The corpus is not written then.

    Raises:
        DistillationError: A file cannot be read or written, an output would replace an input, the files differ in
            their number of lines, or settings contradict each other.
    """

    def __init__(
        self,
        model: Path,
        source: Path,
        output: Path,
        *,
        reference: Path | None = None,
        monolingual: Path | None = None,
        search: Search | None = None,
        filters: FilterSettings | None = None,
        mixture: Mixture | None = None,
        shards: int = 16,
        only: int | None = None,
    ) -> None:
        self._search, self._filters, self._mixture = (
            search or Search(),
            filters or FilterSettings(),
            mixture or Mixture(),
        )
        select, sampling = self._filters.select, self._search.sampling
        hypotheses = self._search.n_best if sampling is None else sampling.samples
        if select in _BY_SIMILARITY and hypotheses == 1:
            raise DistillationError(
                f"--select {select} chooses among several hypotheses; give --n-best or --samples, or drop it"
            )
        if reference is None and (self._mixture.real or select in _BY_SIMILARITY):
            raise DistillationError("--real and --select need the references; name their file with --reference")
        written = [output / name for name in ("source", "target", "distilled.json", "shards")]
        require_separate(
            {"--output": written},
            {"the model": model, "--source": source, "--reference": reference, "--sources": monolingual},
        )
        require_writable(output / "distilled.json")
        self._output, self._reference = output, reference
        lines = read_lines(source)
        with_references = len(lines)
        self._repeated = frozenset[int]()
        if monolingual is not None:
            lines, self._repeated = join_sources(lines, read_lines(monolingual))
        self._sources = PieceLines(lines)
        # A single shard needs no references.
        self._references = None if reference is None or only is not None else read_pieces(reference)
        if self._references is not None and len(self._references) != with_references:
            raise DistillationError(
                f"{source} and {reference} must have the same number of lines, but have {with_references} and "
                f"{len(self._references)}; give two files of one corpus"
            )
        self.paths = [output / "shards" / f"{number}-of-{shards}.jsonl" for number in range(shards)]
        """The files of all shards."""
        numbers = range(shards) if only is None else [only]
        self._lines = {number: shard_of(len(self._sources), number, shards) for number in numbers}
        self._provenance = source_provenance(source, model, monolingual)

    def __len__(self) -> int:
        """Count the sources to decode: all, or those of the one shard."""
        return sum(map(len, self._lines.values()))

    def decode(self, engine: Engine, progress: Callable[[int], object] = lambda sentences: None) -> None:
        """Decode the shards that are not there yet; see `decode_shard`."""
        for number, lines in self._lines.items():
            provenance = {**self._provenance, "lines": [lines.start, lines.stop]}
            sources = self._sources[lines.start : lines.stop]
            decode_shard(engine, sources, self.paths[number], self._search, provenance, progress, lines.start)

    def write(self) -> Corpus:
        """Write the corpus of all shards; see `write_corpus`."""
        provenance = {} if self._reference is None else {"reference_sha256": fingerprint(self._reference)}
        return write_corpus(
            self.paths,
            self._output,
            self._sources,
            self._references,
            self._filters,
            self._mixture,
            self._repeated,
            provenance,
        )


def join_sources(sources: Sequence[str], monolingual: Sequence[str]) -> tuple[list[str], frozenset[int]]:
    """Join sources with further ones that have no references.

    Of equal further sources the first is kept, unless it is a source already. The others become empty lines, so that
    line numbers stay those of the two files one after the other.

    Args:
        sources: Lines of the sources.
        monolingual: Lines of the further ones.

    Returns:
        The lines of both, and the numbers, from 1, of those that became empty.
    """
    lines = list(sources)
    seen = {" ".join(line.split()) for line in sources}
    repeated = set()
    for line in monolingual:
        sentence = " ".join(line.split())
        lines.append("" if sentence in seen else sentence)
        if sentence and sentence in seen:
            repeated.add(len(lines))
        seen.add(sentence)
    return lines, frozenset(repeated)


def write_corpus(
    shards: Sequence[Path],
    output: Path,
    sources: Sequence[Pieces],
    references: Sequence[Pieces] | None,
    filters: FilterSettings,
    mixture: Mixture,
    repeated: Set[int] = frozenset(),
    provenance: Mapping[str, Any] | None = None,
) -> Corpus:
    """Write `source`, `target` and `distilled.json`, which says how they were made and what was left out.

    Args:
        shards: Files of `decode_shard`, in order.
        output: Folder to write to.
        sources: All sources, in pieces.
        references: Those of the first sources; needed for a selection by similarity and for real pairs.
        filters: Which translations are selected.
        mixture: Numbers of copies of real and distilled pairs.
        repeated: Line numbers of the sources that `join_sources` made empty.
        provenance: What else to record in distilled.json.

    Raises:
        DistillationError: See `read_shards` and `choose`; or references are missing, or an output cannot be written.
    """
    if mixture.real and references is None:
        raise DistillationError("real pairs need references; name their file with --reference")
    decoding: dict[str, Any] = {}
    corpus, start = Corpus([], len(sources), {reason: [] for reason in REASONS}), 0
    for decoding, hypotheses in read_shards(shards, len(sources)):  # noqa: B007
        part = slice(start, start + len(hypotheses))
        start = part.stop
        chosen = choose(
            sources[part],
            hypotheses[: len(sources) - part.start],
            references[part] if references is not None else None,
            filters,
            part.start + 1,
        )
        corpus.pairs.extend(chosen.pairs)
        for reason, lines in chosen.left_out.items():
            for line in lines:
                corpus.left_out["repeated" if line in repeated else reason].append(line)
    pairs = itertools.chain(_real(sources, references, mixture), *itertools.repeat(corpus.pairs, mixture.distilled))
    count = write_pairs(pairs, output / "source", output / "target")
    report = {
        **decoding,
        **(provenance or {}),
        **asdict(filters),
        **asdict(mixture),
        "sentences": corpus.sentences,
        "kept": corpus.translated,
        "translations": len(corpus.pairs),
        "left_out": corpus.counts(),
        "left_out_lines": corpus.left_out,
        "pairs": count,
    }
    write_json(output / "distilled.json", report)
    return corpus


def choose(
    sources: Sequence[Pieces],
    hypotheses: Iterable[Sequence[Hypothesis]],
    references: Sequence[Pieces] | None,
    settings: FilterSettings,
    first_line: int = 1,
) -> Corpus:
    """Select translations for each source, or record why it has none.

    If the first choice is filtered out, the next best hypothesis takes its place. If all are, the reason of the first
    choice is recorded.

    Args:
        sources: Sources in pieces.
        hypotheses: Hypotheses of each source, best first.
        references: References of the first sources in pieces; the others are selected by score.
        settings: The filters.
        first_line: Line number of the first source.

    Raises:
        DistillationError: The numbers of lines do not agree, or the selection needs references and there are none.
    """
    by_similarity = settings.select in _BY_SIMILARITY
    if by_similarity and references is None:
        raise DistillationError(f"select {settings.select} compares with references; name their file with --reference")
    references = references or []
    hypotheses = list(hypotheses)
    if len(sources) != len(hypotheses) or len(references) > len(sources):
        raise DistillationError(
            f"there must be hypotheses for each of the {len(sources)} sources and at most as many references, but "
            f"there are {len(hypotheses)} and {len(references)}"
        )
    left_out: dict[str, list[int]] = {reason: [] for reason in REASONS}
    pairs: list[tuple[str, str]] = []
    similarity = _similarity(settings.select)
    for index, (source, n_best) in enumerate(zip(sources, hypotheses, strict=True)):
        ranked = list(n_best)
        if by_similarity and index < len(references):
            similarities = [similarity(hypothesis.pieces, references[index]) for hypothesis in ranked]
            most_similar = sorted(zip(similarities, ranked, strict=True), key=lambda pair: -pair[0])
            ranked = [hypothesis for _, hypothesis in most_similar]
        reasons = [_reason(source, hypothesis, settings) for hypothesis in ranked]
        reasons = reasons or ["too long" if source else "empty"]
        fit = [hypothesis for hypothesis, reason in zip(ranked, reasons, strict=False) if reason is None]
        if not fit:
            left_out[str(reasons[0])].append(first_line + index)
        for hypothesis in fit if settings.select == "all" else fit[:1]:
            pairs.append((" ".join(source), " ".join(hypothesis.pieces)))
    return Corpus(pairs, len(sources), left_out)


def _real(
    sources: Sequence[Pieces], references: Sequence[Pieces] | None, mixture: Mixture
) -> Iterator[tuple[str, str]]:
    for _ in range(mixture.real):
        for source, reference in zip(sources, references or [], strict=False):  # the last sources may have none
            yield " ".join(source), " ".join(reference)


def _reason(source: Pieces, hypothesis: Hypothesis, settings: FilterSettings) -> str | None:
    """Return why this hypothesis is unfit for training; None if it is fit."""
    if not hypothesis.pieces:
        return "empty"
    if not hypothesis.finished:
        return "unterminated"
    if not settings.keep_copies and hypothesis.pieces == source:
        return "copy"
    shorter, longer = sorted((len(source), len(hypothesis.pieces)))
    if settings.max_ratio and longer > settings.max_ratio * shorter:
        return "length ratio"
    return None


def _similarity(select: str) -> Callable[[Pieces, Pieces], float]:
    """Return sentence BLEU over pieces, or chrF over their characters without the subword marks."""
    if select == "chrf":
        chrf = CHRF()

        def text(pieces: Pieces) -> str:
            return "".join(pieces).replace("\u2581", "").replace("@@", "")

        return lambda pieces, reference: chrf.sentence_score(text(pieces), [text(reference)]).score
    bleu = BLEU(tokenize="none", effective_order=True)
    return lambda pieces, reference: bleu.sentence_score(" ".join(pieces), [" ".join(reference)]).score
