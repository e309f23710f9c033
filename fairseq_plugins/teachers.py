"""Teachers: trained fairseq checkpoints whose weights, shape and predictions students learn from."""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary, data_utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask
from torch import Tensor

from fairseq_plugins import loading
from fairseq_plugins.teacher_kinds import complete, require_translation_transformer
from weightdistill import checkpoint, files
from weightdistill.errors import DistillationError
from weightdistill.method import layout
from weightdistill.method.shape import TransformerShape
from weightdistill.places import separated_paths

logger = logging.getLogger(__name__)

_REMEDY = "binarise the student's data with the teacher's dictionaries (fairseq-preprocess --srcdict, --tgtdict)"


@dataclass(frozen=True)
class Teacher:
    """A teacher's checkpoint in memory.

    Attributes:
        path: where it was read.
        fingerprint: SHA-256 of the file.
        config: the model's settings, flat and complete.
        data: folder of its dictionaries: the one that its checkpoint records, or its own; empty if neither has any.
        languages: source and target language; None where neither the checkpoint nor the files of its data say.
        raw_state: weights under the names of the file.
    """

    path: str
    fingerprint: str
    config: Mapping[str, Any]
    data: str
    languages: tuple[str | None, str | None]
    raw_state: Mapping[str, Tensor]

    @functools.cached_property
    def state(self) -> dict[str, Tensor]:
        """Weights under canonical names, in float32.

        Raises:
            DistillationError: not a Transformer encoder-decoder.
        """
        try:
            state = {name: weight.float() for name, weight in layout.canonical(self.raw_state).items()}
        except DistillationError as error:
            raise DistillationError(f"teacher {self.path}: {error}") from None
        embeddings = state.get("decoder.embed_tokens.weight")
        if embeddings is not None:  # old checkpoints leave out a tied output projection
            state.setdefault("decoder.output_projection.weight", embeddings)
        return state

    @functools.cached_property
    def shape(self) -> TransformerShape:
        """Layers, widths and heads of both stacks."""
        heads = (int(self.config.get(f"{stack}_attention_heads") or 8) for stack in ("encoder", "decoder"))
        return TransformerShape.of(self.state, *heads)

    def provenance(self) -> dict[str, str]:
        """Return what a student's checkpoint says of its teacher: `path` and `sha256` of the file."""
        return {"path": self.path, "sha256": self.fingerprint}

    def build(self, task: FairseqTask) -> BaseFairseqModel:
        """Build the teacher as a frozen fairseq model in eval mode, for its predictions.

        Args:
            task: gives the dictionaries.

        Raises:
            DistillationError: its weights do not fit its settings and the task's dictionaries.
        """
        model = loading.load_model(self.config, self.raw_state, task, self.path)
        model.requires_grad_(False)
        return model

    def require_dictionaries(self, source: Dictionary | None, target: Dictionary, data: str | None = None) -> None:
        """Check that the student's dictionaries are the teacher's.

        Args:
            source: student's source dictionary; None where it may differ.
            target: student's target dictionary.
            data: folder with the teacher's dictionaries; default: the one that its checkpoint names. Where that is
                gone, only the sizes are compared.

        Raises:
            DistillationError: they differ; names both sizes and the first entry that differs.
        """
        folder = Path((data or self.data or "").split(":")[0])
        languages = self.languages
        if None in languages and data and folder.is_dir():
            languages = data_utils.infer_language_pair(str(folder))
        for side, dictionary, language in zip(("source", "target"), (source, target), languages, strict=True):
            if dictionary is None:
                continue
            file = folder / f"dict.{language}.txt"
            stack = "encoder" if side == "source" else "decoder"
            if (embeddings := self.raw_state.get(f"{stack}.embed_tokens.weight")) is None:
                raise DistillationError(
                    f"teacher {self.path} has no {stack}.embed_tokens.weight; a teacher must be an encoder-decoder "
                    "with embeddings"
                )
            rows = len(embeddings)
            if language and file.is_file():
                symbols = Dictionary.load(str(file)).symbols
                _require_equal(f"{side} dictionary of teacher {self.path}", symbols, dictionary.symbols)
            elif data:
                raise DistillationError(f"teacher data {data} has no {file.name}; give the folder of its dictionaries")
            else:
                logger.warning(
                    "teacher %s: its %s dictionary is missing, so that only the size is compared; name its folder with "
                    "--teacher-data",
                    self.path,
                    side,
                )
            if rows != len(dictionary):
                raise DistillationError(
                    f"{side} dictionary of teacher {self.path} has {rows} entries, but the student's has "
                    f"{len(dictionary)}; {_REMEDY}"
                )


