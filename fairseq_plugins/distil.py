"""What `weightdistill distil` checks and decides before the workflow runs: one student of a given teacher.

Every input is checked, the schedule is chosen by the size of the data, and the settings are written for
experiments/Snakefile. Trains nothing.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import os
import random
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairseq_plugins.binarised import count
from fairseq_plugins.teacher_check import TeacherDescription, inspect_teachers
from weightdistill import files
from weightdistill.decoding.vocabulary_map import aligner
from weightdistill.errors import DistillationError
from weightdistill.experiment.schedule import Schedule
from weightdistill.experiment.schema import QUANTIZATIONS
from weightdistill.installation import resources
from weightdistill.method.shape import STUDENTS
from weightdistill.places import require_separate
from weightdistill.text import coverage
from weightdistill.text.corpus import read_pairs, write_pairs
from weightdistill.text.processing import SIDES, TextProcessing

SETTINGS, INPUTS = "settings.yaml", "inputs.json"
"""Files in the output folder: what was decided, and the SHA-256 of every input."""
SAMPLE = 2000
"""Sentence pairs by which pieces are counted before the whole corpus is segmented."""
SHARD = 50_000
"""Sentences that the teacher translates between two points from which it can be resumed."""
SMOKE_PAIRS = {"train": 4000, "valid": 100}
"""Pairs that a trial takes; of a test set as many as for validation."""


@dataclass(frozen=True)
class Job:
    """A student to make."""

    teachers: tuple[str, ...]
    """Checkpoints; the first gives weights and translations, all together the soft labels."""
    source: str
    """Source language, the ending of its files."""
    target: str
    """Target language."""
    text: TextProcessing
    """The teacher's."""
    valid: Path
    """Prefix of the validation set: raw text, VALID.SOURCE and VALID.TARGET, which may end in .gz."""
    tests: Mapping[str, Path]
    """Prefixes of test sets by name."""
    output: Path
    """Receives everything."""
    train: Path | None = None
    """Prefix of the training data."""
    train_bin: Path | None = None
    """Folder of training data that are binarised already, instead."""
    sources: Path | None = None
    """More source text, without translations."""
    dictionaries: Path | None = None
    """Folder of the teacher's dictionaries; default: where its checkpoint says, or beside it."""
    preset: str = "tiny"
    """Shape of the student."""
    quantization: str = "int8"
    """Number format of the deployed student."""
    seed: int = 1
    """Of all random numbers."""
    least_bleu: float = 5.0
    """Of the teacher on the validation set."""
    smoke: bool = False
    """Whether this is a trial: few pairs and few updates."""
    gpus: int = 0
    """GPUs that train."""

    def place(self, path: Path) -> str:
        """The path of an input as the workflow names it, which runs in the output folder."""
        return os.path.relpath(path.resolve(), self.output.resolve())


@dataclass(frozen=True)
class Prepared:
    """What is known before the workflow runs."""

    configs: list[Path]
    """Files of settings, later ones over earlier ones."""
    teacher: TeacherDescription
    pairs: int
    """Training pairs."""
    tokens: int
    """Target tokens of an epoch."""

    def __str__(self) -> str:
        encoder, decoder = self.teacher.shape.encoder, self.teacher.shape.decoder
        return (
            f"teacher: {encoder.layers}-{decoder.layers} layers, width {encoder.width}-{decoder.width}, "
            f"{self.teacher.parameters:,} parameters\n"
            f"text: {self.pairs:,} sentence pairs, about {self.tokens:,} target tokens"
            + ("" if aligner() else "\nno vocabulary map, which takes an aligner: pip install eflomal")
        )


