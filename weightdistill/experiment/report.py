"""A page on one experiment that a reader understands in a minute: report.md, report.html and their pictures.

    python -m weightdistill.experiment.report --results DIR/results.json --work DIR --output DIR

Reads what `weightdistill.experiment.results` gathered, and from the workflow's folder the logs,
translations and phase-1 checkpoints.
"""

import argparse
import itertools
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import markdown as markdown_to_html
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from weightdistill import checkpoint
from weightdistill.evaluation.analysis import Bucket, bleu_by_length, word_f1_by_frequency
from weightdistill.experiment.tables import Table, gap, name_of, spread
from weightdistill.files import read_lines, writing

COLOURS = matplotlib.color_sequences["tab20"]  # dark and light in turn
VALIDATION = re.compile(r"valid on 'valid' subset .*\| nll_loss ([0-9.]+) .*num_updates (\d+)")
NEXT = 4  # so many rivals of the best are named above the table
STAGES = ("phase1", "phase2", "student")  # of one system either the two phases or the last
LAYER_WEIGHTS = re.compile(r"generator\.classes\.decoder/([^.]+)\.W_L")


def validation_losses(log: Path) -> dict[int, float]:
    """Updates and the negative log-likelihood in bits a token on the validation set, which all methods share."""
    losses: dict[int, float] = {}
    for loss, updates in VALIDATION.findall(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else ():
        # where a training was resumed, or made anew, the log goes on from there
        losses = {done: value for done, value in losses.items() if done < int(updates)} | {int(updates): float(loss)}
    return losses


def curve(work: Path, system: str) -> dict[int, float]:
    """The losses of a student over all its updates, those of phase 2 after those of phase 1."""
    first, second, only = (validation_losses(work / "logs" / f"{stage}-{system}.log") for stage in STAGES)
    done = max(first, default=0)
    return first | {done + updates: loss for updates, loss in (second or only).items()}


def layer_weights(work: Path, system: str) -> dict[str, list[float]]:
    """W_L of each decoder class after phase 1, over the layers of a subset (all subsets share it)."""
    path = work / "phase1" / system / "checkpoint_best.pt"
    if not path.exists():
        return {}
    weights = checkpoint.read(path)["model"]
    found = {match[1]: weight for name, weight in weights.items() if (match := LAYER_WEIGHTS.fullmatch(name))}
    return {name.replace("/", "."): weight[0].tolist() for name, weight in found.items() if weight.shape[1] > 1}


def mean_bleu(row: Mapping[str, Any], tests: Sequence[str]) -> float:
    return statistics.fmean(row["scores"][test]["bleu"]["mean"] for test in tests)


def last_loss(work: Path, row: Mapping[str, Any]) -> str:
    """The last validation loss of a student's training: mean, and least and largest where there are several seeds."""
    curves = [curve(work, f"{row['method']}-{row['preset']}-{seed}") for seed in row["seeds"]]
    losses = [list(points.values())[-1] for points in curves if points]
    if not losses:
        return ""
    extremes = f" ({min(losses):.2f} to {max(losses):.2f})" if len(losses) > 1 else ""
    return f"{statistics.fmean(losses):.2f}{extremes}"


def first_system(row: Mapping[str, Any]) -> str:
    return f"{row['method']}-{row['preset']}-{row['seeds'][0]}" if row["preset"] else "teacher"


def draw_quality_and_speed(rows: Sequence[Mapping[str, Any]], tests: Sequence[str], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 5))
    speeds = [row["speed"]["ctranslate2"]["1"]["sentences_per_second"]["median"] for row in rows]
    points = zip((mean_bleu(row, tests) for row in rows), speeds, strict=True)
    placed = sorted(zip(points, map(name_of, rows), strict=True))
    gap = (placed[-1][0][0] - placed[0][0][0]) / 32  # between labels, which would overlap where systems are level
    labels: dict[float, float] = {}
    for (quality, speed), name in placed:
        axes.scatter(speed, quality, marker="*" if name == "teacher" else "o")
        labels[speed] = max(quality, labels.get(speed, -math.inf) + gap)
        axes.annotate(name, (speed, labels[speed]), xytext=(6, 0), textcoords="offset points", fontsize=7, va="center")
    axes.set_xlabel("sentences/s (CTranslate2, batch 1)")
    axes.set_ylabel("BLEU, mean of the test sets")
    axes.margins(y=0.08)
    axes.set_xlim(0, 1.6 * max(speeds))
    save(figure, path)


