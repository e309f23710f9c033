"""Gathers what the stages of one experiment measured: results.json, and the tables that are made of it alone.

    python -m weightdistill.experiment.results --config DIR/config.json --settings experiments/NAME/config.yaml \
        --work DIR --output DIR

Reads the files that experiments/Snakefile leaves in --work; measures nothing itself. The tables are in Markdown and in
LaTeX; scores.csv has every score, and every difference to teacher and baselines, in a line of its own.
"""

import argparse
import csv
import hashlib
import importlib.metadata
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weightdistill.evaluation.scores import METRICS
from weightdistill.experiment.plan import read_config
from weightdistill.files import writing
from weightdistill.method.config import BUNDLES

STAGES = ("students", "phase1", "phase2")
PACKAGES = ("sacrebleu", "sentencepiece", "numpy", "snakemake")
TITLES = {**METRICS, "paper": "BLEU as in the paper"}


@dataclass(frozen=True)
class Table:
    """Heads and cells as text; the first column names what its line is about."""

    heads: Sequence[str]
    lines: Sequence[Sequence[str]]


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation; no deviation for a single value."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": deviation, "values": list(values)}


def training(work: Path, system: str) -> dict[str, Any]:
    """Seconds, updates and peak memory (bytes) of a system's trainings, of both phases of weight distillation."""
    folders = ["teacher"] if system == "teacher" else [f"{stage}/{system}" for stage in STAGES]
    records = [read(path) for folder in folders if (path := work / folder / "training.json").exists()]
    return {key: [record.get(key) for record in records] for key in ("seconds", "updates", "peak_memory")}


