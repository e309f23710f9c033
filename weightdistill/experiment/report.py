"""A page on one experiment that a reader understands in a minute: report.md, report.html and their pictures.

    python -m weightdistill.experiment.report --results DIR/results.json --output DIR [--work DIR] [--settings FILE ...]

With --work it first gathers what only the workflow's folder has into report.json, beside results.json. It then renders
the page from these two files alone, so that anybody can render a committed experiment again. What report.json lacks is
shown as an earlier report drew it, if its picture lies in the output folder.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from tabulate import tabulate

from weightdistill.errors import reported
from weightdistill.experiment import pictures
from weightdistill.experiment.comparison import Experiment, System
from weightdistill.experiment.findings import listed, times
from weightdistill.experiment.gathering import gather
from weightdistill.experiment.page import Cell, Page, Picture, Section, Table, page
from weightdistill.experiment.schema import Settings
from weightdistill.experiment.settings import read
from weightdistill.files import read_json, writing

EARLIER = "Drawn when the experiment ran."
RECOLOURED = f"{EARLIER} Its numbers were not kept; its colours are not those of the other pictures."
KINDS = {"length": "length of the reference", "frequency": "frequency of the word in the training data"}


def render(
    results: Mapping[str, Any],
    gathered: Mapping[str, Any],
    output: Path,
    presentation: Settings | None = None,
) -> None:
    """Write report.md, report.html and their pictures.

    Args:
        results: results.json.
        gathered: report.json; parts may be missing.
        output: The folder to write to; pictures of earlier reports are looked for in it.
        presentation: Settings whose title, description, groups, variants and notes replace those of the results.

    Raises:
        DistillationError: The results have no BLEU, or a file cannot be written.
    """
    experiment = Experiment(results, presentation)
    sections = [
        quality(experiment, gathered),
        losses(experiment, gathered, output),
        gaps(experiment, gathered, output),
        layer_weights(experiment, gathered, output),
    ]
    sections = [section for section in sections if section.pictures or section.folded]
    contents = page(experiment, gathered, sections)
    files = {picture.file: picture.svg for section in sections for picture in section.pictures if picture.svg}
    files |= {picture.file: picture.svg for section in sections for _, picture in section.folded if picture.svg}
    files |= {f"report.{form}": written(contents, form) for form in ("md", "html")}
    for name, text in files.items():
        with writing(output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def written(contents: Page, form: str) -> str:
    """The page in `md` or `html`."""
    environment = Environment(
        loader=PackageLoader("weightdistill.experiment"),
        autoescape=form == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"inline": inline, "table": markdown_table, "breakable": breakable}
    text = environment.get_template(f"report.{form}.jinja").render(page=contents)
    return re.sub(r"\n{3,}", "\n\n", text)


def inline(text: str) -> Markup:
    """Markdown's emphasis as HTML."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))


def breakable(text: str) -> Markup:
    """Lines may break behind underscores, as long names of test sets need it."""
    return Markup("_<wbr>").join(text.split("_"))


def markdown_table(table: Table) -> str:
    """A table in Markdown, numbers to the right."""

    def content(cell: Cell) -> str:
        return f"**{cell.text}**" if cell.best else cell.text

    return tabulate(
        [list(map(content, line)) for line in table.lines],
        headers=[head.text for head in table.heads],
        tablefmt="pipe",  # GitHub's tables, with the alignment of columns, which `github` leaves out
        colalign=["right" if head.numeric else "left" for head in table.heads],
        disable_numparse=True,
    )


def quality(experiment: Experiment, gathered: Mapping[str, Any]) -> Section:
    """BLEU against decoding speed."""
    intervals = gathered.get("intervals", {})
    frontier = pictures.frontier(experiment)
    drawing = pictures.quality_and_speed(experiment, intervals)
    points = "; ".join(
        f"{system.name}, {system.bleu(experiment.tests)['mean']:.1f} BLEU"
        + (f", {times(system)} as fast as the teacher" if system.preset else "")
        for system in frontier
    )
    several = any(len(system.row["seeds"]) > 1 for system in experiment.systems)
    bars = (
        "Bars: 95% intervals by bootstrap over the sentences" + " and the seeds" * several + "."
        if intervals
        else "Bars: standard deviation over the seeds, where there are several."
        if several
        else "One seed each, and no interval was computed: there are no bars."
    )
    caption = (
        "Names mark the Pareto frontier of the students that would be chosen, the best of each shape on "
        f"{listed(experiment.judges)}. Students of one shape are equally fast; they are drawn side by side for "
        f"legibility. The dashed line is the teacher. {bars}"
    )
    picture = _picture(drawing, f"BLEU against speed. The frontier: {points}.", caption)
    return Section("Quality against speed", "", [picture])


