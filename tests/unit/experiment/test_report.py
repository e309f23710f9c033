"""The page on an experiment: what it must hold, and that it can be made of committed results alone."""

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from weightdistill.experiment.report import main, render
from weightdistill.experiment.settings import read

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
COMMITTED = sorted(path.parent for path in EXPERIMENTS.glob("*/results/results.json"))
SHARED = {"en-ro": ["small.yaml"], "tatoeba-de-en": ["small.yaml"]}


class Elements(HTMLParser):
    """All elements with their attributes and those around them, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs), list(self.open)))
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs), list(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes another element"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, tag: str) -> list[tuple[dict[str, str | None], list[str]]]:
        return [(attributes, around) for name, attributes, around in self.all if name == tag]


def rendered(results: dict[str, Any], gathered: dict[str, Any], output: Path) -> tuple[str, str, Elements]:
    render(results, gathered, output)
    return parsed(output)


def parsed(folder: Path) -> tuple[str, str, Elements]:
    markdown, page = ((folder / f"report.{form}").read_text(encoding="utf-8") for form in ("md", "html"))
    elements = Elements(page)
    assert not elements.open, "every element is closed"
    return markdown, page, elements


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page of the whole experiment lies."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture
def page(results: dict[str, Any], gathered: dict[str, Any], folder: Path) -> tuple[str, str, Elements]:
    """That page in Markdown and in HTML, and the latter's elements; rendered by the first test that asks."""
    if (folder / "report.html").exists():
        return parsed(folder)
    return rendered(results, gathered | {"date": "2026-02-03"}, folder)


def test_the_page_opens_with_its_title_and_result(page: tuple[str, str, Elements]) -> None:
    markdown, html, _ = page
    assert markdown.startswith("# A toy\n\n**The best TINY student translates 4.0 times as fast as the teacher and ")
    assert html.index("<h1>A toy</h1>") < html.index("The best TINY student") < html.index("<h2>Result</h2>")
    for text in (markdown, html):
        assert "Invented sentences." in text and "3 February 2026" in text
        assert "A processor, 2 cores; no GPU" in text


def test_tables_sort_and_the_best_is_bold(page: tuple[str, str, Elements]) -> None:
    markdown, html, elements = page
    tables = [attributes for attributes, _ in elements.named("table") if attributes.get("class") == "sortable"]
    assert len(tables) == 3, "TINY, its variants of weight distillation, and SMALL"
    assert 'addEventListener("click"' in html and "aria-sort" in html
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", html), "nothing comes from the network"
    first = html[html.index('class="sortable"') :]
    row = first[first.index("copied layers") : first.index("</tr>", first.index("copied layers"))]
    # best on here, not on the validation set and not there
    assert re.findall(r'data-value="(?:[\d.]+)">(.*?)</td>', row)[1:4] == [
        "28.1 ± 0.1",
        "<strong>28.0 ± 0.0</strong>",
        "17.0 ± 0.0",
    ]
    assert "| WD, 2 + 6 epochs" in markdown and "**29.1 ± 0.1**" in markdown


def test_numbers_are_sorted_by_value_not_by_text(results: dict[str, Any], tmp_path: Path) -> None:
    results["rows"][1]["training_seconds"]["mean"] = 36_000_000.0
    _, page, _ = rendered(results, {}, tmp_path)
    assert 'data-value="36000000.0">10000 h</td>' in page


def test_variants_are_folded_and_names_explained(page: tuple[str, str, Elements]) -> None:
    markdown, html, _ = page
    for text in (markdown, html):
        folded = "".join(re.findall("<details>.*?</details>", text, re.DOTALL))
        assert "Weight distillation: 1 variant" in folded and "Learns no W_L." in folded
        rest = re.sub("<svg.*?</svg>", "", re.sub("<details>.*?</details>", "", text, flags=re.DOTALL), flags=re.DOTALL)
        assert "WD, W_L fixed" not in re.sub(r"!\[.*\]", "", rest)
        assert "In phases." in rest and "Random weights." in rest
        for term in ("Subset", "Two numbers of epochs in a name, such as 6 + 10", "Bits per token", "W_I, W_O, W_L"):
            assert term in rest


def test_comparisons_keep_their_p_values(page: tuple[str, str, Elements]) -> None:
    markdown, _, _ = page
    minus = "\N{MINUS SIGN}"
    (teacher,) = re.findall(r"^\| teacher +\| +(\S+) +\| +(.*?) +\| +(.*?) \|$", markdown.split("### SMALL")[0], re.M)
    assert teacher == (f"{minus}1.9", f"{minus}2.8, p = 0.200", f"**{minus}0.8, p = 0.010**")


def test_examples_show_teacher_and_best_students(page: tuple[str, str, Elements], gathered: dict[str, Any]) -> None:
    markdown, html, elements = page
    (first, *_) = gathered["examples"]["sentences"]
    for text in (markdown, html):
        assert "WD, 2 + 6 epochs, TINY" in text and first["source"] in text and first["reference"] in text
    assert ' <span class="miss">wrong</span> .' in html, "words that the reference does not have are marked"
    languages = [attributes["lang"] for attributes, _ in elements.named("dd") if "lang" in attributes]
    assert languages[:5] == ["en", "de", "de", "de", "de"]


def test_text_of_a_test_set_cannot_break_the_page(
    results: dict[str, Any], gathered: dict[str, Any], tmp_path: Path
) -> None:
    (sentence, *_) = gathered["examples"]["sentences"]
    example = sentence | {"source": "<script>alert(1)</script> a | b"}
    markdown, page, _ = rendered(results, {"examples": {"test": "here", "sentences": [example]}}, tmp_path)
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert r"a \| b" in markdown


