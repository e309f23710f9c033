"""The tables of an experiment, made of its results alone: in Markdown and LaTeX, and every score as CSV.

Knows results.json (see `weightdistill.experiment.results`), not the files that it was gathered from.
"""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from weightdistill.decoding.benchmark import length_warning
from weightdistill.evaluation.scores import METRICS
from weightdistill.experiment.schema import Settings
from weightdistill.experiment.settings import resolve
from weightdistill.experiment.units import duration

TITLES = {**METRICS, "paper": "BLEU as in the paper"}
"""Names of metrics in tables."""
ENGINES = {"fairseq": "fairseq", "ctranslate2": "CTranslate2"}
"""Names of engines in tables."""


@dataclass(frozen=True)
class Table:
    """Heads and cells as text; the first column names what its line is about."""

    heads: Sequence[str]
    lines: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""
        return self._formatted("pipe")

    def latex(self) -> str:
        """The table for LaTeX's package booktabs."""
        return self._formatted("latex_booktabs").replace("±", r"$\pm$").replace("×", r"$\times$")  # noqa: RUF001

    def _formatted(self, style: str) -> str:
        alignment = ["left", *["right"] * (len(self.heads) - 1)]
        return tabulate(self.lines, self.heads, style, colalign=alignment, disable_numparse=True)


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation; no deviation for a single value."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": deviation, "values": list(values)}


def spread(entry: Mapping[str, Any], digits: int = 1) -> str:
    """A `summary` as text: mean ± standard deviation."""
    text = f"{entry['mean']:.{digits}f}"
    return text if entry["sd"] is None else f"{text} ± {entry['sd']:.{digits}f}"


def name_of(row: Mapping[str, Any]) -> str:
    """The name of a row's system."""
    return str(row["title"]) + (f", {row['preset'].upper()}" if row["preset"] else "")


def main_metric(results: Mapping[str, Any]) -> str:
    """BLEU as the experiment's paper computed it, else the first metric."""
    return "paper" if "paper" in results["signatures"] else str(next(iter(results["signatures"])))


def gap(seeds: Sequence[Mapping[str, float]]) -> tuple[dict[str, Any], float]:
    """Summary of the differences of all seeds, and the largest of their p-values; 1 where not all have one sign."""
    differences = [seed["difference"] for seed in seeds]
    disagree = min(differences) < 0 < max(differences)
    return summary(differences), 1.0 if disagree else max(seed["p_value"] for seed in seeds)


def tables(results: Mapping[str, Any]) -> list[Table]:
    """Scores, speed and cost of all systems; their differences to teacher and baselines; and beside the paper's."""
    settings = resolve(results["config"])
    return [
        systems(results),
        *speeds(results),
        *differences(results, settings),
        *beside_the_paper(results, settings),
    ]


def document(results: Mapping[str, Any]) -> str:
    """All tables in Markdown, with what their reader must know."""
    return "\n\n".join([*(table.markdown() for table in tables(results)), "\n".join(_notes(results))]) + "\n"


def systems(results: Mapping[str, Any]) -> Table:
    """The main table: a line for each method and shape."""
    rows = results["rows"]
    tests, metrics = list(rows[0]["scores"]), list(results["signatures"])
    batch_sizes = list(rows[0]["speed"]["fairseq"])
    heads = ["system", "seeds", "parameters"]
    heads += [f"{TITLES[metric]} {test}" for test in tests for metric in metrics]
    heads += [f"{engine}, batch {size}" for engine in ENGINES.values() for size in batch_sizes]
    heads += ["training"]
    lines = []
    for row in rows:
        cells = [name_of(row), str(len(row["seeds"]) or 1), f"{row['parameters']:,}"]
        cells += [spread(row["scores"][test][metric]) for test in tests for metric in metrics]
        for engine in ENGINES:
            for size in batch_sizes:
                speed = row["speed"][engine][size]
                per_second = f"{speed['sentences_per_second']['median']:.0f}/s"
                cells.append(per_second if not row["preset"] else f"{speed['ratio']['median']:.2f}×")  # noqa: RUF001
        cells.append(duration(row["training_seconds"]["mean"]) if row["training_seconds"]["mean"] else "given")
        lines.append(cells)
    return Table(heads, lines)


def speeds(results: Mapping[str, Any]) -> list[Table]:
    """Decoding speed in sentences and in tokens; no table for earlier results, which have no output lengths."""
    rows = {row["preset"]: row for row in results["rows"]}  # one of each shape: all were given the same speed
    lines = []
    for engine, title in ENGINES.items():
        for preset, row in rows.items():
            for size, speed in row["speed"][engine].items():
                if "tokens_per_sentence" not in speed:
                    return []
                per_second = [speed[f"{unit}_per_second"]["median"] for unit in ("sentences", "tokens")]
                ratios = [speed[ratio]["median"] for ratio in ("ratio", "token_ratio")]
                sentences, tokens = (
                    [f"{rate:.1f}", f"{ratio:.2f}×"]  # noqa: RUF001
                    for rate, ratio in zip(per_second, ratios, strict=True)
                )
                name = f"{title}, batch {size}, {preset.upper() if preset else 'teacher'}"
                lines.append([name, *sentences, *tokens, f"{speed['tokens_per_sentence']:.1f}"])
    return [Table(["speed", "sentences/s", "ratio", "tokens/s", "ratio", "tokens/sentence"], lines)]


def uneven_lengths(results: Mapping[str, Any]) -> str | None:
    """A warning where a student writes longer or shorter translations than the teacher; see `length_warning`."""
    lengths = {
        row["preset"].upper() if row["preset"] else "teacher": speed["tokens_per_sentence"]
        for row in results["rows"]
        for of_engine in row["speed"].values()
        for speed in of_engine.values()
        if "tokens_per_sentence" in speed
    }
    return length_warning(lengths) if lengths else None


