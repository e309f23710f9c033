"""Gathers what the stages of an experiment measured into results.json, and writes the tables that are made of it.

    python -m weightdistill.experiment.results --settings FILE --work DIR --output DIR
    python -m weightdistill.experiment.results --results FILE --output DIR

The first form reads the files that experiments/Snakefile leaves in --work, and measures nothing itself. The second one
makes the tables of earlier results anew.
"""

import argparse
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weightdistill.errors import reported
from weightdistill.experiment import workflow
from weightdistill.experiment.schema import Settings
from weightdistill.experiment.settings import read, resolve
from weightdistill.experiment.tables import document, scores, summary, tables
from weightdistill.files import read_json, write_json, writing
from weightdistill.method.config import BUNDLES

PACKAGES = ("sacrebleu", "sentencepiece", "numpy", "snakemake")
"""Packages whose versions are recorded, beside those that a benchmark records."""

SPEEDS = ("sentences_per_second", "tokens_per_second", "tokens_per_sentence", "ratio", "token_ratio")
"""What is kept of each speed that a benchmark measured."""


def collect(settings: Settings, work: Path) -> dict[str, Any]:
    """All rows of an experiment, and what somebody needs to get them again.

    Args:
        settings: The settings that the workflow ran with.
        work: The folder that it ran in.
    """
    rows = [_row(work, settings, workflow.TEACHER, None, [])]
    for preset in settings.students:
        for name, method in settings.methods.items():
            if seeds := method.students.get(preset):
                rows.append(_row(work, settings, name, preset, seeds))
    teacher_scores = _scores(work, workflow.TEACHER, settings.evaluated[0])
    benchmark = read_json(work / "benchmark" / "fairseq.json")
    machine = benchmark["machine"]  # that of the speeds; a table may be made elsewhere
    machine["versions"] |= {package: importlib.metadata.version(package) for package in PACKAGES}
    return {
        "experiment": settings.name,
        "settings_sha256": settings.fingerprint(),
        "config": settings.as_dict(),
        "generators": _generators(settings),
        "signatures": {metric: score["signature"] for metric, score in teacher_scores.items()},
        "benchmark": benchmark["settings"],
        "machine": machine,
        "rows": rows,
    }


def renewed(results: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier results in today's form: the settings complete, and their fingerprint."""
    settings = resolve(results["config"])
    head = {"experiment": settings.name, "settings_sha256": settings.fingerprint(), "config": settings.as_dict()}
    return {**head, **{name: value for name, value in results.items() if name not in (*head, "config_sha256")}}


def _row(work: Path, settings: Settings, method: str, preset: str | None, seeds: Sequence[int]) -> dict[str, Any]:
    """One line of the table: a method and a shape, over all seeds."""
    names = [workflow.student_name(method, preset, seed) for seed in seeds] if preset else [workflow.TEACHER]
    of_tests: dict[str, Any] = {}
    for test in settings.evaluated:
        of_systems = [_scores(work, name, test) for name in names]
        of_tests[test] = {
            metric: summary([scores[metric]["score"] for scores in of_systems]) for metric in of_systems[0]
        }
        against = {workflow.TEACHER: [compared(work, name, workflow.TEACHER, test) for name in names]}
        for baseline in settings.baselines:
            others = [workflow.student_name(baseline, preset, seed) for seed in seeds] if preset else []
            against[baseline] = [compared(work, name, other, test) for name, other in zip(names, others, strict=False)]
        of_tests[test]["against"] = against
    records = [
        [read_json(work / folder / "training.json") for folder in workflow.training_folders(settings, name)]
        for name in names
    ]
    memory = [record.get("peak_memory") or 0 for phases in records for record in phases]
    parameters, speed = _speeds(work, workflow.timed(settings)[preset])
    return {
        "method": method,
        "title": settings.methods[method].title if preset else workflow.TEACHER,
        "preset": preset,
        "seeds": list(seeds),
        "parameters": parameters,
        "scores": of_tests,
        "speed": speed,
        "training_seconds": summary([sum(record["seconds"] for record in phases) for phases in records]),
        "training_updates": [[record["updates"] for record in phases] for phases in records],
        "training_memory": max(memory, default=0) or None,
    }


def _speeds(work: Path, timed: str) -> tuple[int, dict[str, Any]]:
    """Parameters and decoding speed, by engine and batch size, of the system that was timed."""
    speeds: dict[str, Any] = {}
    parameters = []
    for engine in ("fairseq", "ctranslate2"):
        for speed in read_json(work / "benchmark" / f"{engine}.json")["speeds"]:
            if Path(speed["model"]).parent.name == timed:
                parameters.append(speed["parameters"])
                entry = {key: speed[key] for key in SPEEDS}
                speeds.setdefault(engine, {})[str(speed["batch_size"])] = entry
    return parameters[0], speeds


def compared(work: Path, system: str, baseline: str, test: str) -> dict[str, Any] | None:
    """Difference to a baseline and its p-value by the experiment's paired test; None where they were not compared."""
    if system == baseline:
        return None
    path = work / "compared" / baseline / f"{test}.json"
    metrics = {}
    for file in filter(Path.exists, (path, path.with_suffix(".paper.json"))):
        baseline_scores, *all_scores = read_json(file)["systems"]
        for system_scores in all_scores:
            if Path(system_scores["name"]).parent.name != system:
                continue
            for metric, score in system_scores.items():
                if metric != "name":
                    difference = score["score"] - baseline_scores[metric]["score"]
                    metrics[metric if file == path else "paper"] = {
                        "difference": difference,
                        "p_value": score["p_value"],
                    }
    return metrics or None


def _scores(work: Path, system: str, test: str) -> dict[str, Any]:
    """A system's scores and their signatures by metric; `paper` is BLEU as the experiment's paper computed it."""
    path = work / "evaluated" / system / f"{test}.json"
    metrics = {metric: score for metric, score in read_json(path)["systems"][0].items() if metric != "name"}
    if (paper := path.with_suffix(".paper.json")).exists():
        metrics["paper"] = read_json(paper)["systems"][0]["bleu"]
    return metrics


def _generators(settings: Settings) -> dict[str, Any]:
    """The options of each bundle that a method uses."""
    names = {method.generator for method in settings.methods.values()}
    return {name: asdict(bundle) for name, bundle in BUNDLES.items() if name in names}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--settings", type=Path, help="the settings that the workflow ran with (settings.json)")
    source.add_argument("--results", type=Path, help="earlier results.json")
    parser.add_argument("--work", type=Path, default=Path(), help="folder that the workflow ran in (default: this one)")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.json and the tables")
    options = parser.parse_args()
    results = (
        renewed(read_json(options.results)) if options.results else collect(read([options.settings]), options.work)
    )
    for name, text in (
        ("table.md", document(results)),
        ("table.tex", "\n\n".join(table.latex() for table in tables(results)) + "\n"),
        ("scores.csv", scores(results)),
    ):
        with writing(options.output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json(options.output / "results.json", results)
    print(document(results))


if __name__ == "__main__":
    with reported("results"):
        main()
