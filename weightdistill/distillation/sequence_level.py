"""Sequence-level distillation: the corpus that a teacher's beam search makes of the training sources.

Kim and Rush, "Sequence-Level Knowledge Distillation" (2016): students learn from the teacher's translations, or, for
"interpolation", from that of its n best that is nearest to the reference. The sources are cut into shards, which
machines may decode independently. Knows text files of subword pieces and engines; neither datasets nor training.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from weightdistill.decoding.engines import Engine, Hypothesis, Pieces, Search
from weightdistill.errors import DistillationError
from weightdistill.files import fingerprint, write_json, writing
from weightdistill.text.corpus import write_pairs

SELECTIONS = ("score", "bleu", "chrf")
"""How one of the n best is chosen: by the teacher's score, or by nearness to the reference."""
REASONS = ("empty", "too long", "unterminated", "copy", "length ratio")
"""Why a source has no translation, in the order in which it is asked; the teacher cannot read one that is too long."""

_CHUNK = 8192
"""Sentences given to an engine at a time, which sorts them by length and shares them out over its GPUs."""


@dataclass(frozen=True)
class FilterSettings:
    """Which translation of a source is taken, and which sources are left without one."""

    select: str = "score"
    """One of SELECTIONS."""
    max_ratio: float = 0.0
    """Largest ratio of the lengths of source and translation in pieces, either way; 0 for any."""
    keep_copies: bool = False
    """Keep translations that are the source itself."""

    def __post_init__(self) -> None:
        if self.select not in SELECTIONS:
            raise DistillationError(f"select must be one of {', '.join(SELECTIONS)}, but is {self.select!r}")
        if self.max_ratio and not self.max_ratio >= 1:
            raise DistillationError(f"max ratio must be 0 or at least 1, but is {self.max_ratio}")


class PieceLines(Sequence[Pieces]):
    """Text in pieces, whose lines are split when they are asked for: of millions, lists of pieces would fill memory."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines

    def __len__(self) -> int:
        """Number of lines."""
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> Pieces: ...

    @overload
    def __getitem__(self, index: slice) -> "PieceLines": ...

    def __getitem__(self, index: int | slice) -> "Pieces | PieceLines":
        """A line's pieces, or some lines."""
        return PieceLines(self._lines[index]) if isinstance(index, slice) else self._lines[index].split()


def shard_of(lines: int, number: int, shards: int) -> range:
    """The lines of a shard, of sizes that differ by at most one.

    Raises:
        DistillationError: there is no such shard.
    """
    if not 0 <= number < shards:
        raise DistillationError(f"shard must be within 0 and {shards - 1}, but is {number}")
    return range(lines * number // shards, lines * (number + 1) // shards)


def decode_shard(
    engine: Engine,
    sources: Sequence[Pieces],
    path: Path,
    settings: Search,
    provenance: Mapping[str, Any],
    progress: Callable[[int], object] = lambda sentences: None,
) -> bool:
    """Decode one shard into a file, unless it is there.

    The file's first line says how it was made; then each source has a line, a JSON list of its hypotheses.

    Args:
        engine: the teacher.
        sources: the shard's sources.
        path: the file.
        settings: of the search.
        provenance: what else the shard is of: the teacher, the source file, its lines.
        progress: called with the number of sentences that are finished.

    Returns:
        Whether it was decoded, and not found.

    Raises:
        DistillationError: the file is of other settings, or cannot be written; as the engine.
    """
    search = {"beam": settings.beam, "n_best": settings.n_best, "length_penalty": settings.length_penalty}
    head = {**provenance, **search, "sentences": len(sources)}
    if path.exists():
        found, _ = read_shard(path)
        if different := _different(found, head):
            raise DistillationError(
                f"{path} was decoded with another {different} ({found.get(different)}, not {head.get(different)}); "
                "remove it, or name another folder"
            )
        progress(len(sources))
        return False
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(head) + "\n")
        for start in range(0, len(sources), _CHUNK):
            chunk = sources[start : start + _CHUNK]
            # one line too long for the teacher must not end the decoding of millions
            readable = [source if len(source) <= engine.longest_source else [] for source in chunk]
            for hypotheses in engine.search(readable, settings):
                file.write(json.dumps(hypotheses, ensure_ascii=False) + "\n")
            progress(len(chunk))
    return True


