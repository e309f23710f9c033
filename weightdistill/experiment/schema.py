"""What an experiment may set: a dataclass for each part of its `config.yaml`, with defaults.

`weightdistill.experiment.settings` reads and checks them. The annotations are those that OmegaConf 2.0 knows as well,
which official fairseq brings.
"""

import hashlib
import json
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass
from typing import Any, Dict, List, Optional

from omegaconf import MISSING

NO_GENERATOR = "none"
"""The `generator` of a method whose two phases both train the student itself: the control of weight distillation."""
QUANTIZATIONS = ("int8", "float16", "int8_float16", "bfloat16", "int8_bfloat16", "int16", "float32")
"""Number formats of CTranslate2's weights."""
REAL = "real"
"""The name of the real training data, beside those of the corpora that the teacher helped to make."""


@dataclass
class SizeSettings:
    """Size of the training data, which only the plan needs."""

    pairs: int = MISSING
    """Sentence pairs."""
    tokens: int = MISSING
    """Target tokens."""


@dataclass
class TeacherSettings:
    """The teacher: the workflow trains it, or it is there already."""

    options: str = ""
    """Options of fairseq-train."""
    threads: int = 1
    """CPU threads."""
    average: int = 5
    """How many of the last checkpoints are averaged."""
    path: str = ""
    """A trained checkpoint instead of all that. With several, comma-separated, soft labels are the mean of all;
    weights, translations and the teacher's row of the table come from the first."""
    least_bleu: float = 5.0
    """BLEU on the validation set below which a given teacher is not distilled."""


@dataclass
class TextSettings:
    """How text becomes the pieces of a given teacher; by default, the workflow trains SentencePiece on its data."""

    processing: str = ""
    """Its text processing, a text.json."""
    dictionaries: str = ""
    """Folder of its dictionaries."""
    train_bin: str = ""
    """Folder of training data that are binarised already; only validation and test sets are then raw text."""


@dataclass
class DistillationSettings:
    """The teacher's part in the loss, unless a method says otherwise."""

    weight: float = 0.5
    """Share of the teacher's term, within [0, 1]."""
    temperature: float = 1.0
    """Softens both distributions."""


@dataclass
class CorpusSettings:
    """A corpus that the teacher translates."""

    shards: int = 1
    """Parts that are decoded one by one."""
    options: str = ""
    """Options of scripts/translate.sh."""
    sources: str = ""
    """File of further source text, which has no references, raw or gzipped; {experiment} is the experiment's folder."""
    sentences: int = 0
    """How many it has, which only the plan needs."""


@dataclass
class MethodSettings:
    """One way to train students: a row of the table for each preset."""

    title: str = MISSING
    """Name in tables and pictures."""
    group: str = ""
    """Heading of the report under which the method stands."""
    variant: bool = False
    """Whether the report folds the method away."""
    note: str = ""
    """A sentence for the report that explains the title."""
    data: str = REAL
    """`real`, or the name of a corpus."""
    weight: Optional[float] = None
    """Share of the teacher's term in the loss; default: that of `distillation`."""
    temperature: Optional[float] = None
    """Default: that of `distillation`."""
    cache: Optional[int] = None
    """Take the soft labels from a cache of this many words per token; default: run the teacher."""
    generator: Optional[str] = None
    """Bundle of generator options, or `none` for two phases without a generator; default: one phase without."""
    options: str = ""
    """Options of fairseq-train in every stage."""
    student_options: str = ""
    """Those of the only stage of a method in one phase."""
    phase1_options: str = ""
    """Those of phase 1."""
    phase2_options: str = ""
    """Those of phase 2."""
    students: Dict[str, Any] = field(default_factory=dict)
    """Seeds by preset; default: those of the experiment."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The trainings of a student, in their order: `student`, or `phase1` and `phase2`."""
        return ("student",) if self.generator is None else ("phase1", "phase2")


@dataclass
class EvaluationSettings:
    """How systems are scored and compared."""

    beam: Any = 5
    """Beam size, or several, of which the validation set chooses."""
    length_penalty: Any = 1.0
    """Exponent of the length that scores are divided by, or several, of which the validation set chooses."""
    metrics: str = "bleu chrf"
    """Names of metrics, separated by blanks."""
    test: str = "randomisation"
    """The paired test; `bootstrap` is one-sided, as in Moses' script."""
    resamples: int = 1000
    """Of the paired test."""
    paper: str = ""
    """Options of `weightdistill evaluate` that give BLEU as the experiment's paper computed it."""
    comet: str = ""
    """Checkpoint of a COMET model, for the metric `comet`."""
    engine: str = "fairseq"
    """What translates: `fairseq`, or the much faster `ctranslate2`, whose translations differ in a few sentences."""


@dataclass
class BundleSettings:
    """The student that is made ready for use, in the folder `model`."""

    method: str = MISSING
    """The method whose first student it is."""
    quantization: str = "int8"
    """Number format of the weights: int8 for CPUs, float16 for GPUs, or float32."""
    vocabulary_map: bool = True
    """Whether CTranslate2 predicts only words that the source makes likely, if that costs no BLEU on the validation
    set."""
    largest_loss: float = 0.2
    """BLEU that the map may cost there."""


