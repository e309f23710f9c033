"""Gathers what the report shows and only the workflow's folder has: report.json.

Validation curves, learned W_L, intervals of scores, gaps to the teacher by length and frequency, example translations.
Knows the files that experiments/Snakefile leaves; draws nothing.
"""

import datetime
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.chrf import CHRF

from weightdistill import checkpoint
from weightdistill.evaluation.analysis import Bucket, bleu_by_length, word_f1_by_frequency
from weightdistill.evaluation.bootstrap import SEED, resampled_bleu
from weightdistill.experiment.comparison import Experiment
from weightdistill.experiment.training_log import validation_losses
from weightdistill.experiment.workflow import training_folders
from weightdistill.files import read_lines

RESAMPLES = 1000
COMPARED = 4
"""Students of a shape whose gap to the teacher is shown in detail."""
EXAMPLES = 5
EXAMPLE_WORDS = range(6, 26)
"""Words of the references that examples are taken from: long enough to tell systems apart, short enough to read."""
_LAYER_WEIGHTS = re.compile(r"generator\.classes\.decoder/([^.]+)\.W_L")


def gather(experiment: Experiment, work: Path) -> dict[str, Any]:
    """Everything that report.json holds.

    Args:
        experiment: The systems that the workflow trained.
        work: The folder that it ran in.

    Raises:
        DistillationError: A file of text or a checkpoint cannot be read.
    """
    curves = {
        system.key: [curve(work, training_folders(experiment.settings, run)) for run in system.runs]
        for system in experiment.systems
    }
    benchmark = work / "benchmark" / "ctranslate2.json"
    return {
        "date": datetime.date.fromtimestamp(benchmark.stat().st_mtime).isoformat(),
        "losses": {key: [list(map(list, points.items())) for points in seeds] for key, seeds in curves.items()},
        "final_losses": {key: losses for key, seeds in curves.items() if (losses := final_losses(seeds))},
        "intervals": intervals(experiment, work),
        "gaps": {preset: gaps(experiment, work, preset) for preset in experiment.presets},
        "layer_weights": {
            system.key: weights for system in experiment.main if (weights := layer_weights(work, system.runs[0]))
        },
        "examples": examples(experiment, work),
    }


def curve(work: Path, folders: Sequence[str]) -> dict[int, float]:
    """Validation losses by updates, those of a later training (phase 2) after those of the earlier one.

    Args:
        work: The folder that the workflow ran in.
        folders: Those of a system's trainings in it, in their order.
    """
    losses: dict[int, float] = {}
    for folder in folders:
        done = max(losses, default=0)
        logged = validation_losses(work / folder / "train.log")
        losses |= {done + updates: loss for updates, loss in logged.items()}
    return losses


def final_losses(curves: Sequence[dict[int, float]]) -> dict[str, float]:
    """The last validation losses of a system's seeds: mean, least and greatest; nothing where none is known."""
    losses = [points[max(points)] for points in curves if points]
    return {"mean": statistics.fmean(losses), "least": min(losses), "greatest": max(losses)} if losses else {}


def layer_weights(work: Path, run: str) -> dict[str, list[float]]:
    """W_L of each decoder class after phase 1, over the layers of a subset, which all subsets share (section 3.2)."""
    path = work / "phase1" / run / "checkpoint_best.pt"
    if not path.exists():
        return {}
    state = checkpoint.read(path)["model"]
    classes = {
        match[1].replace("/", "."): [round(value, 4) for value in weight[0].tolist()]
        for name, weight in state.items()
        if (match := _LAYER_WEIGHTS.fullmatch(name)) and weight.shape[1] > 1
    }
    # alike in all classes are only those that were not learned
    return classes if len(set(map(tuple, classes.values()))) > 1 else {}


def intervals(experiment: Experiment, work: Path) -> dict[str, list[float]]:
    """The 95% interval of each system's BLEU, a mean over the test sets: by bootstrap over sentences and seeds."""
    runs = [(system.key, run) for system in experiment.main for run in system.runs]
    scores = np.mean(
        [
            resampled_bleu(
                [_translations(work, run, test) for _, run in runs], _references(work, experiment, test), RESAMPLES
            )
            for test in experiment.tests
        ],
        axis=0,
    )  # (resamples, runs)
    columns = {
        system.key: [place for place, (key, _) in enumerate(runs) if key == system.key] for system in experiment.main
    }
    return {key: interval(scores[:, places]) for key, places in columns.items()}


