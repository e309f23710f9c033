"""Teachers: trained fairseq checkpoints whose weights, shape and predictions students learn from."""

import functools
import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq import models
from fairseq.data import Dictionary, data_utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask
from torch import Tensor

from weightdistill import checkpoint, files
from weightdistill.errors import DistillationError
from weightdistill.method import layout
from weightdistill.method.shape import TransformerShape

logger = logging.getLogger(__name__)

_REMEDY = "binarise the student's data with the teacher's dictionaries (fairseq-preprocess --srcdict, --tgtdict)"


@dataclass(frozen=True)
class Teacher:
    """A teacher's checkpoint in memory.

    Attributes:
        path: where it was read.
        fingerprint: SHA-256 of the file.
        config: the model's settings, flat.
        data: the data folder that it was trained on, as its checkpoint records it; empty if it does not.
        raw_state: weights under the names of the file.
    """

    path: str
    fingerprint: str
    config: Mapping[str, Any]
    data: str
    raw_state: Mapping[str, Tensor]

    @functools.cached_property
    def state(self) -> dict[str, Tensor]:
        """Weights under canonical names.

        Raises:
            DistillationError: not a Transformer encoder-decoder.
        """
        try:
            state = layout.canonical(self.raw_state)
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
            RuntimeError: its weights do not fit its settings and the task's dictionaries.
        """
        model = models.build_model(Namespace(**self.config), task)
        model.load_state_dict(dict(self.raw_state), strict=True, model_cfg=Namespace(**self.config))
        model.requires_grad_(False)
        return model.eval()

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
        languages = [self.config.get("source_lang"), self.config.get("target_lang")]
        if None in languages and (data or self.data) and folder.is_dir():  # fairseq-train inferred them, and kept none
            languages = list(data_utils.infer_language_pair(str(folder)))
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
        DistillationError: see `checkpoint.read`; the message names the teacher.
    """
    try:
        state = checkpoint.read(path)
    except DistillationError as error:
        raise DistillationError(f"teacher: {error}") from error
    config = checkpoint.model_config(state)
    task = checkpoint.plain(state.get("cfg") or {}).get("task") or config
    languages = {key: task.get(key) or config.get(key) for key in ("source_lang", "target_lang")}
    return Teacher(
        path=path,
        fingerprint=files.fingerprint(path),
        config={**config, **languages},
        data=str(task.get("data") or ""),
        raw_state=state["model"],
    )


def read_all(paths: str) -> list[Teacher]:
    """Read the teachers of a comma-separated list.

    Args:
        paths: their files; empty for none.

    Raises:
        DistillationError: see `read`.
    """
    return [read(path.strip()) for path in paths.split(",") if path.strip()]


def same(first: Sequence[Mapping[str, str]], second: Sequence[Mapping[str, str]]) -> bool:
    """Say whether two lists of provenances are of the same teachers in the same order, wherever their files are."""
    return [teacher["sha256"] for teacher in first] == [teacher["sha256"] for teacher in second]


def distinct(provenances: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the provenances with each teacher once."""
    return list({teacher["sha256"]: teacher for teacher in provenances}.values())


def listed(provenances: Sequence[Mapping[str, str]]) -> str:
    """Name teachers by path and SHA-256, for a message."""
    return ", ".join(f"{teacher['path']} (SHA-256 {teacher['sha256']})" for teacher in provenances) or "no teacher"


def _require_equal(what: str, teacher: list[str], student: list[str]) -> None:
    if teacher == student:
        return
    common = min(len(teacher), len(student))
    index = next((index for index in range(common) if teacher[index] != student[index]), common)
    teacher_symbol, student_symbol = (
        repr(symbols[index]) if index < len(symbols) else "nothing" for symbols in (teacher, student)
    )
    raise DistillationError(
        f"{what} has {len(teacher)} entries, the student's {len(student)}; they first differ at entry {index}, which "
        f"is {teacher_symbol} in the teacher's and {student_symbol} in the student's; {_REMEDY}"
    )