@functools.lru_cache(maxsize=8)
def read(path: str) -> Teacher:
    """Read a teacher's checkpoint, once per process.

    Args:
        path: the file.

    Raises:
        DistillationError: it cannot be read, is no Transformer that translates from one language to another, or has
            weights that are no numbers; the message names the teacher.
    """
    try:
        state = checkpoint.read(path)
    except DistillationError as error:
        raise DistillationError(f"teacher: {error}") from error
    require_translation_transformer(state, path)
    checkpoint.require_finite(state, f"teacher {path}")
    return describe(state, path)


def describe(state: Mapping[str, Any], path: str) -> Teacher:
    """Describe the checkpoint of any model, whether or not it can be a teacher.

    Args:
        state: the checkpoint.
        path: its file.
    """
    task = checkpoint.task_config(state)
    try:
        data = str(loading.dictionary_folder(task, path))
    except DistillationError:  # raised again where dictionaries are needed
        data = ""
    languages = (task.get("source_lang"), task.get("target_lang"))
    if None in languages and data:  # fairseq-train inferred them, and recorded none
        languages = tuple(data_utils.infer_language_pair(data))
    return Teacher(
        path=path,
        fingerprint=files.fingerprint(path),
        config={
            **complete(checkpoint.model_config(state), path),
            "source_lang": languages[0],
            "target_lang": languages[1],
        },
        data=data,
        languages=languages,
        raw_state=state["model"],
    )


def read_all(paths: str) -> list[Teacher]:
    """Read the teachers of a comma-separated list. Their shapes may differ.

    Args:
        paths: their files; empty for none.

    Raises:
        DistillationError: two differ in their direction or vocabulary; see also `read`.
    """
    ensemble = [read(str(path)) for path in separated_paths(paths)]
    for teacher in ensemble[1:]:
        _require_same_words(ensemble[0], teacher)
    return ensemble


def same(first: Sequence[Mapping[str, str]], second: Sequence[Mapping[str, str]]) -> bool:
    """Say whether two lists of provenances are of the same teachers in the same order, wherever their files are."""
    return [teacher["sha256"] for teacher in first] == [teacher["sha256"] for teacher in second]


def distinct(provenances: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the provenances with each teacher once."""
    return list({teacher["sha256"]: teacher for teacher in provenances}.values())


def listed(provenances: Sequence[Mapping[str, str]]) -> str:
    """Name teachers by path and SHA-256, for a message."""
    return ", ".join(f"{teacher['path']} (SHA-256 {teacher['sha256']})" for teacher in provenances) or "no teacher"


def _require_same_words(first: Teacher, second: Teacher) -> None:
    """Check that two teachers can predict together."""
    names = f"{first.path} and {second.path}"
    remedy = "the members of an ensemble predict over the same words; name teachers that were trained on the same data"
    directions = [f"{teacher.languages[0]}-{teacher.languages[1]}" for teacher in (first, second)]
    if None not in first.languages + second.languages and directions[0] != directions[1]:
        raise DistillationError(f"teachers {names} translate {directions[0]} and {directions[1]}; {remedy}")
    for side, language, stack in zip(("source", "target"), first.languages, ("encoder", "decoder"), strict=True):
        rows = [len(teacher.raw_state[f"{stack}.embed_tokens.weight"]) for teacher in (first, second)]
        if rows[0] != rows[1]:
            raise DistillationError(f"teachers {names} have {rows[0]} and {rows[1]} {side} words; {remedy}")
        files = list(
            dict.fromkeys(Path(teacher.data) / f"dict.{language}.txt" for teacher in (first, second) if teacher.data)
        )
        words = [Dictionary.load(str(file)).symbols for file in files if file.is_file()]
        if len(words) == 2 and words[0] != words[1]:
            index, *pair = _first_difference(*words)
            raise DistillationError(
                f"the {side} dictionaries of teachers {names} first differ at entry {index} ({' and '.join(pair)}); "
                f"{remedy}"
            )


def _first_difference(first: list[str], second: list[str]) -> tuple[int, str, str]:
    """Return where two lists differ, and what each has there."""
    common = min(len(first), len(second))
    index = next((index for index in range(common) if first[index] != second[index]), common)
    symbols = [repr(words[index]) if index < len(words) else "nothing" for words in (first, second)]
    return index, symbols[0], symbols[1]


def _require_equal(what: str, teacher: list[str], student: list[str]) -> None:
    if teacher == student:
        return
    index, teacher_symbol, student_symbol = _first_difference(teacher, student)
    raise DistillationError(
        f"{what} has {len(teacher)} entries, the student's {len(student)}; they first differ at entry {index}, which "
        f"is {teacher_symbol} in the teacher's and {student_symbol} in the student's; {_REMEDY}"
    )