def gaps(experiment: Experiment, work: Path, preset: str) -> dict[str, Any]:
    """What the best students of up to four groups lose against the teacher on all test sets, by length and frequency.

    Returns:
        `length` (BLEU by the words of the reference) and `frequency` (F1 of words by their count in the training data):
        buckets with their name, their count of sentences or words, and by system the mean over its seeds and its 95%
        interval, by bootstrap over sentences and seeds; None where nothing is to be scored.
    """
    students = experiment.best_of_groups(preset)[:COMPARED]
    runs = [experiment.teacher.key, *(run for system in students for run in system.runs)]
    translations = [[line for test in experiment.tests for line in _translations(work, run, test)] for run in runs]
    references = [line for test in experiment.tests for line in _references(work, experiment, test)[0]]
    buckets = {"length": bleu_by_length(translations, references, resamples=RESAMPLES)}
    training = work / "raw" / f"train.{experiment.settings.target}"
    if training.exists():  # else the training data came binarised, and their words are unknown
        words = read_lines(training)
        buckets["frequency"] = word_f1_by_frequency(translations, references, words, resamples=RESAMPLES)
    return {
        kind: [
            {
                "range": bucket.name,
                "count": bucket.count,
                "gaps": {system.key: _gap(bucket, list(map(runs.index, system.runs))) for system in students},
            }
            for bucket in those
        ]
        for kind, those in buckets.items()
    }


def interval(resampled: NDArray[np.float64]) -> list[float]:
    """The middle 95% of the mean over seeds, which are resampled as the sentences were.

    Args:
        resampled: Scores of resampled test sets, (resamples, seeds).
    """
    seeds = resampled.shape[1]
    drawn = np.random.default_rng(SEED).integers(0, seeds, resampled.shape)
    means = np.take_along_axis(resampled, drawn, axis=1).mean(axis=1)
    return [round(float(bound), 3) for bound in np.nanquantile(means, (0.025, 0.975))]


def examples(experiment: Experiment, work: Path) -> dict[str, Any]:
    """Sentences of the first test set as the teacher and the best student of each shape translate them.

    The choice is by rule: in the order of the best student's chrF less the teacher's, sentences at equal distances,
    from nearly the worst to nearly the best.
    """
    test = experiment.tests[0]
    chosen = [experiment.teacher, *(experiment.students(preset)[0] for preset in experiment.presets)]
    translations = {system.key: _translations(work, system.runs[0], test) for system in chosen}
    references = _references(work, experiment, test)
    scorer = CHRF()

    def gain(index: int) -> float:
        teacher, student = (
            scorer.sentence_score(translations[system.key][index], [lines[index] for lines in references]).score
            for system in chosen[:2]
        )
        return float(student - teacher)

    readable = [index for index, line in enumerate(references[0]) if len(line.split()) in EXAMPLE_WORDS]
    ordered = sorted(readable, key=gain)
    places = sorted(
        {round((part + 0.5) / EXAMPLES * (len(ordered) - 1)) for part in range(EXAMPLES)} if ordered else ()
    )
    sources = read_lines(work / "raw" / f"{test}.{experiment.settings.source}")
    return {
        "test": test,
        "sentences": [
            {
                "number": index + 1,
                "source": sources[index],
                "reference": references[0][index],
                "translations": {key: lines[index] for key, lines in translations.items()},
            }
            for index in (ordered[place] for place in places)
        ],
    }


def _gap(bucket: Bucket, columns: Sequence[int]) -> list[float] | None:
    """Mean, lower and upper bound of what the seeds in these columns lose against the teacher, who is in the first."""
    scores = [bucket.scores[column] for column in (0, *columns)]
    known = [score for score in scores if score is not None]
    if len(known) < len(scores) or bucket.resampled is None:
        return None
    differences = bucket.resampled[:, list(columns)] - bucket.resampled[:, :1]
    return [round(statistics.fmean(known[1:]) - known[0], 3), *interval(differences)]


def _translations(work: Path, run: str, test: str) -> list[str]:
    return read_lines(work / "evaluated" / run / f"{test}.txt")


def _references(work: Path, experiment: Experiment, test: str) -> list[list[str]]:
    """All references of a test set; several of them are numbered."""
    ending, count = experiment.settings.target, experiment.settings.references
    endings = [f"{ending}.{number}" for number in range(count)] if count else [ending]
    return [read_lines(work / "raw" / f"{test}.{ending}") for ending in endings]
