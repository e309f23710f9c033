"""Teachers and students of the paper's shapes with random weights: what they cost does not depend on their values."""

import argparse
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY, build_model, import_models

from fairseq_plugins.students import shape_options
from weightdistill import checkpoint
from weightdistill.errors import DistillationError
from weightdistill.method.shape import TEACHERS, TransformerShape

LEAST_WORDS = 8
"""Fewest entries of a dictionary: fairseq's four symbols and some words."""


class RandomTask:
    """What fairseq's models need of a task: the dictionaries.

    Args:
        source: of the source language.
        target: of the target language.
    """

    def __init__(self, source: Dictionary, target: Dictionary) -> None:
        self.source_dictionary, self.target_dictionary = source, target

    @classmethod
    def of_size(cls, vocabulary: int) -> "RandomTask":
        """Make a task with one dictionary of invented pieces for both languages.

        Args:
            vocabulary: entries of the dictionary, with fairseq's symbols.

        Raises:
            DistillationError: there are fewer than LEAST_WORDS.
        """
        if vocabulary < LEAST_WORDS:
            raise DistillationError(f"vocabulary must be at least {LEAST_WORDS}, but is {vocabulary}")
        dictionary = Dictionary()
        for index in range(vocabulary - len(dictionary)):
            dictionary.add_symbol(f"piece{index}")
        return cls(dictionary, dictionary)


def teacher_shape(preset: str) -> TransformerShape:
    """Return the shape of one of the paper's teachers.

    Raises:
        DistillationError: there is no such preset.
    """
    if preset not in TEACHERS:
        raise DistillationError(f"teacher preset must be one of {', '.join(TEACHERS)}, but is {preset!r}")
    return TEACHERS[preset]


def write_teacher(
    path: Path, shape: TransformerShape, task: RandomTask, *, pre_norm: bool, data: dict[str, str] | None = None
) -> None:
    """Write the checkpoint of a random teacher, with untied embeddings as in the paper.

    Args:
        path: the checkpoint.
        shape: the teacher's shape.
        task: gives the dictionaries.
        pre_norm: whether layers normalise their input, as the deep teacher's do.
        data: folder of the dictionaries and the languages, under the names of fairseq's options, if the model is to
            translate.
    """
    options: dict[str, Any] = {"_name": "transformer", "arch": "transformer", "dropout": 0.1, **shape_options(shape)}
    options |= {f"{stack}_normalize_before": pre_norm for stack in ("encoder", "decoder")}
    arguments = argparse.Namespace(**options)
    checkpoint.write(_content(build_model(arguments, task), arguments, data), path)


def write_student(path: Path, teacher: Path, preset: str, task: RandomTask, data: dict[str, str]) -> None:
    """Write the checkpoint of a random student.

    Args:
        path: the checkpoint.
        teacher: its teacher's.
        preset: the student's shape, relative to the teacher's.
        task: gives the dictionaries.
        data: folder of the dictionaries and the languages, under the names of fairseq's options.

    Raises:
        DistillationError: there is no such preset.
    """
    arguments = argparse.Namespace(_name="student", arch="student", teacher_path=str(teacher), student_preset=preset)
    checkpoint.write(_content(_built(arguments, task), arguments, data), path)


def build(arch: str, task: RandomTask, options: dict[str, str]) -> Any:
    """Build a random model of one of the plugin's architectures.

    Args:
        arch: the architecture.
        task: gives the dictionaries.
        options: of the architecture.

    Raises:
        DistillationError: an option is impossible.
    """
    return _built(argparse.Namespace(_name=arch, arch=arch, **options), task)


def _built(arguments: argparse.Namespace, task: RandomTask) -> Any:
    if arguments.arch not in ARCH_MODEL_REGISTRY:
        import_models(str(Path(__file__).parent / "models"), "fairseq_plugins.models")
    return build_model(arguments, task)


def _content(model: Any, arguments: argparse.Namespace, data: dict[str, str] | None) -> dict[str, Any]:
    named = {"_name": "transformer", "arch": "transformer", "task": "translation"}
    settings = {**checkpoint.plain(arguments), **named, **(data or {})}
    config = {"model": settings, "task": {"_name": "translation", **(data or {"data": ""})}}
    return {"args": None, "model": model.state_dict(), "cfg": config}
