"""The report's contents, in the order and the words that a reader meets them; two templates give them their form.

Knows systems, numbers and words; nothing of files.
"""

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weightdistill.experiment.comparison import METRIC, VALID, Experiment, System
from weightdistill.experiment.findings import cautions, figures, finding, headline, listed, signed, times
from weightdistill.experiment.pictures import styles
from weightdistill.experiment.tables import spread, uneven_lengths
from weightdistill.experiment.units import duration

SHAPES = {
    "tiny": "the teacher's encoder and one decoder layer of half the teacher's width",
    "small": "the teacher's encoder and two decoder layers of the teacher's width",
}
COLUMNS = 3
"""With more test sets than these a table has their mean alone."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    value: float | str | None = None
    """What a column is sorted by; None at the end."""
    best: bool = False
    """Best of its column."""
    detail: str = ""
    """A second line, smaller."""
    colour: str = ""
    """That of the system in pictures."""


@dataclass(frozen=True)
class Head:
    """The head of a column."""

    text: str
    first: str = "ascending"
    """The order that a reader wants first."""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table, a line for each system."""

    heads: Sequence[Head]
    lines: Sequence[Sequence[Cell]]
    caption: str

    @property
    def notes(self) -> dict[str, str]:
        """Explanations of the systems' names."""
        return {line[0].text: line[0].detail for line in self.lines if line[0].detail}


@dataclass(frozen=True)
class Picture:
    """A picture with its caption: drawn, or the file of an earlier drawing."""

    file: str
    description: str
    """For those who do not see it."""
    caption: str
    svg: str = ""


@dataclass(frozen=True)
class Finding:
    """Which student of a shape is best."""

    name: str
    text: str
    table: Table
    """What it is compared with first."""
    folded: Table | None
    """What else it is compared with."""


@dataclass(frozen=True)
class Shape:
    """All students of one shape."""

    name: str
    facts: str
    table: Table
    folded: Sequence[tuple[str, Table]]
    """Groups with their variants: a summary, and the table under it."""


@dataclass
class Section:
    """Pictures under a heading."""

    heading: str
    text: str
    pictures: list[Picture] = field(default_factory=list)
    folded: list[tuple[str, Picture]] = field(default_factory=list)
    """Those that are shown on demand, each with a summary."""


@dataclass(frozen=True)
class Page:
    """Everything that a template needs."""

    title: str
    description: str
    facts: Mapping[str, str]
    headline: str
    findings: Sequence[Finding]
    cautions: Sequence[str]
    shapes: Sequence[Shape]
    terms: Mapping[str, str]
    sections: Sequence[Section]
    examples: Mapping[str, Any]
    measures: Sequence[str]


def page(experiment: Experiment, gathered: Mapping[str, Any], sections: Sequence[Section]) -> Page:
    """Put the page together.

    Args:
        experiment: Its systems.
        gathered: report.json; what it lacks is left out.
        sections: The pictures.
    """
    return Page(
        title=experiment.title,
        description=experiment.description,
        facts=facts(experiment, gathered),
        headline=headline(experiment),
        findings=[_finding(experiment, preset) for preset in experiment.presets],
        cautions=cautions(experiment),
        shapes=[shape(experiment, gathered, preset) for preset in experiment.presets],
        terms=terms(experiment),
        sections=sections,
        examples=examples(experiment, gathered),
        measures=measures(experiment),
    )


def facts(experiment: Experiment, gathered: Mapping[str, Any]) -> dict[str, str]:
    """What was measured, when and on what."""
    settings, machine = experiment.settings, experiment.results["machine"]
    known = {
        "Languages": f"{settings.source} to {settings.target}",
        "Training data": f"{settings.size.pairs:,} sentence pairs" if settings.size else "",
        "Test sets": listed(experiment.tests),
        "Teacher": f"{_millions(experiment.teacher)}, {experiment.teacher.bleu(experiment.tests)['mean']:.1f} BLEU"
        + (" (mean of the test sets)" if len(experiment.tests) > 1 else ""),
        "Measured": _day(gathered["date"]) if "date" in gathered else "",
        "Hardware": f"{machine['cpu']}, {machine['cpu_count']} cores; {machine['gpu'] or 'no GPU'}",
    }
    return {name: value for name, value in known.items() if value}