def check_widths(page: str, elements: Elements) -> None:
    """Whatever may be wide shrinks with the page, or scrolls in a frame of its own."""
    for tag in ("table", "svg", "img"):
        for attributes, around in elements.named(tag):
            assert "max-width:100%" in (attributes["style"] or "")
            assert "div" in around
    frames = [attributes for attributes, _ in elements.named("div") if attributes.get("class") == "wide"]
    count = sum(len(elements.named(tag)) for tag in ("table", "svg", "img"))
    assert len(frames) == count and re.search(r"\.wide \{[^}]*max-width: 100%; overflow-x: auto;", page)


def check_accessibility(markdown: str, page: str, elements: Elements) -> None:
    assert '<html lang="en">' in page and 'name="viewport"' in page
    for attributes, _ in elements.named("svg"):
        assert attributes["role"] == "img" and len(attributes["aria-label"] or "") > 20
    for attributes, _ in elements.named("img"):
        assert len(attributes["alt"] or "") > 20
    for attributes, _ in elements.named("th"):
        assert attributes["scope"] in ("col", "row")
    assert all(len(text) > 20 for text in re.findall(r"!\[(.*)\]\(", markdown))


def test_nothing_is_wider_than_the_page_and_everything_has_a_text(
    page: tuple[str, str, Elements], folder: Path
) -> None:
    markdown, html, elements = page
    assert len([1 for _, around in elements.named("svg")]) == 1 + 1 + 4 + 1, "quality, curves, gaps, W_L"
    check_widths(html, elements)
    check_accessibility(markdown, html, elements)
    identifiers = [attributes["id"] for _, attributes, _ in elements.all if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    # the Markdown shows the same pictures as files
    files = re.findall(r"!\[.*\]\((.*)\)", markdown)
    assert len(files) == 7 and all((folder / file).stat().st_size for file in files)


def test_parts_that_are_not_known_are_left_out(results: dict[str, Any], tmp_path: Path) -> None:
    markdown, page, _ = rendered(results, {}, tmp_path)
    for heading in ("Validation loss", "Gap to the teacher", "Example translations", "What the generator takes"):
        assert heading not in markdown and heading not in page
    assert "Measured" not in markdown and "bits per token" not in markdown.split("## Terms")[0]
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["quality-speed.svg", "report.html", "report.md"]


def test_pictures_of_an_earlier_report_stand_in_for_what_is_not_known(
    results: dict[str, Any], gathered: dict[str, Any], tmp_path: Path
) -> None:
    names = ("curves-tiny.png", "length-small.png", "layer-weights-wd-tiny.png")
    for name in names:
        (tmp_path / name).write_bytes(b"png")
    markdown, page, elements = rendered(results, {}, tmp_path)
    assert [attributes["src"] for attributes, _ in elements.named("img")] == list(names)
    assert all("details" in around for _, around in elements.named("img")), "they are folded"
    assert page.count("its colours are not those of the other pictures") == 2 * 2, (
        "W_L has no methods; label and caption"
    )
    check_widths(page, elements)
    check_accessibility(markdown, page, elements)
    known = {name: value for name, value in gathered.items() if name != "gaps"}
    _, _, elements = rendered(results, known, tmp_path)
    assert [attributes["src"] for attributes, _ in elements.named("img")] == ["length-small.png"]


def test_many_test_sets_become_their_mean(results: dict[str, Any], tmp_path: Path) -> None:
    for name in ("third", "fourth"):
        results["config"]["tests"].append(name)
        results["config"]["evaluated"].append(name)
        for row in results["rows"]:
            row["scores"][name] = row["scores"]["here"]
    markdown, _, _ = rendered(results, {}, tmp_path)
    assert "BLEU, mean of 4 test sets" in markdown.split("## TINY students")[1]


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.parent.name)
def test_committed_pages_are_those_of_their_results(folder: Path, tmp_path: Path) -> None:
    """Where this fails, render the page again: the module's first lines say how."""
    for path in folder.glob("*.png"):
        shutil.copy(path, tmp_path)
    results, gathered = (json.loads((folder / f"{name}.json").read_text()) for name in ("results", "report"))
    experiment, presentation = folder.parent, None
    if (experiment / "config.yaml").exists():  # own-teacher's settings are options of a command
        files = [EXPERIMENTS / name for name in SHARED.get(experiment.name, [])]
        settings = read([*files, experiment / "config.yaml"])
        # notes on other settings than those that were run could be untrue
        presentation = settings if settings.fingerprint() == results["settings_sha256"] else None
    render(results, gathered, tmp_path, presentation)
    markdown, page = ((tmp_path / f"report.{form}").read_text() for form in ("md", "html"))
    elements = Elements(page)
    check_widths(page, elements)
    check_accessibility(markdown, page, elements)
    assert markdown == (folder / "report.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"!\[.*\]\((.*)\)", markdown))
    pictures = {path.name for path in folder.iterdir() if path.suffix in (".png", ".svg")}
    assert pictures == shown, "no picture is missing, and none is left of an earlier report"


def test_the_command_gathers_and_then_renders_without_the_folder(
    results: dict[str, Any], work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results))
    command = ["report", "--results", str(tmp_path / "results.json")]
    monkeypatch.setattr(sys, "argv", [*command, "--work", str(work), "--output", str(tmp_path / "first")])
    main()
    assert json.loads((tmp_path / "report.json").read_text())["layer_weights"]
    monkeypatch.setattr(sys, "argv", [*command, "--output", str(tmp_path / "second")])
    main()
    first, second = (
        {path.name: path.read_text() for path in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert first == second and len(first) == 9
