"""The report's pictures as SVG: a method looks the same in all of them, and marks say their values where one points.

Knows systems and numbers; nothing about files or pages.
"""

import io
import textwrap
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from weightdistill.experiment.comparison import Experiment, System

PALETTE = {
    "Weight distillation": "#0072B2",
    "Copied layers": "#D55E00",
    "Soft labels": "#009E73",
    "Sequence level": "#CC79A7",
    "Hidden states": "#332288",
    "No teacher": "#777777",
    "": "#7A3B00",
}
"""Colours of the usual groups, the same in every experiment; groups of other names take those that are left. All stand
out from white, and colour-blind readers can tell them apart."""
TEACHER = "#000000"
MARKERS = "osD^vPX<>p"
DASHES: Sequence[Any] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))
WIDTH = 7.6  # inches
_SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "svg.fonttype": "none",  # text stays text, for readers and for search
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",  # for pages on dark ground
    "axes.edgecolor": "#555555",
    "grid.color": "#DDDDDD",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


@dataclass(frozen=True)
class Style:
    """How a method looks: its group's colour, and what tells it from the others of its group."""

    colour: str
    marker: str
    dashes: Any


@dataclass
class Drawing:
    """A picture in the making, with what its marks say where one points at them."""

    name: str
    figure: Figure
    titles: dict[str, str] = field(default_factory=dict)

    def say(self, artists: Sequence[Any], text: str) -> None:
        """Let these marks say this."""
        for artist in artists:
            identifier = f"{self.name}-mark-{len(self.titles)}"
            artist.set_gid(identifier)
            self.titles[identifier] = text

    def svg(self, description: str) -> str:
        """The picture as an SVG element; the description is for those who do not see it."""
        buffer = io.BytesIO()
        with matplotlib.rc_context(_SETTINGS | {"svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        root = ElementTree.fromstring(buffer.getvalue())
        text = buffer.getvalue().decode("utf-8")
        for element in root.iter():
            identifier = element.get("id", "")
            if identifier in self.titles:
                title = ElementTree.Element(f"{{{_SVG}}}title")
                title.text = self.titles[identifier]
                element.insert(0, title)
            if identifier and f"#{identifier}" not in text:
                del element.attrib["id"]  # several pictures share a page
        for metadata in root.findall(f"{{{_SVG}}}metadata"):
            root.remove(metadata)
        root.attrib |= {"role": "img", "aria-label": description, "style": "max-width:100%;height:auto"}
        return ElementTree.tostring(root, encoding="unicode") + "\n"


def styles(experiment: Experiment) -> dict[str, Style]:
    """A style for each method, in all shapes and pictures. Variants come last, so that the others differ most."""
    groups = experiment.groups
    left = [colour for group, colour in PALETTE.items() if group not in groups]
    unusual = [group for group in groups if group not in PALETTE]
    colours = PALETTE | {group: left[place % len(left)] for place, group in enumerate(unusual) if left}
    students = [system for system in experiment.systems if system.preset]
    ordered = sorted(students, key=lambda system: system.variant)
    members: dict[str, list[str]] = {}
    for system in ordered:
        # groups that share a colour share the markers, too
        methods = members.setdefault(colours.get(system.group, TEACHER), [])
        if system.method not in methods:
            methods.append(system.method)
    chosen = {
        method: Style(colour, MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)])
        for colour, methods in members.items()
        for place, method in enumerate(methods)
    }
    return chosen | {experiment.teacher.method: Style(TEACHER, "*", (0, (4, 3)))}