def read_shard(path: Path) -> tuple[dict[str, Any], list[list[Hypothesis]]]:
    """What a shard is of, and the hypotheses of each of its sources.

    Raises:
        DistillationError: the file is missing or damaged, or does not have a line for each source.
    """
    try:
        with path.open(encoding="utf-8") as file:
            head = json.loads(next(file))
            hypotheses = [[Hypothesis(*entry) for entry in json.loads(line)] for line in file]
    except OSError as error:
        raise DistillationError(f"{path} cannot be read: {error.strerror}; decode this shard") from error
    except (ValueError, TypeError, StopIteration) as error:
        raise DistillationError(f"{path} is damaged; remove it and decode this shard again") from error
    if len(hypotheses) != head["sentences"]:
        raise DistillationError(
            f"{path} has {len(hypotheses)} of {head['sentences']} sentences; remove it and decode this shard again"
        )
    return head, hypotheses


@dataclass(frozen=True)
class Corpus:
    """What a teacher made of a corpus.

    Attributes:
        pairs: (source, translation) in pieces, in the order of the sources.
        sentences: number of sources.
        left_out: lines of the sources that have no translation, counted from 1, for each of REASONS.
    """

    pairs: list[tuple[str, str]]
    sentences: int
    left_out: dict[str, list[int]]

    def counts(self) -> dict[str, int]:
        """How many sources were left out for each reason."""
        return {reason: len(lines) for reason, lines in self.left_out.items()}


def choose(
    sources: Sequence[Pieces],
    hypotheses: Iterable[Sequence[Hypothesis]],
    references: Sequence[Pieces] | None,
    settings: FilterSettings,
    first_line: int = 1,
) -> Corpus:
    """Choose a translation for each source, or say why there is none.

    A hypothesis that is to be left out gives way to the next choice; the reason is that of the first choice.

    Args:
        sources: in pieces.
        hypotheses: of each source, best first.
        references: in pieces; needed unless the selection is by score.
        settings: of the choice.
        first_line: number of the first source's line.

    Raises:
        DistillationError: numbers of lines that differ, or a selection by references without any.
    """
    if settings.select != "score" and references is None:
        raise DistillationError(f"select {settings.select} compares with references; name their file with --reference")
    hypotheses = list(hypotheses)
    if len({len(sources), len(hypotheses), len(sources if references is None else references)}) > 1:
        raise DistillationError(
            f"sources, hypotheses and references must be as many, but are {len(sources)}, {len(hypotheses)} and "
            f"{'none' if references is None else len(references)}"
        )
    left_out: dict[str, list[int]] = {reason: [] for reason in REASONS}
    pairs = []
    nearness = _nearness(settings.select)
    for number, (source, found) in enumerate(zip(sources, hypotheses, strict=False)):
        ordered = list(found)
        if references is not None and settings.select != "score":
            reference = references[number]
            ordered.sort(key=lambda own, reference=reference: -nearness(own.pieces, reference))  # type: ignore[misc]
        reasons = [_reason(source, hypothesis, settings) for hypothesis in ordered]
        reasons = reasons or ["too long" if source else "empty"]
        kept = next((own for own, reason in zip(ordered, reasons, strict=False) if reason is None), None)
        if kept is None:
            left_out[str(reasons[0])].append(first_line + number)
        else:
            pairs.append((" ".join(source), " ".join(kept.pieces)))
    return Corpus(pairs, len(sources), left_out)


def each_shard(paths: Sequence[Path], sentences: int) -> Iterator[tuple[dict[str, Any], list[list[Hypothesis]]]]:
    """The shards in order, one at a time: what they all are of, and the hypotheses of this one's sources.

    Args:
        paths: files of `decode_shard`, in order.
        sentences: how many sources they must have together.

    Raises:
        DistillationError: as `read_shard`; shards that are not of one corpus and one search, or not all of it.
    """
    found = 0
    common: dict[str, Any] = {}
    for path in paths:
        head, hypotheses = read_shard(path)
        own = {key: value for key, value in head.items() if key not in ("lines", "sentences")}
        if common and (different := _different(own, common)):
            raise DistillationError(
                f"shards must be of one decoding, but {path} has another {different} than {paths[0]}; decode it again"
            )
        common = own
        found += len(hypotheses)
        yield common, hypotheses
    if found != sentences:
        raise DistillationError(
            f"the shards have {found} sentences, but the source has {sentences}; decode all shards of it"
        )


