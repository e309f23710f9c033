"""Pictures: the same colour for a method everywhere, colours that all readers tell apart, labels that stand apart."""

import itertools
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Annotation
from numpy.typing import NDArray

from weightdistill.experiment import pictures
from weightdistill.experiment.comparison import Experiment

SVG = "{http://www.w3.org/2000/svg}"
# Machado, Oliveira and Fernandes (2009), severity 1.0: matrices on linear RGB.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
BUCKETS = [
    {"range": "1 to 5", "count": 20, "gaps": {"wd-tiny": [-1.0, -2.0, 0.5], "kd-tiny": None}},
    {"range": "6 and more", "count": 30, "gaps": {"wd-tiny": [-2.0, -2.5, -1.5], "kd-tiny": [-4.0, -5.0, -3.0]}},
]
LOSSES: dict[str, Any] = {
    "teacher": [[[100, 2.0]]],
    "wd-tiny": [[[100, 4.0], [200, 3.0]], [[100, 4.2], [200, 3.2]]],
    "kd-tiny": [[], []],
}


def linear(colour: str) -> NDArray[np.float64]:
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(matrix) @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("sight", SIGHTS)
def test_readers_of_every_sight_tell_the_colours_apart(sight: str) -> None:
    colours = [*pictures.PALETTE.values(), pictures.TEACHER]
    seen = {colour: lab(np.array(SIGHTS[sight]) @ linear(colour)) for colour in colours}
    for first, second in itertools.combinations(colours, 2):
        assert np.linalg.norm(seen[first] - seen[second]) > 10, f"{first} looks like {second}"


def test_colours_stand_out_from_white() -> None:
    for colour in pictures.PALETTE.values():
        luminance = float(linear(colour) @ [0.2126, 0.7152, 0.0722])
        assert 1.05 / (luminance + 0.05) >= 3, f"{colour} has too little contrast (WCAG 2.1, 1.4.11)"


def test_a_method_looks_the_same_in_every_shape_and_unlike_all_others(results: dict[str, Any]) -> None:
    look = pictures.styles(Experiment(results))
    assert set(look) == {"teacher", "plain", "kd", "copied", "wd", "wd-fixed"}
    assert len({(style.colour, style.marker) for style in look.values()}) == 6
    assert look["wd"].colour == look["wd-fixed"].colour == pictures.PALETTE["Weight distillation"]
    assert look["wd"].marker != look["wd-fixed"].marker
    # taking a shape away changes nothing
    results["rows"] = [row for row in results["rows"] if row["preset"] != "small"]
    assert pictures.styles(Experiment(results)) == look


def test_groups_of_other_names_take_the_colours_that_are_left(results: dict[str, Any]) -> None:
    for number, method in enumerate(results["config"]["methods"].values()):
        method["group"] = f"group {number}"
    look = pictures.styles(Experiment(results))
    assert len({style.colour for style in look.values()}) == 6


def drawn(drawing: pictures.Drawing) -> tuple[ElementTree.Element, list[str]]:
    root = ElementTree.fromstring(drawing.svg("what it shows"))
    assert (root.get("role"), root.get("aria-label")) == ("img", "what it shows")
    assert root.get("style") == "max-width:100%;height:auto"
    return root, [title.text or "" for title in root.iter(f"{SVG}title")]


def test_every_system_says_its_name_in_quality_against_speed(results: dict[str, Any]) -> None:
    experiment = Experiment(results)
    _, titles = drawn(pictures.quality_and_speed(experiment, {"wd-tiny": [20.0, 25.0]}))
    assert len(titles) == len(experiment.systems)
    assert "WD, 2 + 6 epochs, TINY: 23.2 BLEU (20.0 to 25.0), 400 sentences/s" in titles
    assert "teacher: 25.0 BLEU, 100 sentences/s" in titles
    _, titles = drawn(pictures.quality_and_speed(experiment, {}))
    # without intervals the standard deviation of 14 and 16
    assert "plain student, TINY: 15.0 BLEU (13.6 to 16.4), 400 sentences/s" in titles


def test_only_the_frontier_has_labels_and_none_is_on_another(results: dict[str, Any]) -> None:
    experiment = Experiment(results)
    # on the validation set: 31 at 100/s, 31.5 at 200/s, which is better and faster than the teacher, and 29.1 at 400/s
    assert [system.key for system in pictures.frontier(experiment)] == ["wd-small", "wd-tiny"]
    for row in results["rows"]:  # shapes that are nearly as fast as each other, and names that are long
        row["speed"]["ctranslate2"]["1"]["sentences_per_second"]["median"] = 400 if row["preset"] == "tiny" else 399
    for method in results["config"]["methods"].values():
        method["title"] += ", a name that is long enough to meet its neighbour"
    drawing = pictures.quality_and_speed(Experiment(results), {})
    drawing.figure.draw_without_rendering()
    labels = [
        child
        for child in drawing.figure.axes[0].get_children()
        if isinstance(child, Annotation) and child.get_fontweight() == "bold"
    ]
    assert len(labels) == 2
    first, second = (label.get_window_extent() for label in labels)
    assert not first.overlaps(second)


def test_curves_are_means_over_the_seeds_with_the_teachers_last_loss(results: dict[str, Any]) -> None:
    root, titles = drawn(pictures.curves(Experiment(results), "tiny", LOSSES))
    assert titles == [
        "WD, 2 + 6 epochs: 4.10 bits per token after 100 updates",
        "WD, 2 + 6 epochs: 3.10 bits per token after 200 updates",
    ]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "teacher" in texts and "KD student" not in texts


def test_gaps_say_their_intervals_and_leave_out_what_has_no_score(results: dict[str, Any]) -> None:
    root, titles = drawn(pictures.gaps(Experiment(results), "tiny", "length", BUCKETS))
    assert titles == [
        "WD, 2 + 6 epochs, 1 to 5: -1.0 BLEU (-2.0 to +0.5)",
        "WD, 2 + 6 epochs, 6 and more: -2.0 BLEU (-2.5 to -1.5)",
        "KD student, 6 and more: -4.0 BLEU (-5.0 to -3.0)",
    ]
    assert "teacher" in [text.text for text in root.iter(f"{SVG}text")]


def test_layer_weights_are_written_out() -> None:
    root, _ = drawn(pictures.layer_weights("layer-weights-wd-tiny", {"fc1.weight": [0.25, -1.5]}))
    assert {"fc1.weight", "0.25", "-1.50"} <= {text.text for text in root.iter(f"{SVG}text")}


def test_the_same_picture_is_the_same_file(results: dict[str, Any]) -> None:
    first, second = (pictures.quality_and_speed(Experiment(results), {}).svg("x") for _ in range(2))
    assert first == second


def test_pictures_on_one_page_share_no_identifiers(results: dict[str, Any]) -> None:
    experiment = Experiment(results)
    drawings = [
        pictures.quality_and_speed(experiment, {}),
        *(pictures.gaps(experiment, "tiny", kind, BUCKETS) for kind in ("length", "frequency")),
    ]
    identifiers = [
        element.get("id") for drawing in drawings for element in drawn(drawing)[0].iter() if element.get("id")
    ]
    assert len(identifiers) == len(set(identifiers))
