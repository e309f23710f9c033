"""Makes the student that a workflow bundled ready for use: the folder `model` with its card, and `fairseq` beside it.

    python -m weightdistill.experiment.model_card --settings settings.json --work DIR

Reads what experiments/rules/bundle.smk made and measured in `bundle`, and decides whether the vocabulary map stays.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from weightdistill import files
from weightdistill.errors import DistillationError, reported
from weightdistill.experiment.schema import BundleSettings, Settings
from weightdistill.experiment.settings import read
from weightdistill.experiment.tables import TITLES, Table
from weightdistill.experiment.units import size
from weightdistill.experiment.workflow import TEACHER, teacher_checkpoints, ways
from weightdistill.files import read_json
from weightdistill.text.processing import TextProcessing

WHOLE, MAPPED = "whole", "mapped"
"""How the student was measured: over all words, or over those of a vocabulary map; see `workflow.ways`."""


@dataclass(frozen=True)
class Measured:
    """The bundled student beside its teacher.

    Attributes:
        scores: of the teacher and, by way, of the student: score by test set and metric.
        speeds: by way, what `weightdistill benchmark` wrote.
        changed: share of the sentences of all test sets that the vocabulary map changes.
    """

    scores: dict[str, dict[str, dict[str, float]]]
    speeds: dict[str, list[dict[str, Any]]]
    changed: float | None


def measured(settings: Settings, work: Path) -> Measured:
    """Read what the workflow measured.

    Args:
        settings: The settings that it ran with.
        work: The folder that it ran in.
    """
    tests = ["valid", *settings.tests]
    folders = {
        TEACHER: work / "evaluated" / TEACHER,
        **{way: work / "bundle" / way for way in ways(settings)},
    }
    scores = {name: {test: _scores(folder / f"{test}.json") for test in tests} for name, folder in folders.items()}
    speeds = {way: read_json(work / "bundle" / f"speed-{way}.json")["speeds"] for way in ways(settings)}
    changed = None
    if MAPPED in folders:
        texts = [[files.read_lines(folders[way] / f"{test}.txt") for test in tests] for way in (WHOLE, MAPPED)]
        pairs = [pair for before, after in zip(*texts, strict=True) for pair in zip(before, after, strict=True)]
        changed = sum(before != after for before, after in pairs) / len(pairs)
    return Measured(scores, speeds, changed)


def chosen_way(bundle: BundleSettings, results: Measured) -> str:
    """Decide whether the vocabulary map stays.

    It must be faster at the largest batch, and not cost more BLEU on the validation set than the settings allow.
    """
    if MAPPED not in results.speeds:
        return WHOLE
    bleu = {way: results.scores[way]["valid"]["bleu"] for way in (WHOLE, MAPPED)}
    faster = _fastest(results, MAPPED) > _fastest(results, WHOLE)
    return MAPPED if faster and bleu[MAPPED] >= bleu[WHOLE] - bundle.largest_loss else WHOLE


def make(settings: Settings, work: Path) -> str:
    """Write `model` and `fairseq` into the workflow's folder; the card's text.

    Args:
        settings: The settings that it ran with, with `bundle`.
        work: The folder that it ran in.
    """
    results = measured(settings, work)
    way = chosen_way(_bundle(settings), results)
    text = card(settings, work, results, way)
    folder = work / "model.writing"
    shutil.rmtree(folder, ignore_errors=True)
    leave_out = () if way == MAPPED else ("vmap.txt",)
    shutil.copytree(work / "bundle" / "ctranslate2", folder, ignore=shutil.ignore_patterns(*leave_out))
    TextProcessing.read(work / "prepared").write(folder)
    (folder / "README.md").write_text(text, encoding="utf-8")
    shutil.copytree(work / "bundle" / "fairseq", work / "fairseq", dirs_exist_ok=True)
    shutil.rmtree(work / "model", ignore_errors=True)
    folder.rename(work / "model")
    return text


def card(settings: Settings, work: Path, results: Measured, way: str) -> str:
    """The model card: what the model is, how it is used, what it was made from, and what was measured.

    Args:
        settings: The settings that the workflow ran with.
        work: The folder that it ran in.
        results: What was measured.
        way: Whether the vocabulary map stays.
    """
    bundle = _bundle(settings)
    table = read_json(work / "results" / "results.json")
    student = next(row for row in table["rows"] if row["method"] == bundle.method)
    loss = results.scores[TEACHER][settings.tests[0]]["bleu"] - results.scores[way][settings.tests[0]]["bleu"]
    environment = Environment(
        loader=PackageLoader("weightdistill.experiment"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("model_card.md.jinja").render(
        settings=settings,
        bundle=bundle,
        results=table,
        student=student,
        loss=loss,
        mapped=way == MAPPED,
        changed=results.changed,
        table=_table(settings, work, results).markdown(),
        speed=_fastest(results, way),
        teachers=[(Path(path).name, files.fingerprint(work / path)) for path in teacher_checkpoints(settings)],
        signatures={TITLES[metric]: signature for metric, signature in table["signatures"].items()},
        processing=TextProcessing.read(work / "prepared"),
    )


def _table(settings: Settings, work: Path, results: Measured) -> Table:
    """The teacher in both engines, and the student in each form that was measured."""
    metrics = list(next(iter(results.scores[TEACHER].values())))
    form = _bundle(settings).quantization
    teacher, student = work / "exported" / TEACHER, work / "bundle"
    systems = [
        ("teacher, fairseq", teacher / "model.pt", TEACHER, WHOLE),
        ("teacher, CTranslate2 float32", teacher / "ctranslate2", TEACHER, WHOLE),
        (f"student, CTranslate2 {form}", student / "ctranslate2", WHOLE, WHOLE),
    ]
    if MAPPED in results.speeds:
        systems.append((f"student, {form}, vocabulary map", student / "ctranslate2", MAPPED, MAPPED))
    tests = ("valid", *settings.tests)
    heads = ["system", "size", *(f"{TITLES[metric]} {test}" for test in tests for metric in metrics)]
    heads += [f"speed, batch {batch}" for batch in sorted(map(int, settings.benchmark.batches.split()))]
    lines = []
    for name, path, scored, timed in systems:
        weights = path if path.is_file() else path / "model.bin"
        cells = [name, size(weights.stat().st_size)]
        cells += [f"{results.scores[scored][test][metric]:.1f}" for test in tests for metric in metrics]
        ratios = _speeds(results.speeds[timed], path.parent.name, path.name)
        lines.append([*cells, *(f"{ratio:.1f}×" for _, ratio in sorted(ratios.items()))])  # noqa: RUF001
    return Table(heads, lines)


def _speeds(speeds: Sequence[dict[str, Any]], folder: str, name: str = "ctranslate2") -> dict[int, float]:
    """Decoding speed relative to the teacher's in fairseq, by batch size, of a model by its name and its folder's."""
    return {
        int(speed["batch_size"]): float(speed["ratio"]["median"])
        for speed in speeds
        if (Path(speed["model"]).parent.name, Path(speed["model"]).name) == (folder, name)
    }


def _fastest(results: Measured, way: str) -> float:
    """Decoding speed of the bundle at the largest batch, relative to the teacher's in fairseq."""
    speeds = _speeds(results.speeds[way], "bundle")
    return speeds[max(speeds)]


def _bundle(settings: Settings) -> BundleSettings:
    if settings.bundle is None:
        raise DistillationError("settings need `bundle`, which says what student is made ready for use")
    return settings.bundle


def _scores(path: Path) -> dict[str, float]:
    system = read_json(path)["systems"][0]
    return {metric: value["score"] for metric, value in system.items() if metric != "name"}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=Path, required=True, help="the settings that the workflow ran with")
    parser.add_argument("--work", type=Path, default=Path(), help="folder that it ran in (default: this one)")
    options = parser.parse_args()
    print(make(read([options.settings]), options.work))


if __name__ == "__main__":
    with reported("model card"):
        main()