def draw_curves(work: Path, rows: Sequence[Mapping[str, Any]], preset: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 4.5))
    colours = itertools.cycle(COLOURS)
    for row in rows:
        if row["preset"] == preset and (points := curve(work, first_system(row))):
            axes.plot(list(points), list(points.values()), marker=".", label=row["title"], color=next(colours))
    axes.set_xlabel("updates")
    axes.set_ylabel("validation loss, bits a token")
    legend(axes)
    save(figure, path)


def draw_layer_weights(weights: Mapping[str, Sequence[float]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5, 0.24 * len(weights) + 1))
    values = np.array(list(weights.values()))  # (classes, teacher layers)
    limit = float(np.abs(values).max())
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_yticks(range(len(weights)), list(weights), fontsize=7)
    axes.set_xticks(range(values.shape[1]), [str(layer + 1) for layer in range(values.shape[1])])
    axes.set_xlabel("teacher's decoder layer in its subset")
    figure.colorbar(image)
    save(figure, path)


def draw_buckets(buckets: Sequence[Bucket], names: Sequence[str], label: str, unit: str, path: Path) -> None:
    """What each system loses on the first one, bucket by bucket."""
    figure, axes = plt.subplots(figsize=(9, 3.5))
    colours = itertools.cycle(COLOURS)
    width = 0.8 / max(1, len(names) - 1)
    for index, name in enumerate(names[1:], start=1):
        gaps = [
            own - first if (own := bucket.scores[index]) is not None and (first := bucket.scores[0]) is not None else 0
            for bucket in buckets
        ]
        axes.bar(
            [place + (index - 1) * width for place in range(len(buckets))], gaps, width, label=name, color=next(colours)
        )
    axes.axhline(0, color="black", linewidth=0.8)
    ticks = [f"{bucket.name}\n({bucket.count} {unit})" for bucket in buckets]
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(buckets))], ticks, fontsize=7)
    axes.set_ylabel(label)
    legend(axes)
    save(figure, path)


def legend(axes: Any) -> None:
    """Beside the picture, where it hides nothing."""
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def chosen_on(results: Mapping[str, Any]) -> list[str]:
    """The sets that systems are ranked by: the validation set, where it was evaluated."""
    evaluated = results["config"]["evaluated"]
    return ["valid"] if "valid" in evaluated else list(evaluated)


def summary(results: Mapping[str, Any], tests: Sequence[str]) -> list[str]:
    """Which student of each shape the validation set would choose, which are next, and how it does on the test sets."""
    rows, methods, judges = results["rows"], results["config"]["methods"], chosen_on(results)
    lines = []
    for preset in dict.fromkeys(row["preset"] for row in rows if row["preset"]):
        # not by the test sets: the p-values below would be of a difference that was looked for
        best, *others = sorted(
            (row for row in rows if row["preset"] == preset), key=lambda row: -mean_bleu(row, judges)
        )
        mean = mean_bleu(best, judges)
        line = f"- **{preset.upper()}**: {best['title']}, {mean:.1f} BLEU (seeds: {len(best['seeds'])}); next are "
        behind = [f"{row['title']} {mean_bleu(row, judges) - mean:+.1f} ({len(row['seeds'])})" for row in others[:NEXT]]
        line += ", ".join(behind) + "."
        for baseline in ("teacher", *results["config"]["baselines"]):
            found = [
                [seed["bleu"] for seed in best["scores"][test]["against"][baseline] if seed and "bleu" in seed]
                for test in tests
            ]
            if all(found):
                gaps = [gap(seeds) for seeds in found]
                title = "the teacher" if baseline == "teacher" else methods[baseline]["title"]
                differences = ", ".join(f"{difference['mean']:+.1f}" for difference, _ in gaps)
                p_values = ", ".join(f"{p_value:.3f}" for _, p_value in gaps)
                line += f" Less {title}: {differences} (p = {p_values})."
        lines.append(line)
    return lines


