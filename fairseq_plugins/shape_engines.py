"""Engines of random models of the paper's shapes, to measure decoding speed without trained weights.

Since nothing was learned, translations must have a forced length (`Search.output_length`).
"""

import contextlib
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from fairseq.data import Dictionary, data_utils

from fairseq_plugins import random_models
from fairseq_plugins.export import converted_model
from fairseq_plugins.fairseq_engine import FairseqEngine
from fairseq_plugins.loading import translation_task
from weightdistill import checkpoint
from weightdistill.decoding.engines import CTranslate2Engine, Engine, Pieces
from weightdistill.errors import DistillationError

LANGUAGES = ("source", "target")
"""Names of the languages where no data folder says them."""


@contextlib.contextmanager
def random_engines(
    shape: str,
    preset: str,
    *,
    data: Path | None = None,
    vocabulary: int = 32000,
    vocabulary_map: Path | None = None,
    threads: int | None = None,
) -> Iterator[list[Engine]]:
    """Make a random teacher and student, and engines for them: fairseq for the teacher, CTranslate2 for both.

    Args:
        shape: the teacher's shape: base, big or deep.
        preset: the student's shape, relative to the teacher's.
        data: folder of fairseq-preprocess, whose dictionaries the models have.
        vocabulary: entries of an invented dictionary, if there is no data folder.
        vocabulary_map: map with which the int8 models are measured a second time.
        threads: CPU threads of every engine.

    Yields:
        The engines, of which the fairseq teacher is the first. Their files last as long as the block.

    Raises:
        DistillationError: an unknown shape or preset, or an unusable dictionary or map.
    """
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task, settings = _task(data, vocabulary, folder)
        teacher, student = folder / "teacher.pt", folder / "student.pt"
        pre_norm = shape == "deep"
        random_models.write_teacher(teacher, random_models.teacher_shape(shape), task, pre_norm=pre_norm, data=settings)
        random_models.write_student(student, teacher, preset, task, settings)
        engines: list[Engine] = [_named(FairseqEngine(teacher, threads=threads), f"fairseq, {shape}")]
        for path, title in ((teacher, shape), (student, preset)):
            content = checkpoint.read(path)
            for precision in ("float32", "int8"):
                stock_task = translation_task(content, None, title)
                with converted_model(content, stock_task, folder / "converted", precision) as model:
                    name = f"CTranslate2, {title}, {precision}"
                    engines.append(_named(CTranslate2Engine(model, threads), name))
                    if vocabulary_map is not None and precision == "int8":
                        mapped = CTranslate2Engine(model, threads, vocabulary_map)
                        engines.append(_named(mapped, f"{name}, vocabulary map"))
        yield engines


def random_sentences(count: int, length: int, vocabulary: int) -> list[Pieces]:
    """Make sentences of the pieces of an invented dictionary.

    Args:
        count: number of sentences.
        length: pieces of each sentence.
        vocabulary: entries of the dictionary.
    """
    pieces = random_models.RandomTask.of_size(vocabulary).source_dictionary
    words = pieces.symbols[pieces.nspecial :]
    generator = random.Random(1)
    return [generator.choices(words, k=length) for _ in range(count)]


def _task(data: Path | None, vocabulary: int, folder: Path) -> tuple[random_models.RandomTask, dict[str, str]]:
    """Return the dictionaries, and where fairseq finds them."""
    if data is None:
        task = random_models.RandomTask.of_size(vocabulary)
        for language in LANGUAGES:
            task.source_dictionary.save(str(folder / f"dict.{language}.txt"))
        return task, _settings(folder, LANGUAGES)
    languages = tuple(data_utils.infer_language_pair(str(data)) if data.is_dir() else ())
    files = [data / f"dict.{language}.txt" for language in languages if language]
    if len(files) != 2 or not all(map(Path.is_file, files)):
        raise DistillationError(f"{data} holds no data of two languages with their dictionaries; give another --data")
    source, target = (Dictionary.load(str(file)) for file in files)
    return random_models.RandomTask(source, target), _settings(data, languages)


def _settings(data: Path, languages: Sequence[str]) -> dict[str, str]:
    return {"data": str(data), "source_lang": languages[0], "target_lang": languages[1]}


def _named(engine: FairseqEngine | CTranslate2Engine, name: str) -> Engine:
    engine.name = name
    return engine