@dataclass(frozen=True)
class Mixture:
    """How many times each kind of pair is in the corpus."""

    real: int = 0
    distilled: int = 1

    def __post_init__(self) -> None:
        if self.real < 0 or self.distilled < 0 or not self.real + self.distilled:
            raise DistillationError(
                "weights of real and distilled data must be whole numbers from 0, not both 0, but are "
                f"{self.real} and {self.distilled}"
            )


def write_corpus(
    shards: Sequence[Path],
    output: Path,
    sources: Sequence[Pieces],
    references: Sequence[Pieces] | None,
    filters: FilterSettings,
    mixture: Mixture,
    more: Mapping[str, Any] | None = None,
) -> Corpus:
    """Write `source`, `target` and `distilled.json`, which says how they were made and what was left out.

    Args:
        shards: files of `decode_shard`, in order.
        output: folder.
        sources: all sources, in pieces.
        references: their references; needed for a selection by nearness, and for real pairs.
        filters: which translations are taken.
        mixture: of real and distilled pairs.
        more: what else is to be recorded.

    Raises:
        DistillationError: as `each_shard` and `choose`; real pairs without references; an output that cannot be
            written.
    """
    if mixture.real and references is None:
        raise DistillationError("real pairs need references; name their file with --reference")
    if references is not None and len(references) != len(sources):
        raise DistillationError(f"there are {len(sources)} sources, but {len(references)} references of them")
    provenance: dict[str, Any] = {}
    corpus, start = Corpus([], len(sources), {reason: [] for reason in REASONS}), 0
    for provenance, hypotheses in each_shard(shards, len(sources)):  # noqa: B007
        part = slice(start, start + len(hypotheses))
        start = part.stop
        own = choose(
            sources[part],
            hypotheses[: len(sources) - part.start],
            references[part] if references is not None else None,
            filters,
            part.start + 1,
        )
        corpus.pairs.extend(own.pairs)
        for reason, lines in own.left_out.items():
            corpus.left_out[reason].extend(lines)
    real = (
        (" ".join(own), " ".join(other))
        for _ in range(mixture.real)
        for own, other in zip(sources, references or [], strict=True)
    )
    pairs = itertools.chain(real, *itertools.repeat(corpus.pairs, mixture.distilled))
    count = write_pairs(pairs, output / "source", output / "target")
    report = {
        **provenance,
        **(more or {}),
        **asdict(filters),
        **asdict(mixture),
        "sentences": corpus.sentences,
        "kept": len(corpus.pairs),
        "left_out": corpus.counts(),
        "left_out_lines": corpus.left_out,
        "pairs": count,
    }
    write_json(output / "distilled.json", report)
    return corpus


def source_provenance(source: Path, model: Path, engine: str) -> dict[str, Any]:
    """What a decoding is of: the teacher's files and the sources', by name and SHA-256, and the engine."""
    vocabularies = sorted(model.glob("*vocabulary*")) if model.is_dir() else []
    return {
        "teacher": str(model),
        "teacher_sha256": fingerprint(model / "model.bin" if model.is_dir() else model),
        **{f"{file.stem}_sha256": fingerprint(file) for file in vocabularies},
        "source": str(source),
        "source_sha256": fingerprint(source),
        "engine": engine,
    }


def _different(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """The first entry in which two decodings differ; files may lie elsewhere, as long as they are the same."""
    keys = [key for key in {**first, **second} if key not in ("teacher", "source")]
    return next((key for key in keys if first.get(key) != second.get(key)), None)


def _reason(source: Pieces, hypothesis: Hypothesis, settings: FilterSettings) -> str | None:
    """Why this hypothesis is no translation to learn from; None where it is one."""
    if not hypothesis.pieces:
        return "empty"
    if not hypothesis.finished:
        return "unterminated"
    if not settings.keep_copies and hypothesis.pieces == source:
        return "copy"
    lengths = sorted((len(source), len(hypothesis.pieces)))
    if settings.max_ratio and lengths[1] > settings.max_ratio * lengths[0]:
        return "length ratio"
    return None


def _nearness(select: str) -> Callable[[Pieces, Pieces], float]:
    """Sentence BLEU over pieces, or chrF over their characters, which the marks of subwords are not among."""
    if select == "chrf":
        chrf = CHRF()

        def text(pieces: Pieces) -> str:
            return "".join(pieces).replace("\u2581", "").replace("@@", "")

        return lambda own, reference: chrf.sentence_score(text(own), [text(reference)]).score
    bleu = BLEU(tokenize="none", effective_order=True)
    return lambda own, reference: bleu.sentence_score(" ".join(own), [" ".join(reference)]).score
