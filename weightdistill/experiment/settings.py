"""Reads the settings of an experiment, which the workflow, the plan, the table and the report share.

An experiment's `config.yaml` is merged over the files it shares with others, checked against the schema, and completed,
so that no reader has a default of its own. Knows no files of results and no models.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from weightdistill import files
from weightdistill.errors import DistillationError
from weightdistill.evaluation.scores import METRICS
from weightdistill.evaluation.significance import TESTS
from weightdistill.experiment.schema import (
    NO_GENERATOR,
    QUANTIZATIONS,
    REAL,
    BenchmarkSettings,
    BundleSettings,
    CorpusSettings,
    DistillationSettings,
    EvaluationSettings,
    MethodSettings,
    PaperFigures,
    ReducedSettings,
    Settings,
    SizeSettings,
    TeacherSettings,
    TextSettings,
)
from weightdistill.method.config import BUNDLES
from weightdistill.method.shape import STUDENTS

_PARTS = {
    "teacher": TeacherSettings,
    "size": SizeSettings,
    "distillation": DistillationSettings,
    "evaluation": EvaluationSettings,
    "benchmark": BenchmarkSettings,
    "reduced": ReducedSettings,
    "text": TextSettings,
    "bundle": BundleSettings,
}
_PARTS_BY_NAME = {"corpora": CorpusSettings, "methods": MethodSettings, "paper": PaperFigures}


def read(paths: Sequence[Path]) -> Settings:
    """Read an experiment's settings from YAML files, of which later ones add to and replace what earlier ones say.

    Raises:
        DistillationError: A file that cannot be read or holds no settings; as `resolve`.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        part = files.read_yaml(path, "give the settings of an experiment")
        if not isinstance(part, dict):
            raise DistillationError(f"{path} must hold an experiment's settings, but holds {type(part).__name__}")
        merged = _merge(merged, part)
    return resolve(merged)


