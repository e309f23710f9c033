"""Test sets become text files whose lines align; translations become a tstset."""

from pathlib import Path

import pytest

from weightdistill.errors import DistillationError
from weightdistill.text.sgm import read
from weightdistill.text.testsets import convert_test_set, convert_translations

SOURCE = """<srcset setid="mt" srclang="Chinese">
<doc docid="A"><seg id="1">一</seg><seg id="2">二</seg></doc>
<doc docid="B"><seg id="1">三</seg></doc>
</srcset>
"""
REFERENCES = """<refset setid="mt" srclang="Chinese" trglang="English">
<doc docid="B" sysid="x"><seg id="1">three</seg></doc>
<doc docid="A" sysid="x"><seg id="2">two</seg><seg id="1">one</seg></doc>
<doc docid="A" sysid="y"><seg id="1">One</seg><seg id="2">Two</seg></doc>
<doc docid="B" sysid="y"><seg id="1">Three</seg></doc>
</refset>
"""
TRANSLATION = REFERENCES.replace("refset", "tstset")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The source and the references, each in a file."""
    paths = [tmp_path / "src.sgm", tmp_path / "ref.sgm"]
    for path, text in zip(paths, (SOURCE, REFERENCES), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def texts(folder: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text(encoding="utf-8").splitlines() for path in folder.glob("mt.*")}


def test_all_references_are_written_in_the_order_of_the_source(files: list[Path], tmp_path: Path) -> None:
    written = convert_test_set(files, "zh", "en", tmp_path / "mt")
    assert {path.name: (str(text_set), len(text_set)) for path, text_set in written.items()} == {
        "mt.en.0": ("reference 'x'", 3),
        "mt.en.1": ("reference 'y'", 3),
        "mt.zh": ("source", 3),
    }
    assert texts(tmp_path) == {
        "mt.zh": ["一", "二", "三"],
        "mt.en.0": ["one", "two", "three"],
        "mt.en.1": ["One", "Two", "Three"],
    }


def test_a_single_reference_has_no_number(files: list[Path], tmp_path: Path) -> None:
    convert_test_set(files, "zh", "en", tmp_path / "mt", references=["y"])
    assert texts(tmp_path) == {"mt.zh": ["一", "二", "三"], "mt.en": ["One", "Two", "Three"]}


def test_references_without_a_source_keep_their_own_order(files: list[Path], tmp_path: Path) -> None:
    convert_test_set(files[1:], "zh", "en", tmp_path / "mt")
    assert texts(tmp_path) == {"mt.en.0": ["three", "two", "one"], "mt.en.1": ["Three", "Two", "One"]}


def test_an_unknown_reference_is_refused(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="--reference must be one of x, y, but is z"):
        convert_test_set(files, "zh", "en", tmp_path / "mt", references=["x", "z"])


def test_an_unusable_test_set_is_refused_and_nothing_is_written(files: list[Path], tmp_path: Path) -> None:
    second = tmp_path / "second.sgm"
    for text, message in (
        (SOURCE, r"must have one source, but .*src\.sgm, .*second\.sgm hold 2"),
        (REFERENCES.replace("three", ""), r"document 'B', segment '1' of the reference 'x' is empty"),
        (REFERENCES.replace('<seg id="1">three</seg>', ""), r"segment '1' is in the source, but not in the reference"),
    ):
        second.write_text(text, encoding="utf-8")
        with pytest.raises(DistillationError, match=message):
            convert_test_set([files[0], second], "zh", "en", tmp_path / "mt")
    second.write_text(TRANSLATION, encoding="utf-8")
    with pytest.raises(DistillationError, match=r"second\.sgm hold only translation 'x', translation 'y'; name"):
        convert_test_set([second], "zh", "en", tmp_path / "mt")
    assert texts(tmp_path) == {}


def test_translations_become_a_tstset(files: list[Path], tmp_path: Path) -> None:
    translations, output = tmp_path / "translations", tmp_path / "tst.sgm"
    translations.write_text("1\n2\n3\n", encoding="utf-8")
    source = convert_translations(translations, files[0], output, "system", "English")
    (translation,) = read(output)
    assert translation.lines(source) == ["1", "2", "3"] and translation.system == "system"
    with pytest.raises(DistillationError, match=r"ref\.sgm must hold one srcset, but holds 0; name the file"):
        convert_translations(translations, files[1], output, "system", "English")