def prepare(job: Job) -> Prepared:
    """Check all inputs, and write the settings of the workflow to the output folder.

    Args:
        job: What is wanted.

    Raises:
        DistillationError: An input that cannot be used: text that is missing, empty or misaligned, a teacher of another
            kind, direction or vocabulary, or an output folder of another job. Nothing is overwritten then.
    """
    for option, value, choices in (
        ("preset", job.preset, list(STUDENTS)),
        ("quantization", job.quantization, QUANTIZATIONS),
    ):
        if value not in choices:
            raise DistillationError(f"--{option} must be one of {', '.join(choices)}, but is {value!r}")
    splits = _splits(job)
    lengths = {name: _count_pairs(_sides(job, prefix)) for name, prefix in splits.items()}
    teacher = inspect_teachers(job.teachers, job.source, job.target, job.dictionaries or job.train_bin)
    require_separate(
        {"--output": [job.output / name for name in ("raw", "prepared", "smoke", "model", "fairseq", "results")]},
        {
            "text": [path for prefix in splits.values() for path in _sides(job, prefix)],
            "--teacher": teacher.paths,
            "the dictionaries": teacher.dictionaries,
            "--data-bin": job.train_bin,
            "--sources": job.sources,
        },
    )
    tokens_per_pair = {name: _sampled_tokens(job, prefix, lengths[name], teacher) for name, prefix in splits.items()}
    if job.train_bin is None:
        pairs = min(lengths["train"], SMOKE_PAIRS["train"]) if job.smoke else lengths["train"]
        tokens = round(pairs * tokens_per_pair["train"])
    else:
        pairs, tokens = count(job.train_bin, job.source, job.target)
    settings = _settings(job, splits, teacher, pairs, tokens)
    inputs = [path for prefix in splits.values() for path in _sides(job, prefix)]
    inputs += [*teacher.paths, *(teacher.dictionaries / f"dict.{side}.txt" for side in (job.source, job.target))]
    inputs += [*job.text.source.files, *job.text.target.files, *([job.sources] if job.sources else [])]
    fingerprints = {str(path.resolve()): files.fingerprint(path) for path in inputs}
    text = json.dumps(dataclasses.asdict(job.text), default=lambda path: path.name, sort_keys=True)
    fingerprints["text processing"] = hashlib.sha256(text.encode()).hexdigest()
    _require_same_job(job.output, settings, fingerprints)
    job.text.write(job.output / "text")
    if job.smoke:
        for name, prefix in splits.items():
            _write_sample(job, name, prefix)
    files.write_json(job.output / INPUTS, fingerprints)
    with files.writing(job.output / SETTINGS) as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    experiments = resources() / "experiments"
    trial = [experiments / "distil-smoke.yaml"] if job.smoke else []
    return Prepared([experiments / "distil.yaml", job.output / SETTINGS, *trial], teacher, pairs, tokens)


def _splits(job: Job) -> dict[str, Path]:
    """Prefixes of raw text by the names that they get."""
    if (job.train is None) == (job.train_bin is None):
        raise DistillationError("training data are either text (--train) or binarised (--data-bin); give one of them")
    if job.smoke and (job.train_bin or job.sources):
        raise DistillationError("--smoke takes the first pairs of --train; leave out --data-bin and --sources")
    if job.train_bin and job.dictionaries:
        raise DistillationError("--data-bin has its dictionaries with it; leave out --dictionaries")
    if job.source == job.target:
        raise DistillationError(f"--source and --target must be two languages, but both are {job.source}")
    for name in job.tests:
        if name in ("train", "valid") or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise DistillationError(
                f"a test set's name must be of letters, digits, '-', '_' and '.', and not train or valid, but is "
                f"{name!r}; name it with --test NAME=PREFIX"
            )
    train = {} if job.train is None else {"train": job.train}
    return {**train, "valid": job.valid, **job.tests}


def _sides(job: Job, prefix: Path) -> tuple[Path, Path]:
    """The two files of parallel text, which may be gzipped."""
    paths = []
    for language in (job.source, job.target):
        plain = prefix.with_name(f"{prefix.name}.{language}")
        packed = plain.with_name(f"{plain.name}.gz")
        if not plain.is_file() and not packed.is_file():
            raise DistillationError(f"{plain} does not exist; give the prefix of text files, without .{language}")
        paths.append(plain if plain.is_file() else packed)
    return paths[0], paths[1]


def _count_pairs(sides: tuple[Path, Path]) -> int:
    pairs = sum(1 for pair in read_pairs(*sides) if all(pair))
    if not pairs:
        raise DistillationError(f"{sides[0]} and {sides[1]} hold no sentence pair; give parallel text")
    return pairs


def _sampled_tokens(job: Job, prefix: Path, pairs: int, teacher: TeacherDescription) -> float:
    """Target tokens of a pair, on a sample whose pieces the teacher's dictionaries must know."""
    chosen = set(random.Random(0).sample(range(pairs), min(pairs, SAMPLE)))
    sample = [pair for index, pair in enumerate(read_pairs(*_sides(job, prefix))) if index in chosen]
    for side, language, lines in zip(SIDES, (job.source, job.target), zip(*sample, strict=True), strict=True):
        pieces = [job.text.encode(line, side) for line in lines]
        coverage.require_known(pieces, teacher.dictionaries / f"dict.{language}.txt", f"{prefix}.{language}")
    return sum(len(line.split()) + 1 for line in pieces) / len(pieces)