def speeds(work: Path, timed: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and decoding speed, by engine and batch size, of the system that was timed."""
    found: dict[str, Any] = {}
    parameters = None
    for engine in ("fairseq", "ctranslate2"):
        for speed in read(work / "benchmark" / f"{engine}.json")["speeds"]:
            if Path(speed["model"]).parent.name == timed:
                parameters = parameters if parameters is not None else speed["parameters"]
                entry = {key: speed[key] for key in ("sentences_per_second", "tokens_per_second", "ratio")}
                found.setdefault(engine, {})[str(speed["batch_size"])] = entry
    return {"parameters": parameters}, found


def compared(work: Path, system: str, baseline: str, test: str) -> dict[str, Any] | None:
    """Difference to a baseline and its p-value by the experiment's paired test; None where they were not compared."""
    if system == baseline:
        return None
    path = work / "compared" / baseline / f"{test}.json"
    found = {}
    for file in filter(Path.exists, (path, path.with_suffix(".paper.json"))):
        first, *others = read(file)["systems"]
        for own in others:
            if Path(own["name"]).parent.name != system:
                continue
            for metric in own:
                if metric != "name":
                    difference = own[metric]["score"] - first[metric]["score"]
                    name = metric if file == path else "paper"
                    found[name] = {"difference": difference, "p_value": own[metric]["p_value"]}
    return found or None


def scored(work: Path, config: Mapping[str, Any], system: str, test: str) -> dict[str, Any]:
    """A system's scores and their signatures by metric; `paper` is BLEU as the experiment's paper computed it."""
    path = work / "evaluated" / system / f"{test}.json"
    found = {metric: score for metric, score in read(path)["systems"][0].items() if metric != "name"}
    if "paper" in config["evaluation"]:
        found["paper"] = read(path.with_suffix(".paper.json"))["systems"][0]["bleu"]
    return found


def row(work: Path, config: Mapping[str, Any], method: str, preset: str | None, seeds: Sequence[int]) -> dict[str, Any]:
    """One line of the table: a method and a shape, over all seeds."""
    systems = [f"{method}-{preset}-{seed}" for seed in seeds] if preset else ["teacher"]
    scores: dict[str, Any] = {}
    for test in config["evaluated"]:
        results = [scored(work, config, system, test) for system in systems]
        scores[test] = {metric: summary([result[metric]["score"] for result in results]) for metric in results[0]}
        scores[test]["against"] = {"teacher": [compared(work, system, "teacher", test) for system in systems]}
        for baseline in config["baselines"]:
            others = [f"{baseline}-{preset}-{seed}" for seed in seeds]
            scores[test]["against"][baseline] = [
                compared(work, system, other, test) for system, other in zip(systems, others, strict=False)
            ]
    records = [training(work, system) for system in systems]
    memory = [found for record in records for found in record["peak_memory"] if found]
    timed = config["methods"][config["timed"]].get("students", config["students"])
    parameters, speed = speeds(work, f"{config['timed']}-{preset}-{timed[preset][0]}" if preset else "teacher")
    return {
        "method": method,
        "title": config["methods"][method]["title"] if preset else "teacher",
        "preset": preset,
        "seeds": list(seeds),
        **parameters,
        "scores": scores,
        "speed": speed,
        "training_seconds": summary([sum(record["seconds"]) for record in records]),
        "training_updates": [record["updates"] for record in records],
        "training_memory": max(memory, default=None),
    }


def collect(config: Mapping[str, Any], committed: Sequence[Path], work: Path) -> dict[str, Any]:
    """All rows of an experiment, and what somebody needs to get them again.

    Args:
        config: the settings that the workflow ran with.
        committed: the experiment's files of settings. Their hash is recorded only if they are what it ran with.
        work: folder that the workflow ran in.
    """
    rows = [row(work, config, "teacher", None, [])]
    for preset in config["students"]:
        for name, method in config["methods"].items():
            if seeds := method.get("students", config["students"]).get(preset):
                rows.append(row(work, config, name, preset, seeds))
    fingerprint = hashlib.sha256(b"".join(path.read_bytes() for path in committed)).hexdigest()
    some = scored(work, config, "teacher", config["evaluated"][0])
    benchmark = read(work / "benchmark" / "fairseq.json")
    where = benchmark["machine"]  # that of the speeds; a table may be made elsewhere
    where["versions"] |= {package: importlib.metadata.version(package) for package in PACKAGES}
    return {
        "experiment": config["name"],
        "config_sha256": fingerprint if _of_any_machine(read_config(committed)) == _of_any_machine(config) else None,
        "config": config,
        "generators": {
            name: asdict(BUNDLES[name])
            for method in config["methods"].values()
            if (name := method.get("generator")) in BUNDLES
        },
        "signatures": {metric: score["signature"] for metric, score in some.items()},
        "benchmark": benchmark["settings"],
        "machine": where,
        "rows": rows,
    }


def _of_any_machine(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "gpus"}


def spread(entry: Mapping[str, Any], digits: int = 1) -> str:
    text = f"{entry['mean']:.{digits}f}"
    return text if entry["sd"] is None else f"{text} ± {entry['sd']:.{digits}f}"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def tables(results: Mapping[str, Any]) -> list[Table]:
    """Scores, speed and cost of all systems; their differences to teacher and baselines; and beside the paper's."""
    return [systems(results), *differences(results), *beside_the_paper(results)]


def systems(results: Mapping[str, Any]) -> Table:
    """The main table: a line for each method and shape."""
    tests, metrics = list(results["rows"][0]["scores"]), list(results["signatures"])
    sizes = list(results["rows"][0]["speed"]["fairseq"])
    heads = ["system", "seeds", "parameters"]
    heads += [f"{TITLES[metric]} {test}" for test in tests for metric in metrics]
    heads += [f"{engine}, batch {size}" for engine in ("fairseq", "CTranslate2") for size in sizes]
    heads += ["training"]
    lines = []
    for entry in results["rows"]:
        cells = [name_of(entry), str(len(entry["seeds"]) or 1), f"{entry['parameters']:,}"]
        cells += [spread(entry["scores"][test][metric]) for test in tests for metric in metrics]
        for engine in ("fairseq", "ctranslate2"):
            for size in sizes:
                speed = entry["speed"][engine][size]
                first = entry["method"] == "teacher"
                unit = f"{speed['sentences_per_second']['median']:.0f}/s"
                cells.append(unit if first else f"{speed['ratio']['median']:.2f}×")  # noqa: RUF001
        cells.append(duration(entry["training_seconds"]["mean"]))
        lines.append(cells)
    return Table(heads, lines)


def differences(results: Mapping[str, Any]) -> list[Table]:
    """A table for the teacher and each baseline: scores less theirs, means over the seeds, with the largest p."""
    tests, metric = list(results["rows"][0]["scores"]), _main_metric(results)
    found = []
    for baseline in ("teacher", *results["config"]["baselines"]):
        title = results["config"]["methods"][baseline]["title"] if baseline != "teacher" else "teacher"
        lines = []
        for entry in results["rows"][1:]:
            against = [entry["scores"][test]["against"][baseline] for test in tests]
            if all(any(seeds) for seeds in against):
                cells = [_difference([seed and seed[metric] for seed in seeds]) for seeds in against]
                lines.append([name_of(entry), *cells])
        if lines:
            found.append(Table([f"{TITLES[metric]} less that of: {title}", *tests], lines))
    return found


def beside_the_paper(results: Mapping[str, Any]) -> list[Table]:
    """What the paper reports for each shape (the config's `paper`), and the same of these runs, over all test sets."""
    paper = results["config"].get("paper")
    if not paper:
        return []
    tests = [test for test in results["config"]["evaluated"] if test != "valid"]
    metric = _main_metric(results)
    rows = {(entry["method"], entry["preset"]): entry for entry in results["rows"]}
    teacher = rows["teacher", None]
    lines = []
    for preset, figures in paper.items():
        student, other = rows.get(("wd", preset)), rows.get(("kd", preset))
        if student is None or other is None:
            continue
        score, of_teacher, of_other = (
            statistics.fmean(entry["scores"][test][metric]["mean"] for test in tests)
            for entry in (student, teacher, other)
        )
        own = {
            "size": f"{student['parameters'] / teacher['parameters']:.2f}",
            "speed": f"{list(student['speed']['fairseq'].values())[-1]['ratio']['median']:.2f}×",  # noqa: RUF001
            "teacher": f"{score - of_teacher:+.2f}",
            "kd": f"{score - of_other:+.2f}",
        }
        theirs = [f"{figures['size']:.2f}", f"{figures['speed']:.2f}×"]  # noqa: RUF001
        theirs += [f"{figures['teacher']:+.2f}", f"{figures['kd']:+.2f}"]
        lines += [[f"{preset.upper()}, the paper", *theirs], [f"{preset.upper()}, here", *own.values()]]
    return [
        Table(
            ["WD student", "size", "speed", f"BLEU ({', '.join(tests)}) less the teacher's", "less the KD student's"],
            lines,
        )
    ]


def scores(results: Mapping[str, Any]) -> str:
    """Every score as a line of comma-separated values, in full precision.

    Where `less` names the teacher or a baseline, the line has the difference to it, and its p-value.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = ["method", "preset", "parameters", "test", "metric", "less", "mean", "sd", "seeds", "p", "training seconds"]
    writer.writerow(heads)
    for entry in results["rows"]:
        for test, metrics in entry["scores"].items():
            for metric in results["signatures"]:
                found: list[tuple[str, Any, Any]] = [("", metrics[metric], "")]
                for baseline, seeds in metrics["against"].items():
                    if known := [seed[metric] for seed in seeds if seed and metric in seed]:
                        found.append((baseline, *gap(known)))
                for baseline, score, p_value in found:
                    system = [entry["method"], entry["preset"] or "", entry["parameters"], test, metric, baseline]
                    values = [score["mean"], "" if score["sd"] is None else score["sd"], len(score["values"]), p_value]
                    writer.writerow([*system, *values, entry["training_seconds"]["mean"]])
    return text.getvalue()


def _main_metric(results: Mapping[str, Any]) -> str:
    """BLEU as the experiment's paper computed it, else the first metric."""
    return "paper" if "paper" in results["signatures"] else next(iter(results["signatures"]))


def gap(found: Sequence[Mapping[str, float]]) -> tuple[dict[str, Any], float]:
    """The differences of all seeds in sum, and the largest of their p-values; 1 where not all have one sign."""
    differences = [result["difference"] for result in found]
    disagree = min(differences) < 0 < max(differences)
    return summary(differences), 1.0 if disagree else max(result["p_value"] for result in found)


def _difference(seeds: Sequence[Mapping[str, float] | None]) -> str:
    """Of the seeds that both have; how many, where these are not all."""
    found = [seed for seed in seeds if seed]
    difference, p_value = gap(found)
    deviation = "" if difference["sd"] is None else f" ± {difference['sd']:.1f}"
    some = "" if len(found) == len(seeds) else f", {len(found)} of {len(seeds)} seeds"
    return f"{difference['mean']:+.1f}{deviation} (p={p_value:.3f}{some})"


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A table, its first column to the left and the others to the right."""
    widths = [max(len(line[index]) for line in [heads, *lines]) for index in range(len(heads))]
    rule = ":" + "-" * (widths[0] + 1) + "|" + "|".join("-" * (width + 1) + ":" for width in widths[1:])
    return [_line(heads, widths), f"|{rule}|", *(_line(line, widths) for line in lines)]


def latex(table: Table) -> list[str]:
    """A table for the package booktabs."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(character, character) for character in cell) for cell in cells) + r" \\"

    columns = "l" + "r" * (len(table.heads) - 1)
    head = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(table.heads), r"\midrule"]
    return [*head, *map(line, table.lines), r"\bottomrule", r"\end{tabular}"]


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",  # noqa: RUF001
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def name_of(entry: Mapping[str, Any]) -> str:
    return str(entry["title"]) + (f", {entry['preset'].upper()}" if entry["preset"] else "")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    sized = list(zip(cells, widths, strict=True))
    first = sized[0][0].ljust(sized[0][1])
    return "| " + " | ".join([first, *(cell.rjust(width) for cell, width in sized[1:])]) + " |"