def quality_and_speed(experiment: Experiment, intervals: Mapping[str, Sequence[float]]) -> Drawing:
    """BLEU, a mean over the test sets, against decoding speed; names stand at the Pareto frontier alone.

    Args:
        experiment: Its systems; students that are not in a picture otherwise are small dots here.
        intervals: By system, the bounds of its BLEU; without any, bars are standard deviations over seeds.
    """
    look = styles(experiment)
    main = {system.key for system in experiment.main}
    fastest = max(_speed(system) for system in experiment.systems)
    places = _abreast(experiment, main, 0.09 * fastest)
    drawing, axes = _start("quality-speed", 4.4)
    teacher = experiment.teacher
    reference = teacher.bleu(experiment.tests)["mean"]
    axes.axhline(reference, color=TEACHER, linewidth=1, linestyle=look[teacher.method].dashes, zorder=1)
    _name_teacher(axes, reference)
    tops: dict[str | None, float] = {}
    for system in experiment.systems:
        score = system.bleu(experiment.tests)
        style = look[system.method]
        bounds = intervals.get(system.key)
        if bounds is None and not intervals and score["sd"] is not None:
            bounds = [score["mean"] - score["sd"], score["mean"] + score["sd"]]
        place, shown = places[system.key], system.key in main
        top = bounds[1] if shown and bounds else score["mean"]
        tops[system.preset] = max(top, tops.get(system.preset, top))
        size = 11 if system is teacher else 6.5 if shown else 3.5
        if shown and bounds:
            axes.vlines(place, bounds[0], bounds[1], color=style.colour, linewidth=1.3, zorder=2)
        marks = axes.plot(
            place,
            score["mean"],
            style.marker if shown else "o",
            markersize=size,
            color=style.colour,
            markerfacecolor=style.colour if shown else "white",
            markeredgecolor="white" if shown else style.colour,
            markeredgewidth=0.6,
            zorder=4 if shown else 3,
        )
        spread = f" ({bounds[0]:.1f} to {bounds[1]:.1f})" if bounds else ""
        drawing.say(marks, f"{system.name}: {score['mean']:.1f} BLEU{spread}, {_speed(system):.0f} sentences/s")
    for preset in experiment.presets:
        ratio = f"{experiment.students(preset)[0].speed['ratio']['median']:.1f}×"  # noqa: RUF001
        foot = (_speed(experiment.students(preset)[0]), 0.015)
        axes.annotate(f"{preset.upper()}, {ratio}", foot, xycoords=axes.get_xaxis_transform(), ha="center")
    axes.set_xlim(0, 1.16 * fastest)
    axes.set_xlabel("sentences per second (CTranslate2, one sentence at a time)")
    axes.set_ylabel("BLEU, mean of the test sets" if len(experiment.tests) > 1 else "BLEU")
    axes.margins(y=0.14)
    axes.grid(axis="y")
    entries = {system.title: look[system.method] for system in experiment.main if system.preset}
    handles = [_handle(style, title, "") for title, style in entries.items()]
    if len(main) < len(experiment.systems):
        variant = Line2D([], [], color="#555555", marker="o", linestyle="", label="a variant")
        variant.set(markersize=3.5, markerfacecolor="white")
        handles.append(variant)
    _legend(drawing, handles)
    _label_frontier(drawing, axes, experiment, places, tops)
    return drawing


def frontier(experiment: Experiment) -> list[System]:
    """The Pareto frontier of what would be chosen: the teacher, and of each shape the best student on the judges' sets.

    Students of one shape are equally fast, and a choice among them by the test sets would flatter the chosen one.

    Returns:
        Systems that none of the others beats in speed without losing BLEU on these sets, the slowest first.
    """

    def score(system: System) -> float:
        return float(system.bleu(experiment.judges)["mean"])

    chosen = [experiment.teacher, *(experiment.students(preset)[0] for preset in experiment.presets)]
    best: list[System] = []
    for system in sorted(chosen, key=lambda system: (-_speed(system), -score(system))):
        if not best or score(system) > score(best[-1]):
            best.append(system)
    return best[::-1]