def shape(experiment: Experiment, gathered: Mapping[str, Any], preset: str) -> Shape:
    """The tables of one shape."""
    students = experiment.students(preset)
    first, teacher = students[0], experiment.teacher
    outline = SHAPES.get(preset)
    text = (
        f"{preset.upper()} is {outline}: " if outline else f"{preset.upper()} has "
    ) + f"{_millions(first)}, {first.row['parameters'] / teacher.row['parameters']:.0%} of the teacher's. "
    text += (
        f"It translates {_rate(first)}, {times(first)} as fast as the teacher ({_rate(teacher)}); CTranslate2, one "
        "sentence at a time. One student of the shape was timed for all."
    )
    shown = [student for student in students if student in experiment.main]
    folded = []
    for group in experiment.groups:
        members = [student for student in students if student.group == group]
        if variants := [student for student in members if student not in experiment.main]:
            count = f"{len(variants)} variant{'s' * (len(variants) > 1)}"
            caption = f"All {preset.upper()} students of the group {group.lower()}. Bold: the best of them."
            folded.append((f"{group}: {count}", students_table(experiment, gathered, [teacher, *members], caption)))
    caption = f"The teacher and its {preset.upper()} students. Bold: the best student of the table."
    return Shape(
        name=preset.upper(),
        facts=text,
        table=students_table(experiment, gathered, [teacher, *shown], caption),
        folded=folded,
    )


def students_table(
    experiment: Experiment, gathered: Mapping[str, Any], systems: Sequence[System], caption: str
) -> Table:
    """A line for each system: its scores, its loss and what its training took."""
    columns = {f"BLEU {test}": [test] for test in experiment.tests}
    if len(columns) > COLUMNS:
        columns = {f"BLEU, mean of {len(columns)} test sets": experiment.tests}
    if experiment.judges == [VALID]:
        columns = {"BLEU valid": [VALID]} | columns
    losses = gathered.get("final_losses", {})
    look = styles(experiment)
    several = experiment.grouped and len({system.group for system in systems if system.preset}) > 1
    heads = [Head("system", numeric=False), Head("seeds", "descending")]
    heads += [Head(name, "descending") for name in columns]
    heads += [Head("bits per token")] * bool(losses) + [Head("training")]
    students = [system for system in systems if system.preset]
    best = {name: max(system.bleu(sets)["mean"] for system in students) for name, sets in columns.items()}
    least = min((losses[system.key]["mean"] for system in students if system.key in losses), default=None)
    lines = []
    for system in systems:
        group = f"{system.group}. " if several and system.preset else ""
        cells = [
            Cell(system.title, system.title.lower(), detail=group + system.note, colour=look[system.method].colour)
        ]
        cells += [Cell(str(len(system.row["seeds"]) or 1), len(system.row["seeds"]) or 1)]
        for name, sets in columns.items():
            score = system.bleu(sets)
            top = system.preset is not None and f"{score['mean']:.1f}" == f"{best[name]:.1f}"
            cells.append(Cell(spread(score), score["mean"], top))
        if losses:
            cells.append(_loss(losses.get(system.key), least if system.preset else None))
        seconds = system.row["training_seconds"]["mean"]
        cells.append(Cell(duration(seconds) if seconds else "given", seconds))
        lines.append(cells)
    return Table(heads, lines, caption)


def _finding(experiment: Experiment, preset: str) -> Finding:
    best, *others = experiment.students(preset)
    rivals = [system for system in experiment.best_of_groups(preset) if system.group != best.group]
    more = [system for system in others if system.method in experiment.settings.baselines and system not in rivals]
    return Finding(
        preset.upper(),
        finding(experiment, preset),
        comparison(experiment, best, [experiment.teacher, *rivals]),
        comparison(experiment, best, more) if more else None,
    )


def comparison(experiment: Experiment, best: System, others: Sequence[System]) -> Table:
    """How far a system is ahead of others, with p-values."""
    validated = experiment.judges == [VALID]
    heads = [Head("compared with", numeric=False)] + [Head("BLEU valid")] * validated
    heads += [Head(f"BLEU {test}") for test in experiment.tests]
    look = styles(experiment)
    lines = []
    for system in others:
        group = system.group if system.preset and experiment.grouped else ""
        cells = [Cell(system.title, detail=group, colour=look[system.method].colour)]
        if validated:
            cells.append(Cell(signed(best.bleu([VALID])["mean"] - system.bleu([VALID])["mean"])))
        for test in experiment.tests:
            difference = experiment.difference(best, system, test)
            cells.append(Cell(figures(difference), best=difference.significant))
        lines.append(cells)
    return Table(
        heads, lines, f"BLEU of {best.name} minus that of the system in the row. Bold: significant (p < 0.05)."
    )