def _notes(results: Mapping[str, Any]) -> list[str]:
    benchmark, where, evaluation = results["benchmark"], results["machine"], results["config"]["evaluation"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    notes = [
        "- Where there are several seeds: mean ± standard deviation.",
        "- Differences: the same, seed by seed; p is the largest of the seeds' by paired "
        f"{evaluation.get('test', 'randomisation')}, {evaluation['resamples']} resamples, and 1 where they disagree on "
        "which system is better.",
        "- Speed: the teacher in sentences/s, students as ratios to it; one of each shape was timed; "
        f"beam {benchmark['beam']}, "
        f"{benchmark['sentences']} sentences, {benchmark['threads']} CPU threads, "
        f"median of {benchmark['repetitions']} repetitions in turn.",
        "- Training: seconds of the trainings alone; for two phases their sum. Students' leave out those of the "
        "teacher, its cache and its translations.",
    ]
    if results["config"].get("paper") and (method := results["config"]["methods"].get("wd")):
        notes.append(f"- WD's generator here is `{method['generator']}`; `paper` is the one that the paper describes.")
    notes += [f"- {TITLES[metric]} {signature}" for metric, signature in results["signatures"].items()]
    notes += [
        f"- {where['gpu'] or where['cpu']}, {where['cpu_count']} CPU cores; {versions}",
        f"- SHA-256 of the settings: {results['config_sha256'] or 'none, the run had other settings'}",
    ]
    return notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="the settings that the workflow ran with")
    parser.add_argument("--settings", type=Path, required=True, nargs="+", help="the experiment's files of settings")
    parser.add_argument("--work", type=Path, required=True, help="folder that the workflow ran in")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.json and table.md")
    options = parser.parse_args()
    results = collect(read(options.config), options.settings, options.work)
    found = tables(results)
    text = "\n".join(
        [*(line for table in found for line in [*markdown(table.heads, table.lines), ""]), *_notes(results)]
    )
    for name, content in (
        ("table.md", text + "\n"),
        ("table.tex", "\n".join(line for table in found for line in [*latex(table), ""])),
        ("scores.csv", scores(results)),
        ("results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n"),
    ):
        with writing(options.output / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