def curves(experiment: Experiment, preset: str, losses: Mapping[str, Sequence[Any]]) -> Drawing:
    """Validation losses of a shape's students by updates; bars are standard deviations over seeds.

    Args:
        experiment: Its systems.
        preset: The shape.
        losses: By system, for each seed its pairs of updates and loss.
    """
    look = styles(experiment)
    drawing, axes = _start(f"curves-{preset}", 4.2)
    if last := [points[-1][1] for points in losses.get(experiment.teacher.key, ()) if points]:
        axes.axhline(last[0], color=TEACHER, linewidth=1, linestyle=look[experiment.teacher.method].dashes)
        _name_teacher(axes, last[0])
    handles = []
    for system in experiment.main:
        seeds = [dict(points) for points in losses.get(system.key, ()) if points]
        if system.preset != preset or not seeds:
            continue
        style = look[system.method]
        updates = sorted(set.intersection(*map(set, seeds)))
        values = np.array([[points[update] for update in updates] for points in seeds])  # (seeds, updates)
        means, deviations = values.mean(axis=0), values.std(axis=0, ddof=1) if len(seeds) > 1 else None
        axes.plot(updates, means, color=style.colour, linestyle=style.dashes, linewidth=1.5)
        if deviations is not None:
            axes.vlines(updates, means - deviations, means + deviations, color=style.colour, linewidth=1)
        for update, mean in zip(updates, means.tolist(), strict=True):
            marks = axes.plot(
                update, mean, style.marker, color=style.colour, markersize=4, markeredgecolor="white", mew=0.4
            )
            drawing.say(marks, f"{system.title}: {mean:.2f} bits per token after {update:,} updates")
        handles.append(_handle(style, system.title, style.dashes))
    axes.set_xlabel("updates")
    axes.set_ylabel("validation loss, bits per token")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(7))
    axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y")
    _legend(drawing, handles)
    return drawing


def gaps(experiment: Experiment, preset: str, kind: str, buckets: Sequence[Mapping[str, Any]]) -> Drawing:
    """What a few students lose against the teacher, bucket by bucket, with 95% intervals.

    Args:
        experiment: Its systems.
        preset: The students' shape.
        kind: `length` or `frequency`, what the buckets are of.
        buckets: As report.json has them.
    """
    look = styles(experiment)
    unit, score = ("sentences", "BLEU") if kind == "length" else ("words", "F1 of words")
    drawing, axes = _start(f"{kind}-{preset}", 3.2)
    systems = [system for system in experiment.students(preset) if system.key in buckets[0]["gaps"]]
    axes.axhline(0, color=TEACHER, linewidth=1, linestyle=look[experiment.teacher.method].dashes)
    _name_teacher(axes, 0)
    for number, system in enumerate(systems):
        style = look[system.method]
        for place, bucket in enumerate(buckets):
            if (gap := bucket["gaps"][system.key]) is None:
                continue
            mean, low, high = gap
            position = place + (number - (len(systems) - 1) / 2) * 0.7 / len(systems)
            axes.vlines(position, low, high, color=style.colour, linewidth=1.5)
            marks = axes.plot(
                position, mean, style.marker, color=style.colour, markersize=6.5, markeredgecolor="white", mew=0.6
            )
            drawing.say(marks, f"{system.title}, {bucket['range']}: {mean:+.1f} {score} ({low:+.1f} to {high:+.1f})")
    axes.set_xticks(range(len(buckets)), [f"{bucket['range']}\n{bucket['count']:,} {unit}" for bucket in buckets])
    axes.tick_params(axis="x", labelsize=8, length=0)
    axes.set_xlim(-0.5, len(buckets) - 0.4)
    axes.set_xlabel("words of the reference" if kind == "length" else "times that the training data have the word")
    axes.set_ylabel(f"{score} minus the teacher's")
    axes.grid(axis="y")
    _legend(drawing, [_handle(look[system.method], system.title, "") for system in systems])
    return drawing