def examples(experiment: Experiment, gathered: Mapping[str, Any]) -> dict[str, Any]:
    """Example translations, each as lines of a name and its words; nothing where none were gathered."""
    known = gathered.get("examples", {})
    if not known.get("sentences"):
        return {}
    names = {system.key: system.name for system in experiment.systems}
    best = experiment.students(experiment.presets[0])[0].name
    return {
        "test": known["test"],
        "source": experiment.settings.source,
        "target": experiment.settings.target,
        "introduction": (
            f"Sentences of {known['test']}, first seed of each system. They were taken by rule, at equal distances in "
            f"the order of chrF of {best} minus chrF of the teacher: near the first it loses most, near the last it "
            "gains most."
        ),
        "sentences": [
            {
                "number": sentence["number"],
                "lines": [
                    (f"source, sentence {sentence['number']}", _words(sentence["source"])),
                    ("reference", _words(sentence["reference"])),
                    *(
                        (names[key], _words(text, sentence["reference"]))
                        for key, text in sentence["translations"].items()
                    ),
                ],
            }
            for sentence in known["sentences"]
        ],
    }


def terms(experiment: Experiment) -> dict[str, str]:
    """Words of the field, and of this page."""
    methods = experiment.settings.methods.values()
    known = {preset.upper(): f"A student of {SHAPES[preset]}." for preset in experiment.presets if preset in SHAPES}
    known["Seeds"] = "Runs that differ only in the random seed. Scores are their mean ± standard deviation."
    known["p"] = (
        f"From a paired {experiment.settings.evaluation.test} test over the sentences, the largest over the seeds; 1 "
        "where the seeds disagree on which system is better."
    )
    known["KD"] = (
        "Knowledge distillation: the student learns the teacher's distribution over the next token (soft labels) "
        "beside the reference. In sequence-level KD it learns the teacher's translations."
    )
    if any(method.generator for method in methods):
        known["WD"] = (
            "Weight distillation: a generator computes the student's weights from the teacher's. Phase 1 trains the "
            "generator; phase 2 starts from the student that it generated, with a new optimiser and a new warm-up. "
            "Two numbers of epochs in a name, such as 6 + 10, are those of the two phases."
        )
        known["Subset"] = (
            "Adjacent layers of the teacher that one layer of the student is made from. Six layers are one subset for "
            "a student of one layer, and two subsets of three for a student of two."
        )
        known["W_I, W_O, W_L"] = (
            "What the generator learns: maps of the input and the output dimensions, and a weight for each layer of a "
            "subset."
        )
    known["Bits per token"] = (
        "Negative log-likelihood of the references of the validation set when the training ended; lower is better."
    )
    known["Training"] = (
        "Time of the student's trainings alone, of both phases where there are two; without the teacher's, its cache "
        "and its translations."
    )
    return known


def measures(experiment: Experiment) -> list[str]:
    """What somebody needs to get the numbers again."""
    results = experiment.results
    benchmark = results["benchmark"]
    return [
        f"Speed: beam {benchmark['beam']}, {benchmark['sentences']} sentences, CPU threads: {benchmark['threads']}, "
        f"median of {benchmark['repetitions']} repetitions in turn.",
        *filter(None, [uneven_lengths(results)]),
        f"sacrebleu: {results['signatures'][METRIC]}",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in results["machine"]["versions"].items()),
        f"SHA-256 of the settings: {results['settings_sha256']}",
    ]


def _words(text: str, reference: str | None = None) -> list[tuple[str, bool]]:
    """The words of a text, each with whether the reference has it, and as often."""
    left = Counter((text if reference is None else reference).split())
    words = []
    for word in text.split():
        words.append((word, left[word] > 0))
        left[word] -= 1
    return words


def _loss(loss: Mapping[str, float] | None, least: float | None) -> Cell:
    if loss is None:
        return Cell("")
    text = f"{loss['mean']:.2f}"
    return Cell(text, loss["mean"], least is not None and text == f"{least:.2f}")


def _millions(system: System) -> str:
    return f"{system.row['parameters'] / 1e6:.2f} million parameters"


def _rate(system: System) -> str:
    rate = f"{system.speed['sentences_per_second']['median']:.0f} sentences/s"
    tokens = system.speed.get("tokens_per_sentence")  # earlier results lack it
    return f"{rate} of {tokens:.1f} tokens" if tokens else rate


def _day(date: str) -> str:
    day = datetime.date.fromisoformat(date)
    return f"{day.day} {day:%B %Y}"
