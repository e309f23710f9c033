"""Checks teachers before hours are spent on their students: from their files alone, and by what they translate."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq.data import Dictionary

from fairseq_plugins import teachers
from fairseq_plugins.teachers import Teacher
from weightdistill.decoding.engines import Engine, Search, translate
from weightdistill.decoding.translation import CHUNK
from weightdistill.errors import DistillationError
from weightdistill.evaluation.scores import MetricScore, Settings, evaluate
from weightdistill.method.shape import TransformerShape
from weightdistill.text.processing import TextProcessing


@dataclass(frozen=True)
class TeacherDescription:
    """What the files of one teacher, or of the members of an ensemble, say.

    Attributes:
        paths: the checkpoints.
        fingerprints: their SHA-256.
        shape: shape of the first, whose weights and settings students get.
        parameters: number of parameters of the first, each tied weight once.
        dictionaries: folder of their dictionaries.
        source: source language.
        target: target language.
    """

    paths: tuple[Path, ...]
    fingerprints: tuple[str, ...]
    shape: TransformerShape
    parameters: int
    dictionaries: Path
    source: str
    target: str


def inspect_teachers(
    paths: Sequence[str | Path], source: str, target: str, dictionaries: Path | None = None
) -> TeacherDescription:
    """Check from their files that teachers can teach a student of this direction.

    Args:
        paths: checkpoints; several predict as an ensemble.
        source: source language.
        target: target language.
        dictionaries: folder with the dictionaries of the student's data; default: those of the first teacher.

    Raises:
        DistillationError: a checkpoint cannot be read, is no Transformer that translates from one language to another,
            translates in another direction, or has another vocabulary.
    """
    sources = teachers.read_all(",".join(map(str, paths)))
    if not sources:
        raise DistillationError("there must be at least one teacher, but there is none; give its checkpoint")
    for teacher in sources:
        if None not in teacher.languages and teacher.languages != (source, target):
            raise DistillationError(
                f"teacher {teacher.path} translates {teacher.languages[0]}-{teacher.languages[1]}, but "
                f"{source}-{target} is asked for; give --source {teacher.languages[0]} --target "
                f"{teacher.languages[1]}, or a teacher of that direction"
            )
    first = sources[0]
    folder = dictionaries or Path(first.data)
    if dictionaries is None and not first.data:
        raise DistillationError(
            f"the dictionaries of teacher {first.path} are neither where its checkpoint says nor beside it; copy "
            f"dict.{source}.txt and dict.{target}.txt beside it"
        )
    files = [folder / f"dict.{language}.txt" for language in (source, target)]
    for file in files:
        if not file.is_file():
            raise DistillationError(f"{file} does not exist; give the folder of the dictionaries of {first.path}")
    loaded = [Dictionary.load(str(file)) for file in files]
    for teacher in sources:
        teacher.require_dictionaries(*loaded)
    return TeacherDescription(
        paths=tuple(Path(teacher.path) for teacher in sources),
        fingerprints=tuple(teacher.fingerprint for teacher in sources),
        shape=first.shape,
        parameters=_parameters(first),
        dictionaries=folder,
        source=source,
        target=target,
    )


def require_sane(score: float, floor: float, teacher: str, *, force: bool = False) -> None:
    """Stop if a teacher translates the validation set so badly that something must be wrong.

    Args:
        score: its BLEU.
        floor: the least BLEU to go on with.
        teacher: its name, for the message.
        force: go on all the same.

    Raises:
        DistillationError: the score is below the floor, or not a number; the message names the usual causes.
    """
    if force or score >= floor:
        return
    shown = "no" if math.isnan(score) else f"{score:.1f}"
    raise DistillationError(
        f"teacher {teacher} has {shown} BLEU on the validation set, below the floor of {floor:g}; usually (1) its text "
        "had another subword model, tokenisation or casing, (2) source and target language are swapped, or (3) the "
        "dictionaries are not its own, or in another order; correct that, or go on with --force"
    )


def score_translations(
    engine: Engine,
    processing: TextProcessing,
    sources: Sequence[str],
    references: Sequence[str],
    search: Search,
    progress: Callable[[int], object] = lambda sentences: None,
) -> MetricScore:
    """Translate raw text, and score the translations by BLEU.

    Args:
        engine: the model.
        processing: how text becomes its pieces, and its pieces text.
        sources: source sentences.
        references: their translations.
        search: settings of the search.
        progress: called with the number of sentences that were translated since the last call.

    Raises:
        DistillationError: the numbers of sentences differ, or the model cannot translate one of them.
    """
    require_aligned(sources, references)
    translations: list[str] = []
    for start in range(0, len(sources), CHUNK):
        pieces = [processing.encode(line, "source").split() for line in sources[start : start + CHUNK]]
        translations += (processing.decode(" ".join(output)) for output in translate(engine, pieces, search))
        progress(len(pieces))
    evaluation = evaluate([(engine.name, translations)], [references], Settings(metrics=("bleu",)))
    return evaluation.systems[0].metrics["bleu"]


def require_aligned(sources: Sequence[str], references: Sequence[str]) -> None:
    """Check that there is a reference for each source sentence.

    Args:
        sources: source sentences.
        references: their translations.

    Raises:
        DistillationError: their numbers differ, or there are none.
    """
    if len(sources) != len(references) or not sources:
        raise DistillationError(
            f"--source and --reference must have a line for each sentence, but have {len(sources)} and "
            f"{len(references)} lines; give both sides of one validation set"
        )


def _parameters(teacher: Teacher) -> int:
    tied = set()
    if teacher.config["share_decoder_input_output_embed"] or teacher.config["share_all_embeddings"]:
        tied.add("decoder.output_projection.weight")
    if teacher.config["share_all_embeddings"]:
        tied.add("decoder.embed_tokens.weight")
    return sum(weight.numel() for name, weight in teacher.state.items() if name not in tied)