def _settings(
    job: Job, splits: Mapping[str, Path], teacher: TeacherDescription, pairs: int, tokens: int
) -> dict[str, Any]:
    """The settings that differ from experiments/distil.yaml."""
    schedule = Schedule.of(tokens, teacher.shape.encoder.width)
    stages = {
        stage: " ".join(f"{name} {value}" for name, value in schedule.options(stage).items())
        for stage in ("phase1", "phase2")
    }
    names = " and ".join(path.name for path in teacher.paths)
    return {
        "name": job.output.resolve().name,
        "title": f"{job.preset.upper()} student of {names}, {job.source}-{job.target}",
        "source": job.source,
        "target": job.target,
        "raw": "; ".join(_copying(job, name, prefix) for name, prefix in splits.items()),
        "tests": list(job.tests),
        "evaluated": ["valid", *job.tests],
        "teacher": {"path": ",".join(job.place(path) for path in teacher.paths), "least_bleu": job.least_bleu},
        "text": {
            "processing": "text/text.json",
            "dictionaries": job.place(teacher.dictionaries),
            **({"train_bin": job.place(job.train_bin)} if job.train_bin else {}),
        },
        "students": {job.preset: [job.seed]},
        "size": {"pairs": pairs, "tokens": tokens},
        **{f"{stage}_options": options for stage, options in stages.items()},
        "gpus": job.gpus,
        "bundle": {"method": "wd", "quantization": job.quantization, "vocabulary_map": aligner() is not None},
        **(_further_sources(job, job.sources, pairs) if job.sources else {}),
    }


def _further_sources(job: Job, sources: Path, pairs: int) -> dict[str, Any]:
    """Settings of a student that learns from the real data, their translations, and those of further sources."""
    sentences = len(files.read_lines(sources))
    corpus = {
        "sources": job.place(sources),
        "sentences": sentences,
        "shards": math.ceil((pairs + sentences) / SHARD),
        "options": "--beam 5 --real 1 --distilled 1",
    }
    return {"corpora": {"more": corpus}, "methods": {"wd": {"data": "more"}}}


def _copying(job: Job, name: str, prefix: Path) -> str:
    """The command that copies a split to where the workflow wants it; {output} is the workflow's."""
    inputs = _sample(job, name) if job.smoke else _sides(job, prefix)
    words = ["weightdistill", "clean", *(["--drop-empty"] if name == "train" else [])]
    words += [f"--{side}={job.place(path)}" for side, path in zip(SIDES, inputs, strict=True)]
    command = shlex.join(words).replace("{", "{{").replace("}", "}}")
    outputs = (f"--output-{side} {{output}}/{name}.{getattr(job, side)}" for side in SIDES)
    return " ".join([command, *outputs])


def _sample(job: Job, name: str) -> tuple[Path, Path]:
    """The two files of a split that a trial reads."""
    folder = job.output / "smoke"
    return folder / f"{name}.{job.source}", folder / f"{name}.{job.target}"


def _write_sample(job: Job, name: str, prefix: Path) -> None:
    """Write the first pairs of a split for a trial."""
    first = itertools.islice(read_pairs(*_sides(job, prefix)), SMOKE_PAIRS.get(name, SMOKE_PAIRS["valid"]))
    write_pairs(first, *_sample(job, name))


def _require_same_job(folder: Path, settings: Mapping[str, Any], fingerprints: Mapping[str, str]) -> None:
    """Refuse a folder that holds the files of another job."""
    if not (folder / "raw").exists():
        return  # nothing was made yet
    for name, now in ((SETTINGS, settings), (INPUTS, fingerprints)):
        file = folder / name
        before = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else now
        before, now = _lasting(before), _lasting(now)
        if changed := [key for key in {**before, **now} if before.get(key) != now.get(key)]:
            raise DistillationError(
                f"{folder} holds a run with another {' and '.join(changed)}, as {name} says; give another --output, or "
                "remove that folder"
            )


def _lasting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a resumed run must not change. The workflow repeats what depends on the rest."""
    kept = {name: value for name, value in settings.items() if name not in ("gpus", "bundle")}
    if isinstance(teacher := kept.get("teacher"), Mapping):
        kept["teacher"] = {name: value for name, value in teacher.items() if name != "least_bleu"}
    return kept