def resolve(values: Mapping[str, Any]) -> Settings:
    """Check settings against the schema, and fill in defaults.

    Args:
        values: The settings as YAML gives them, or as `Settings.as_dict` does.

    Raises:
        DistillationError: A setting that does not exist (the nearest one is named), is missing, has a value of another
            type, or contradicts another setting.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.create(dict(values)))
        container: Any = OmegaConf.to_container(merged, resolve=False)
    except ConfigKeyError as error:
        names = [entry.name for entry in fields(error.object_type or Settings)]
        hint = _nearest(error.key, names) or f"; the settings here are {', '.join(names)}"
        raise DistillationError(f"there is no setting {error.full_key}{hint}") from error
    except OmegaConfBaseException as error:
        raise DistillationError(f"{error.full_key or 'settings'}: {str(error).splitlines()[0]}") from error
    if missing := list(_missing("", container)):
        raise DistillationError(
            f"the settings lack {', '.join(missing)}; give all files of the experiment, its config.yaml last"
        )
    for name, part in _PARTS.items():
        container[name] = None if container[name] is None else part(**container[name])
    for name, part in _PARTS_BY_NAME.items():
        container[name] = {key: part(**value) for key, value in container[name].items()}
    settings = Settings(**container)
    _require_of_experiment(settings)
    _complete(settings)
    _require_of_methods(settings)
    return settings


def _complete(settings: Settings) -> None:
    """Fill in, in place, what a method takes over from the experiment."""
    settings.title = settings.title or settings.name
    evaluation = settings.evaluation
    evaluation.beam = _listed("evaluation.beam", evaluation.beam, int)
    evaluation.length_penalty = _listed("evaluation.length_penalty", evaluation.length_penalty, float)
    for method in settings.methods.values():
        method.weight = settings.distillation.weight if method.weight is None else method.weight
        method.temperature = settings.distillation.temperature if method.temperature is None else method.temperature
        method.students = method.students or dict(settings.students)


def _require_of_experiment(settings: Settings) -> None:
    """Check what the experiment says, before methods take it over."""
    evaluation = settings.evaluation
    for name in settings.evaluated:
        _require_choice("evaluated", name, ["valid", *settings.tests])
    for name in evaluation.metrics.split():
        _require_choice("evaluation.metrics", name, list(METRICS))
    for name, entries in (("evaluated", settings.evaluated), ("evaluation.metrics", evaluation.metrics.split())):
        if not entries:
            raise DistillationError(f"{name} must name at least one, but is empty")
    if "comet" in evaluation.metrics.split() and not evaluation.comet:
        raise DistillationError("evaluation.comet must name the checkpoint of a model, since comet is a metric")
    _require_choice("evaluation.test", evaluation.test, list(TESTS))
    _require_choice("evaluation.engine", evaluation.engine, ["fairseq", "ctranslate2"])
    _require_teacher(settings)
    for preset in settings.paper:
        _require_choice("paper", preset, list(STUDENTS))
    for name, corpus in settings.corpora.items():
        if corpus.shards < 1:
            raise DistillationError(f"corpora.{name}.shards must be at least 1, but is {corpus.shards}")
        if corpus.sentences < 0 or (corpus.sentences and not corpus.sources):
            raise DistillationError(
                f"corpora.{name}.sentences must be 0 or more, the number of its sources, but is {corpus.sentences}"
                + ("" if corpus.sources else " without sources")
            )
    try:
        settings.raw.format(experiment="", output="")
    except (KeyError, IndexError, ValueError) as error:
        raise DistillationError(
            f"raw may name {{experiment}} and {{output}} in braces, and nothing else, but is {settings.raw!r}"
        ) from error
    _require_weights("distillation", settings.distillation.weight, settings.distillation.temperature)
    _require_seeds("students", settings.students)


def _require_teacher(settings: Settings) -> None:
    """Check that the teacher is either trained or given, and its text processing with it."""
    teacher, text = settings.teacher, settings.text
    if bool(teacher.options) == bool(teacher.path):
        raise DistillationError(
            "teacher must have either options, with which it is trained, or the path of a trained checkpoint, but has "
            f"{'both' if teacher.path else 'neither'}"
        )
    if bool(settings.vocabulary) == bool(text.processing):
        raise DistillationError(
            "settings must have either a vocabulary, the size of a SentencePiece model to train, or text.processing, "
            f"the text processing of a given teacher, but have {'both' if text.processing else 'neither'}"
        )
    if teacher.path and not (text.processing and text.dictionaries):
        raise DistillationError("teacher.path needs text.processing and text.dictionaries, which must be the teacher's")


def _require_of_methods(settings: Settings) -> None:
    """Check the methods, complete as they are now, and what names them."""
    for name, method in settings.methods.items():
        where = f"methods.{name}"
        if not re.fullmatch(r"[a-z0-9+-]+", name) or name == "teacher":
            raise DistillationError(
                f"{where}: a method's name must be of lower-case letters, digits, + and -, and not 'teacher'"
            )
        _require_choice(f"{where}.data", method.data, [REAL, *settings.corpora])
        if method.generator is not None:
            _require_choice(f"{where}.generator", method.generator, [NO_GENERATOR, *BUNDLES])
        _require_weights(where, method.weight or 0.0, method.temperature or 0.0)
        if method.cache is not None and method.temperature != settings.distillation.temperature:
            raise DistillationError(
                f"{where}.temperature must be that of the cache, {settings.distillation.temperature:g} "
                f"(distillation.temperature), but is {method.temperature:g}; leave out cache or temperature"
            )
        for stage in ("student", "phase1", "phase2"):
            if stage not in method.stages and getattr(method, f"{stage}_options"):
                raise DistillationError(
                    f"{where}.{stage}_options has no effect, since the method's stages are "
                    f"{' and '.join(method.stages)}; {'set' if method.generator is None else 'leave out'} its generator"
                )
        _require_seeds(f"{where}.students", method.students)
        for preset in method.students:
            _require_choice(f"{where}.students", preset, list(settings.students))
    _require_choice("timed", settings.timed, list(settings.methods))
    if settings.bundle is not None:
        _require_choice("bundle.method", settings.bundle.method, list(settings.methods))
        _require_choice("bundle.quantization", settings.bundle.quantization, QUANTIZATIONS)
    for name in settings.baselines:
        _require_choice("baselines", name, list(settings.methods))
    for preset in settings.students:
        if preset not in settings.methods[settings.timed].students:
            raise DistillationError(
                f"timed must be a method with a student of every preset, but {settings.timed} has none of {preset}"
            )


def _require_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        hint = _nearest(value, choices)
        raise DistillationError(f"{name} must be one of {', '.join(choices)}, but is {value!r}{hint}")


def _require_weights(where: str, weight: float, temperature: float) -> None:
    if not 0 <= weight <= 1:
        raise DistillationError(f"{where}.weight must be within [0, 1], but is {weight}")
    if not 0 < temperature < math.inf:
        raise DistillationError(f"{where}.temperature must be positive and finite, but is {temperature}")


def _require_seeds(where: str, students: Mapping[str, Any]) -> None:
    for preset, seeds in students.items():
        if preset not in STUDENTS:
            hint = _nearest(preset, list(STUDENTS))
            raise DistillationError(f"{where} must be of presets {', '.join(STUDENTS)}, but names {preset!r}{hint}")
        if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
            raise DistillationError(f"{where}.{preset} must be a list of seeds, such as [1, 2], but is {seeds!r}")


def _nearest(value: object, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(value), choices, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _missing(prefix: str, values: Mapping[str, Any]) -> list[str]:
    names = []
    for key, value in values.items():
        if value == MISSING:
            names.append(f"{prefix}{key}")
        elif isinstance(value, dict):
            names += _missing(f"{prefix}{key}.", value)
    return names


def _listed(name: str, value: Any, kind: type) -> list[Any]:
    entries = value if isinstance(value, list) else [value]
    if not entries or not all(isinstance(entry, int | float) and kind(entry) == entry for entry in entries):
        raise DistillationError(f"{name} must be a number or a list of numbers, but is {value!r}")
    return [kind(entry) for entry in entries]


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for key, value in second.items():
        before = merged.get(key)
        merged[key] = _merge(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
