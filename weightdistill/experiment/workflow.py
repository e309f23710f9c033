"""Names and places in the workflow of an experiment: which systems there are, and which files its rules read and write.

`experiments/Snakefile` and the gathering of results agree because both ask here. All paths are relative to the
workflow's folder. Knows settings; runs nothing.
"""

import shlex
from pathlib import Path

from weightdistill.experiment.schema import NO_GENERATOR, REAL, Settings
from weightdistill.places import separated_paths

TEACHER = "teacher"
"""The system that is no student."""


def student_name(method: str, preset: str, seed: int | str) -> str:
    """The name of a student, METHOD-PRESET-SEED."""
    return f"{method}-{preset}-{seed}"


def method_of(student: str) -> str:
    """The method of a student."""
    return student.rsplit("-", 2)[0]


def students(settings: Settings) -> list[str]:
    """All students: each method in its presets, with its seeds."""
    return [
        student_name(name, preset, seed)
        for name, method in settings.methods.items()
        for preset, seeds in method.students.items()
        for seed in seeds
    ]


def systems(settings: Settings) -> list[str]:
    """The teacher and all students."""
    return [TEACHER, *students(settings)]


def timed(settings: Settings) -> dict[str | None, str]:
    """The system that is timed for each preset, since speed depends on the shape alone; the teacher for None."""
    presets = settings.methods[settings.timed].students
    return {
        None: TEACHER,
        **{preset: student_name(settings.timed, preset, seeds[0]) for preset, seeds in presets.items()},
    }


def compared(settings: Settings) -> dict[str, list[str]]:
    """For the teacher and each student of a baseline: itself, and the systems that paired tests set against it."""
    groups = {TEACHER: systems(settings)}
    for baseline in settings.baselines:
        for preset, seeds in settings.methods[baseline].students.items():
            for seed in seeds:
                others = [
                    name
                    for name, method in settings.methods.items()
                    if name != baseline and seed in method.students.get(preset, [])
                ]
                names = [student_name(name, preset, seed) for name in [baseline, *others]]
                groups[names[0]] = names
    return groups


def teacher_checkpoints(settings: Settings) -> list[str]:
    """The teacher's checkpoint, an average or the one that was given; several if students learn from several."""
    given = list(map(str, separated_paths(settings.teacher.path)))
    return given or [f"{TEACHER}/average.pt"]


def bundled(settings: Settings) -> str | None:
    """The student that is made ready for use, if any."""
    if settings.bundle is None:
        return None
    preset, seeds = next(iter(settings.methods[settings.bundle.method].students.items()))
    return student_name(settings.bundle.method, preset, seeds[0])


def ways(settings: Settings) -> list[str]:
    """How the bundled student is measured: `whole`, over all words, and `mapped`, over those of a vocabulary map."""
    return ["whole", *(["mapped"] if settings.bundle and settings.bundle.vocabulary_map else [])]


def data_folder(settings: Settings, method: str) -> str:
    """The binarised data that a method trains on."""
    data = settings.methods[method].data
    return "prepared/data-bin" if data == REAL else f"corpora/{data}/data-bin"


def cache_folder(settings: Settings, method: str) -> str | None:
    """The cached predictions of the teacher that a method learns from, if any."""
    data, words = settings.methods[method].data, settings.methods[method].cache
    if words is None:
        return None
    return f"caches/{words}" if data == REAL else f"caches/{data}-{words}"


def source_text(settings: Settings, corpus: str, experiment: Path) -> str | None:
    """The text that a corpus adds to the training sources, if any.

    Args:
        settings: Of the experiment.
        corpus: Name of the corpus.
        experiment: Folder of the experiment, for which the path writes {experiment}.
    """
    return settings.corpora[corpus].sources.replace("{experiment}", str(experiment)) or None


def source_pieces(settings: Settings, corpus: str) -> str | None:
    """The same text in pieces."""
    return f"corpora/{corpus}/sources" if settings.corpora[corpus].sources else None


def translation_options(settings: Settings, corpus: str) -> str:
    """All options of scripts/translate.sh for a corpus, in the shell's syntax."""
    options = settings.corpora[corpus].options
    pieces = source_pieces(settings, corpus)
    return f"{options} --sources {shlex.quote(pieces)}" if pieces else options


def training_folders(settings: Settings, system: str) -> list[str]:
    """Where the trainings of a system lie, in their order; a given teacher has none."""
    if system == TEACHER:
        return [] if settings.teacher.path else [TEACHER]
    names = {"student": "students"}
    return [f"{names.get(stage, stage)}/{system}" for stage in settings.methods[method_of(system)].stages]


def exported_checkpoint(settings: Settings, system: str) -> str:
    """The checkpoint that is exported: an average of the last ones, or the best on the validation set."""
    if system == TEACHER:
        return teacher_checkpoints(settings)[0]
    folder = training_folders(settings, system)[-1]
    return f"{folder}/{'checkpoint_best' if settings.average is None else 'average'}.pt"


def preparation_options(settings: Settings) -> str:
    """Options of scripts/prepare.sh on how text becomes pieces, in the shell's syntax."""
    text = settings.text
    if not text.processing:
        return f"--vocab-size {settings.vocabulary}"
    given = {"text": text.processing, "dictionaries": text.dictionaries}
    if text.train_bin:  # which has its dictionaries with it
        given = {"text": text.processing, "train-bin": text.train_bin}
    return " ".join(f"--{name} {shlex.quote(value)}" for name, value in given.items())


def training_options(settings: Settings, method: str, stage: str, experiment: Path) -> str:
    """All options of fairseq-train for a training of a student, in the shell's syntax.

    Args:
        settings: Of the experiment.
        method: Name of the method.
        stage: One of `MethodSettings.stages`.
        experiment: Folder of the experiment, for which options write {experiment}.
    """
    options = settings.stage_options(method, stage).replace("{experiment}", shlex.quote(str(experiment)))
    if folder := cache_folder(settings, method):
        options += f" --teacher-cache {folder}"
    return options


def distillation_options(settings: Settings, method: str) -> str:
    """Options of the stages on the teacher's part in a method's loss."""
    chosen = settings.methods[method]
    return f"--distillation-weight {chosen.weight:g} --temperature {chosen.temperature:g}"


def first_stage(settings: Settings, method: str) -> str:
    """The script of a method's first phase: it trains a generator, or in the control the student itself."""
    generator = settings.methods[method].generator
    return "train_student.sh" if generator == NO_GENERATOR else f"phase1.sh --generator {generator}"


def is_tuned(settings: Settings) -> bool:
    """Whether beam and length penalty are chosen on the validation set, for each system."""
    return len(settings.evaluation.beam) * len(settings.evaluation.length_penalty) > 1


def score_endings(settings: Settings) -> list[str]:
    """Endings of the files of scores; the second one has BLEU as the experiment's paper computed it."""
    return ["json", "paper.json"] if settings.evaluation.paper else ["json"]