def differences(results: Mapping[str, Any], settings: Settings) -> list[Table]:
    """A table for the teacher and each baseline: scores less theirs, means over the seeds, with the largest p."""
    tests, metric = list(results["rows"][0]["scores"]), main_metric(results)
    difference_tables = []
    for baseline in ("teacher", *settings.baselines):
        title = "the teacher" if baseline == "teacher" else settings.methods[baseline].title
        lines = []
        for row in results["rows"][1:]:
            compared = [row["scores"][test]["against"][baseline] for test in tests]
            if all(any(seeds) for seeds in compared):
                cells = [difference_cell([seed and seed[metric] for seed in seeds]) for seeds in compared]
                lines.append([name_of(row), *cells])
        if lines:
            difference_tables.append(Table([f"{TITLES[metric]}, difference to {title}", *tests], lines))
    return difference_tables


def beside_the_paper(results: Mapping[str, Any], settings: Settings) -> list[Table]:
    """What the paper reports for each shape, and the same of these runs, means over all test sets."""
    if not settings.paper:
        return []
    tests = [test for test in settings.evaluated if test != "valid"]
    metric = main_metric(results)
    rows = {(row["method"], row["preset"]): row for row in results["rows"]}

    def score(row: Mapping[str, Any]) -> float:
        return statistics.fmean(row["scores"][test][metric]["mean"] for test in tests)

    lines = []
    for preset, figures in settings.paper.items():
        teacher, student, kd = rows["teacher", None], rows.get(("wd", preset)), rows.get(("kd", preset))
        if student is None or kd is None:
            continue
        speed = list(student["speed"]["fairseq"].values())[-1]["ratio"]["median"]
        for source, values in (
            ("the paper", (figures.size, figures.speed, figures.teacher, figures.kd)),
            (
                "here",
                (
                    student["parameters"] / teacher["parameters"],
                    speed,
                    score(student) - score(teacher),
                    score(student) - score(kd),
                ),
            ),
        ):
            forms = ("{:.2f}", "{:.2f}×", "{:+.2f}", "{:+.2f}")  # noqa: RUF001
            cells = [form.format(value) for form, value in zip(forms, values, strict=True)]
            lines.append([f"{preset.upper()}, {source}", *cells])
    heads = ["WD student", "size", "speed", f"BLEU ({', '.join(tests)}) less the teacher's", "less the KD student's"]
    return [Table(heads, lines)]


def scores(results: Mapping[str, Any]) -> str:
    """Every score as a line of comma-separated values, in full precision.

    Where `less` names the teacher or a baseline, the line has the difference to it, and its p-value.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = ["method", "preset", "parameters", "test", "metric", "less", "mean", "sd", "seeds", "p", "training seconds"]
    writer.writerow(heads)
    for row in results["rows"]:
        for test, metrics in row["scores"].items():
            for metric in results["signatures"]:
                entries: list[tuple[str, dict[str, Any], float | str]] = [("", metrics[metric], "")]
                for baseline, seeds in metrics["against"].items():
                    if known := [seed[metric] for seed in seeds if seed and metric in seed]:
                        entries.append((baseline, *gap(known)))
                for baseline, score, p_value in entries:
                    system = [row["method"], row["preset"] or "", row["parameters"], test, metric, baseline]
                    values = [score["mean"], "" if score["sd"] is None else score["sd"], len(score["values"]), p_value]
                    writer.writerow([*system, *values, row["training_seconds"]["mean"]])
    return text.getvalue()


def difference_cell(seeds: Sequence[Mapping[str, float] | None]) -> str:
    """Of the seeds that both have; how many, where these are not all."""
    compared = [seed for seed in seeds if seed]
    difference, p_value = gap(compared)
    deviation = "" if difference["sd"] is None else f" ± {difference['sd']:.1f}"
    some = "" if len(compared) == len(seeds) else f", {len(compared)} of {len(seeds)} seeds"
    return f"{difference['mean']:+.1f}{deviation} (p={p_value:.3f}{some})"


def _notes(results: Mapping[str, Any]) -> list[str]:
    settings, benchmark, machine = resolve(results["config"]), results["benchmark"], results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    notes = [
        "- Several seeds: mean ± standard deviation.",
        f"- Differences are taken seed by seed. p is the largest of the seeds' p-values (paired "
        f"{settings.evaluation.test}, {settings.evaluation.resamples} resamples); it is 1 where the seeds disagree on "
        "which system is better.",
        "- Speed: sentences/s for the teacher, ratios to it for the students. One student of each shape was timed: "
        f"beam {benchmark['beam']}, {benchmark['sentences']} sentences, {benchmark['threads']} CPU threads, median of "
        f"{benchmark['repetitions']} repetitions in turn.",
        "- Training: time of the trainings alone, both phases together. A student's time excludes the training of its "
        "teacher, the cache and the translated corpora.",
    ]
    if warning := uneven_lengths(results):
        notes.append(f"- {warning}")
    if settings.paper and (method := settings.methods.get("wd")):
        notes.append(f"- WD's generator here is `{method.generator}`; the paper describes the one named `paper`.")
    notes += [f"- {TITLES[metric]} {signature}" for metric, signature in results["signatures"].items()]
    notes += [
        f"- {machine['gpu'] or machine['cpu']}, {machine['cpu_count']} CPU cores; {versions}",
        f"- SHA-256 of the settings: {results['settings_sha256']}",
    ]
    return notes