@dataclass
class BenchmarkSettings:
    """How decoding is timed; see scripts/benchmark.sh."""

    beam: int = 4
    """Beam size."""
    batches: str = "1 64"
    """Batch sizes in sentences, separated by blanks."""
    sentences: int = 200
    """How many sentences of the first test set are decoded."""
    repetitions: int = 3
    """Measurements of each model at each batch size."""
    threads: int = 1
    """CPU threads."""


@dataclass
class ReducedSettings:
    """Options that come after all others where a recipe is only tried out."""

    teacher: str = ""
    """Of the teacher's training alone."""
    training: str = ""
    """Of every training."""


@dataclass
class PaperFigures:
    """What a paper reports for a student."""

    size: float = MISSING
    """Parameters of the student / teacher."""
    speed: float = MISSING
    """Decoding speed of the student / teacher."""
    teacher: float = MISSING
    """BLEU less the teacher's."""
    kd: float = MISSING
    """BLEU less the KD student's."""


@dataclass
class Settings:
    """All settings of an experiment; `weightdistill.experiment.settings` makes them."""

    name: str = MISSING
    """Name of its folder in experiments/."""
    source: str = MISSING
    """Source language, which is the ending of its files."""
    target: str = MISSING
    """Target language."""
    raw: str = MISSING
    """Command that writes the raw text; {experiment} is the experiment's folder, {output} where to write."""
    tests: List[str] = MISSING
    """Test sets."""
    evaluated: List[str] = MISSING
    """Sets on which systems are scored: of the tests and `valid`."""
    vocabulary: Optional[int] = None
    """Joint subword pieces, unless `text` names another processing."""
    text: TextSettings = field(default_factory=TextSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    students: Dict[str, Any] = MISSING
    """Seeds by preset."""
    methods: Dict[str, MethodSettings] = MISSING
    """Methods by name."""
    baselines: List[str] = field(default_factory=list)
    """Methods that all others of the same preset and seed are compared with."""
    timed: str = MISSING
    """The method whose students are timed, one for each preset."""
    student_options: str = ""
    """Options of fairseq-train for methods in one phase."""
    phase1_options: str = ""
    """The same for phase 1."""
    phase2_options: str = ""
    """The same for phase 2."""
    title: str = ""
    """Title of the report; default: the name."""
    description: str = ""
    """A sentence or two for the report, on the data."""
    references: Optional[int] = None
    """Translations of each sentence of valid and tests, where there are several."""
    size: Optional[SizeSettings] = None
    options: str = ""
    """Options of fairseq-train in every training, before its own."""
    average: Optional[int] = None
    """How many of a student's last checkpoints are averaged; default: take the best on the validation set."""
    gpus: int = 0
    """GPUs of a machine, all of which a training takes."""
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    corpora: Dict[str, CorpusSettings] = field(default_factory=dict)
    """Corpora by name that the teacher translates."""
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    benchmark: BenchmarkSettings = field(default_factory=BenchmarkSettings)
    bundle: Optional[BundleSettings] = None
    reduced: ReducedSettings = field(default_factory=ReducedSettings)
    paper: Dict[str, PaperFigures] = field(default_factory=dict)
    """What the paper reports, by preset."""

    def stage_options(self, method: str, stage: str) -> str:
        """All options of fairseq-train for a training of a student; of equal options the last one counts.

        Args:
            method: Name of the method.
            stage: One of `MethodSettings.stages`.
        """
        settings = self.methods[method]
        parts = [self.options, getattr(self, f"{stage}_options")]
        parts += [settings.options, getattr(settings, f"{stage}_options"), self.reduced.training]
        return " ".join(part for part in parts if part)

    def teacher_options(self) -> str:
        """All options of fairseq-train for the teacher."""
        parts = self.options, self.teacher.options, self.reduced.teacher, self.reduced.training
        return " ".join(part for part in parts if part)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries, lists, strings and numbers; `resolve` is the reverse."""
        return asdict(self)

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of all that influences results.

        Titles, notes, sizes of the data, which only the plan reads, and the machine's GPUs do not. Nor do settings
        that have their default, so that a new one leaves earlier fingerprints as they are.
        """
        settings = {name: value for name, value in _set(self).items() if name not in _OF_THE_EXPERIMENT_ALONE}
        settings["methods"] = {
            name: {key: value for key, value in method.items() if key not in _OF_THE_REPORT_ALONE}
            for name, method in settings["methods"].items()
        }
        for corpus in settings.get("corpora", {}).values():
            corpus.pop("sentences", None)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


_OF_THE_EXPERIMENT_ALONE = {"title", "description", "size", "gpus"}
_OF_THE_REPORT_ALONE = {"title", "group", "variant", "note"}


def _set(value: Any) -> Any:
    """Plain dictionaries, lists, strings and numbers of settings, without those that have their default."""
    if isinstance(value, dict):
        return {key: _set(entry) for key, entry in value.items()}
    if not is_dataclass(value):
        return value
    return {entry.name: _set(getattr(value, entry.name)) for entry in fields(value) if not _has_default(value, entry)}


def _has_default(value: Any, entry: "Field[Any]") -> bool:
    default = entry.default_factory() if callable(entry.default_factory) else entry.default
    return bool(getattr(value, entry.name) == default)
