"""The systems of an experiment: their groups, which one the validation set chooses, and how far apart two are.

Knows results.json and the settings in it; nothing about files, pictures or pages.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weightdistill.errors import DistillationError
from weightdistill.experiment.schema import MethodSettings, Settings
from weightdistill.experiment.settings import resolve
from weightdistill.experiment.tables import gap, name_of, summary

METRIC = "bleu"
VALID = "valid"
"""The validation set among those that were evaluated."""
SIGNIFICANT = 0.05
"""Below this p-value two systems differ by more than the choice of test sentences explains."""


@dataclass(frozen=True)
class System:
    """One method in one shape, over all its seeds; or the teacher."""

    row: Mapping[str, Any]
    """Its row of results.json."""
    title: str
    """The method's title."""
    group: str
    """Heading that it stands under."""
    variant: bool
    """Folded away at first."""
    note: str
    """A sentence that explains its title."""

    @property
    def method(self) -> str:
        """Name of the method in the settings."""
        return str(self.row["method"])

    @property
    def preset(self) -> str | None:
        """Shape of a student; None for the teacher."""
        return self.row["preset"] and str(self.row["preset"])

    @property
    def name(self) -> str:
        """Title and shape."""
        return name_of(self.row)

    @property
    def key(self) -> str:
        """Method and shape, as report.json names a row."""
        return f"{self.method}-{self.preset}" if self.preset else self.method

    @property
    def runs(self) -> list[str]:
        """The workflow's names of its trainings, one a seed."""
        return [f"{self.key}-{seed}" for seed in self.row["seeds"]] if self.preset else [self.key]

    @property
    def speed(self) -> Mapping[str, Any]:
        """Decoding speed by CTranslate2 in the smallest batches that were timed, a sentence each as a rule."""
        speeds = self.row["speed"]["ctranslate2"]
        return dict(speeds[min(speeds, key=int)])

    def bleu(self, sets: Sequence[str]) -> dict[str, Any]:
        """BLEU, a mean over these sets: its mean and standard deviation over the seeds."""
        seeds = zip(*(self.row["scores"][name][METRIC]["values"] for name in sets), strict=True)
        return summary([statistics.fmean(scores) for scores in seeds])


@dataclass(frozen=True)
class Difference:
    """BLEU of one system less that of another."""

    mean: float
    """Over the seeds that both have."""
    p_value: float | None
    """The largest of the seeds'; 1 where the seeds disagree on which system is better; None where it was not tested."""

    @property
    def significant(self) -> bool:
        """Whether the paired test tells the two systems apart."""
        return self.p_value is not None and self.p_value < SIGNIFICANT


class Experiment:
    """All systems of an experiment, with the settings that name, group and explain them."""

    def __init__(self, results: Mapping[str, Any], presentation: Settings | None = None) -> None:
        """Read what the report needs from the results.

        Args:
            results: results.json.
            presentation: Settings whose title, description, groups, variants and notes replace those of the results.

        Raises:
            DistillationError: The results have no BLEU, by which the report compares, or unusable settings.
        """
        if METRIC not in results["signatures"]:
            raise DistillationError(
                f"the report compares systems by BLEU, but the metrics of {results['experiment']} are "
                f"{', '.join(results['signatures'])}; add bleu to evaluation.metrics"
            )
        self.results = results
        self.settings = resolve(results["config"])
        words = presentation or self.settings
        self.title, self.description = words.title, words.description.strip()
        evaluated = self.settings.evaluated
        self.tests = [name for name in evaluated if name != VALID] or evaluated
        self.judges = [VALID] if VALID in evaluated else evaluated
        self.systems = []
        for row in results["rows"]:
            method = words.methods.get(row["method"]) or MethodSettings(title=row["title"])
            self.systems.append(System(row, method.title, method.group or method.title, method.variant, method.note))

    @property
    def teacher(self) -> System:
        """The system that all students were distilled from."""
        return next(system for system in self.systems if system.preset is None)

    @property
    def presets(self) -> list[str]:
        """Shapes of students."""
        return list(dict.fromkeys(system.preset for system in self.systems if system.preset))

    @cached_property
    def groups(self) -> list[str]:
        """Headings of students in the order of the settings."""
        return list(dict.fromkeys(system.group for system in self.systems if system.preset))

    @property
    def grouped(self) -> bool:
        """Whether headings gather several methods, or every method stands for itself."""
        return len(self.groups) < len({system.method for system in self.systems if system.preset})

    @cached_property
    def main(self) -> list[System]:
        """What pictures show, by group: the teacher, students that are not variants, and the best of each group."""
        best = {system.key for preset in self.presets for system in self.best_of_groups(preset)}
        shown = [system for system in self.systems if not system.variant or system.key in best]
        groups = [self.teacher.group, *self.groups]
        return sorted(shown, key=lambda system: groups.index(system.group))

    def students(self, preset: str) -> list[System]:
        """Students of a shape, the best first by the sets that choose."""
        students = [system for system in self.systems if system.preset == preset]
        return sorted(students, key=lambda system: -system.bleu(self.judges)["mean"])

    def best_of_groups(self, preset: str) -> list[System]:
        """The best student of each group, the best group first."""
        best: dict[str, System] = {}
        for system in self.students(preset):
            best.setdefault(system.group, system)
        return list(best.values())

    def difference(self, system: System, baseline: System, test: str) -> Difference:
        """BLEU of a system less that of another on one set; with its p-value where the two were compared."""
        for first, second, sign in ((system, baseline, 1), (baseline, system, -1)):
            seeds = first.row["scores"][test]["against"].get(second.method, [])
            if compared := [seed[METRIC] for seed in seeds if seed and METRIC in seed]:
                differences, p_value = gap(compared)
                return Difference(sign * differences["mean"], p_value)
        return Difference(system.bleu([test])["mean"] - baseline.bleu([test])["mean"], None)