def report(results: Mapping[str, Any], work: Path, output: Path) -> str:
    """Draw all pictures, and give the page in Markdown."""
    rows, config = results["rows"], results["config"]
    tests = [test for test in config["evaluated"] if test != "valid"]
    presets = list(dict.fromkeys(row["preset"] for row in rows if row["preset"]))
    pictured = [row for row in rows if row["method"] in ("teacher", *config.get("pictured", config["methods"]))]
    heads = ["system", "seeds", *(f"BLEU {test}" for test in tests), "bits a token", "speed", "training"]
    lines = []
    for row in rows:
        speed = row["speed"]["ctranslate2"]["1"]
        scores = [row["scores"][test]["bleu"] for test in tests]
        lines.append(
            [
                name_of(row),
                str(len(row["seeds"]) or 1),
                *map(spread, scores),
                last_loss(work, row),
                f"{speed['sentences_per_second']['median']:.0f}/s ({speed['ratio']['median']:.1f}x)",
                f"{row['training_seconds']['mean'] / 60:.0f} min",
            ]
        )
    text = [
        f"# {config['name']}",
        "",
        f"Highest BLEU on {', '.join(chosen_on(results))}; differences are of the test sets, with the p-value of each:",
        "",
    ]
    text += [*summary(results, tests), ""]
    text += [
        Table(heads, lines).markdown(),
        "",
        "Bits a token: negative log-likelihood of the validation set at the end of the training. "
        "Differences with their significance, signatures and versions: `table.md`.",
        "",
    ]

    draw_quality_and_speed(pictured, tests, output / "quality-speed.png")
    text += ["## Quality against speed", "", "![BLEU against sentences per second](quality-speed.png)", ""]
    for preset in presets:
        draw_curves(work, pictured, preset, output / f"curves-{preset}.png")
        text += [f"## Validation loss, {preset.upper()}", "", "First seed; phase 1 and phase 2 as one curve.", ""]
        text += [f"![validation loss](curves-{preset}.png)", ""]
    for row in pictured:
        if row["preset"] and (weights := layer_weights(work, first_system(row))):
            picture = f"layer-weights-{row['method']}-{row['preset']}.png"
            draw_layer_weights(weights, output / picture)
            text += [f"## W_L after phase 1: {name_of(row)}", ""]
            text += [
                "What each weight class of the decoder takes from the layers of the first subset.",
                "",
                f"![W_L]({picture})",
                "",
            ]
    for preset in presets:
        chosen = [row for row in pictured if row["preset"] in (None, preset)]
        names = [row["title"] for row in chosen]
        systems = [
            [line for test in tests for line in read_lines(work / "evaluated" / first_system(row) / f"{test}.txt")]
            for row in chosen
        ]
        ending = config["target"] + (".0" if "references" in config else "")  # the first of several
        references = [line for test in tests for line in read_lines(work / "raw" / f"{test}.{ending}")]
        training = read_lines(work / "raw" / f"train.{config['target']}")
        for kind, buckets, label, unit in (
            ("length", bleu_by_length(systems, references), "BLEU less the teacher's", "sentences"),
            ("frequency", word_f1_by_frequency(systems, references, training), "word F1 less the teacher's", "words"),
        ):
            picture = f"{kind}-{preset}.png"
            draw_buckets(buckets, names, label, unit, output / picture)
            what = "length of the reference" if kind == "length" else "frequency of the word in the training data"
            text += [f"## Gap to the teacher by {what}, {preset.upper()}", "", f"![{label}]({picture})", ""]
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="results.json of weightdistill.experiment.results")
    parser.add_argument("--work", type=Path, required=True, help="folder that the workflow ran in")
    parser.add_argument("--output", type=Path, required=True, help="folder for the page and its pictures")
    options = parser.parse_args()
    text = report(json.loads(options.results.read_text(encoding="utf-8")), options.work, options.output)
    page = markdown_to_html.markdown(text, extensions=["tables"])
    style = "body{font:15px sans-serif;max-width:60em;margin:2em auto}td,th{padding:.2em .8em;text-align:right}"
    html = f"<!doctype html>\n<meta charset='utf-8'>\n<style>{style}</style>\n{page}\n"
    for name, content in (("report.md", text), ("report.html", html)):
        with writing(options.output / name) as temporary:
            temporary.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