def layer_weights(name: str, weights: Mapping[str, Sequence[float]]) -> Drawing:
    """W_L of each decoder class as a table of colours and numbers.

    Args:
        name: Of the picture.
        weights: By class, a weight for each of the teacher's layers in a subset.
    """
    values = np.array(list(weights.values()))  # (classes, teacher layers)
    drawing, axes = _start(name, 0.19 * len(values) + 0.7)
    limit = float(np.abs(values).max())
    axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.6 * limit else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_yticks(range(len(weights)), list(weights), fontsize=8)
    axes.set_xticks(range(values.shape[1]), [str(layer + 1) for layer in range(values.shape[1])])
    axes.tick_params(length=0)
    axes.set_xlabel("layer of the teacher's decoder within the subset")
    axes.spines[:].set_visible(False)
    return drawing


def _start(name: str, height: float) -> tuple[Drawing, Axes]:
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        return Drawing(name, figure), figure.add_subplot()


def _name_teacher(axes: Axes, height: float) -> None:
    """Write beside the teacher's line what it is."""
    axes.annotate("teacher", (1, height), (4, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=8.5)


def _speed(system: System) -> float:
    return float(system.speed["sentences_per_second"]["median"])


def _handle(style: Style, title: str, dashes: Any) -> Line2D:
    return Line2D(
        [],
        [],
        color=style.colour,
        marker=style.marker,
        markersize=6,
        markeredgecolor="white",
        mew=0.5,
        linestyle=dashes,
        label=title,
    )


def _legend(drawing: Drawing, handles: Sequence[Line2D]) -> None:
    """Below the picture, where it hides nothing and takes no width."""
    rows = -(-len(handles) // 2)
    drawing.figure.set_figheight(drawing.figure.get_figheight() + 0.19 * rows)
    with matplotlib.rc_context(_SETTINGS):
        drawing.figure.legend(handles=list(handles), loc="outside lower left", ncols=2, handlelength=3)


def _abreast(experiment: Experiment, main: Container[str], reach: float) -> dict[str, float]:
    """Where systems stand on the axis of speed: those of a shape are equally fast, and would hide each other."""
    places: dict[str, float] = {}
    groups = [experiment.teacher.group, *experiment.groups]
    for shape in (None, *experiment.presets):
        for shown in (True, False):
            members = [
                system for system in experiment.systems if system.preset == shape and (system.key in main) is shown
            ]
            for number, system in enumerate(sorted(members, key=lambda system: groups.index(system.group)), start=1):
                places[system.key] = _speed(system) + reach * (2 * number / (len(members) + 1) - 1)
    return places


def _label_frontier(
    drawing: Drawing,
    axes: Axes,
    experiment: Experiment,
    places: Mapping[str, float],
    tops: Mapping[str | None, float],
) -> None:
    """Write the names of the frontier's systems above all marks of their shape, and none on another."""
    best = frontier(experiment)
    scores = [system.bleu(experiment.tests)["mean"] for system in best]
    labels: list[Annotation] = []
    for system, score in zip(best, scores, strict=True):
        if system is experiment.teacher:
            continue  # its line says so
        place, top = places[system.key], tops[system.preset]
        axes.annotate("", (place, top), (0, 7), textcoords="offset points", arrowprops={"arrowstyle": "-", "lw": 0.6})
        axes.vlines(place, score, top, color="black", linewidth=0.6, zorder=1)
        labels.append(
            axes.annotate(
                "\n".join(textwrap.wrap(system.name, 28)),
                (place, top),
                xytext=(0, 8),
                textcoords="offset points",
                ha="right" if place > 0.75 * axes.get_xlim()[1] else "center",
                va="bottom",
                fontsize=8.5,
                fontweight="bold",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
        )
    taken: list[Any] = []
    for label in labels:
        drawing.figure.draw_without_rendering()
        while any(label.get_window_extent().overlaps(box) for box in taken):
            label.xyann = (0, label.xyann[1] + 4)
        taken.append(label.get_window_extent())