def losses(experiment: Experiment, gathered: Mapping[str, Any], output: Path) -> Section:
    """Validation losses during training, a picture for each shape."""
    section = Section(
        "Validation loss",
        "Negative log-likelihood of the references of the validation set. Phase 1 and phase 2 are one curve; the loss "
        "may rise between them, where the optimiser and the warm-up begin anew.",
    )
    known = gathered.get("losses", {})
    for preset in experiment.presets:
        drawn = [system for system in experiment.main if system.preset == preset and any(known.get(system.key, ()))]
        if drawn:
            several = any(len(system.row["seeds"]) > 1 for system in drawn)
            caption = f"{preset.upper()}" + ", means over the seeds; bars: standard deviation" * several + "."
            if any(known.get(experiment.teacher.key, ())):
                caption += " The dashed line is the teacher's loss when its training ended."
            drawing = pictures.curves(experiment, preset, known)
            section.pictures.append(_picture(drawing, f"Validation loss by updates of {_names(drawn)}.", caption))
        else:
            description = f"Validation loss by updates of {preset.upper()} students, in bits per token."
            section.folded += _earlier(
                output / f"curves-{preset}.png", f"{preset.upper()}, first seed", description, RECOLOURED
            )
    return section


def gaps(experiment: Experiment, gathered: Mapping[str, Any], output: Path) -> Section:
    """What students lose against the teacher, by length and by frequency."""
    tests = "the test set" if len(experiment.tests) == 1 else f"{listed(experiment.tests)} together"
    section = Section("Gap to the teacher by length and by frequency", f"Scores of {tests}, minus the teacher's.")
    for preset in experiment.presets:
        known = gathered.get("gaps", {}).get(preset, {})
        for kind, what in KINDS.items():
            score = "BLEU" if kind == "length" else "F1 of words"
            description = f"{score} of {preset.upper()} students minus the teacher's, by {what}."
            if buckets := known.get(kind):
                drawn = [system for system in experiment.students(preset) if system.key in buckets[0]["gaps"]]
                which = "the best student of each group" if experiment.grouped else "the best students"
                if experiment.grouped and len(drawn) < len(experiment.best_of_groups(preset)):
                    which = f"the best student of each of the {len(drawn)} best groups"
                caption = f"{score} by {what}: {preset.upper()}, {which}. Bars: 95% intervals by bootstrap."
                drawing = pictures.gaps(experiment, preset, kind, buckets)
                description = f"{description} Shown are {_names(drawn)}."
                section.pictures.append(_picture(drawing, description, caption))
            else:
                file = output / f"{kind}-{preset}.png"
                section.folded += _earlier(file, f"{preset.upper()}, {score} by {what}", description, RECOLOURED)
    return section


def layer_weights(experiment: Experiment, gathered: Mapping[str, Any], output: Path) -> Section:
    """W_L after phase 1: of the best student of weight distillation at once, of others on demand."""
    section = Section(
        "What the generator takes from which layer (W_L)",
        "Each line is a weight class of the decoder, each column a layer of the teacher in a subset, which is what one "
        "student layer is made from. All subsets share W_L. Values after phase 1, first seed.",
    )
    known = gathered.get("layer_weights", {})
    shown: set[str | None] = set()
    for system in (student for preset in experiment.presets for student in experiment.students(preset)):
        name = f"layer-weights-{system.key}"
        description = (
            f"W_L of {system.name}: a weight for each class of the decoder and each teacher layer of a subset."
        )
        if weights := known.get(system.key):
            picture = _picture(pictures.layer_weights(name, weights), description, system.name)
            if system.preset in shown:
                section.folded.append((system.name, picture))
            else:
                section.pictures.append(picture)
            shown.add(system.preset)
        else:
            section.folded += _earlier(output / f"{name}.png", system.name, description, EARLIER)
    return section


def _picture(drawing: pictures.Drawing, description: str, caption: str) -> Picture:
    return Picture(f"{drawing.name}.svg", description, caption, drawing.svg(description))


def _earlier(file: Path, summary: str, description: str, caption: str) -> list[tuple[str, Picture]]:
    """The picture of an earlier report, if it is there."""
    return [(summary, Picture(file.name, description, caption))] if file.exists() else []


def _names(systems: Sequence[System]) -> str:
    return listed([system.title for system in systems])


def main() -> None:
    """Read the command line, gather where there is a folder to gather from, and render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="results.json of weightdistill.experiment.results")
    parser.add_argument("--output", type=Path, required=True, help="folder for the page and its pictures")
    parser.add_argument("--work", type=Path, help="folder that the workflow ran in; report.json is made from it")
    parser.add_argument(
        "--settings",
        type=Path,
        nargs="+",
        default=[],
        help="the experiment's settings, whose titles, groups and notes replace those of the results",
    )
    options = parser.parse_args()
    results = read_json(options.results)
    presentation = read(options.settings) if options.settings else None
    gathered_path = options.results.with_name("report.json")
    if options.work:
        gathered = gather(Experiment(results, presentation), options.work)
        with writing(gathered_path) as temporary:
            temporary.write_text(json.dumps(gathered, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        gathered = read_json(gathered_path) if gathered_path.exists() else {}
    render(results, gathered, options.output, presentation)


if __name__ == "__main__":
    with reported("report"):
        main()
