"""What a vocabulary map keeps of aligned pairs, its file, and what it covers."""

import sys
import sysconfig
from pathlib import Path

import pytest

from weightdistill.decoding.vocabulary_map import ALIGNER, MapSettings, VocabularyMap, count_map, coverage, make_map
from weightdistill.errors import DistillationError

# "ein" is the commonest target piece; "haus" is twice a translation of "house", "hütte" once.
PAIRS = [
    (["a", "house"], ["ein", "haus"]),
    (["a", "house"], ["ein", "haus"]),
    (["a", "house"], ["ein", "hütte"]),
    (["Tom"], ["Tom"]),
]
LINKS = [{(0, 0), (1, 1)}] * 3 + [{(0, 0)}]


def test_candidates_are_the_pieces_linked_often_enough_and_the_commonest_belong_to_all() -> None:
    counted = count_map(PAIRS, LINKS, MapSettings(least=2, common=1))
    assert counted == VocabularyMap(["ein"], {"house": ["haus"], "Tom": ["Tom"]})
    assert count_map(PAIRS, LINKS, MapSettings(least=1, common=1)).candidates["house"] == ["haus", "hütte"]
    assert count_map(PAIRS, LINKS, MapSettings(1, least=1, common=1)).candidates["house"] == ["haus"]
    assert count_map(PAIRS, LINKS, MapSettings(common=4)).candidates == {}


def test_a_piece_may_be_copied_even_if_it_is_linked_too_rarely() -> None:
    assert count_map(PAIRS, LINKS, MapSettings(least=9, common=1)).candidates == {"Tom": ["Tom"]}


def test_the_file_has_ctranslate2s_format(tmp_path: Path) -> None:
    VocabularyMap(["ein", "."], {"house": ["haus", "hütte"], "Tom": ["Tom"]}).write(tmp_path / "vmap.txt")
    assert (tmp_path / "vmap.txt").read_text(encoding="utf-8") == "\tein .\nTom\tTom\nhouse\thaus hütte\n"


def test_coverage_counts_each_sentences_candidates() -> None:
    vocabulary_map = VocabularyMap(["ein"], {"house": ["haus"]})
    result = coverage(vocabulary_map, [(["a", "house"], ["ein", "haus"]), (["Tom"], ["ein", "haus"])])
    assert (result.pairs, result.pieces, result.sentences, result.candidates) == (2, 3 / 4, 1 / 2, 3 / 2)


@pytest.mark.parametrize("field", ["candidates", "least", "common", "pairs"])
def test_settings_out_of_range_are_refused(field: str) -> None:
    with pytest.raises(DistillationError, match=f"{field} must be at least 1, but is 0"):
        MapSettings(**{field: 0})


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, Path]:
    """300 pairs; the translation of piece sN is tN."""
    source, target = tmp_path / "source", tmp_path / "target"
    lines = [[(7 * line + 3 * place) % 40 for place in range(2 + line % 5)] for line in range(300)]
    source.write_text("".join(" ".join(f"s{number}" for number in line) + "\n" for line in lines), encoding="utf-8")
    target.write_text("".join(" ".join(f"t{number}" for number in line) + "\n" for line in lines), encoding="utf-8")
    return source, target


def fake_aligner(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Put a program of eflomal's name, with the same options, into the only folder where it is looked for."""
    program = folder / "bin" / ALIGNER
    program.parent.mkdir()
    head = f"#!{sys.executable}\nimport sys\nfiles = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
    program.write_text(head + code, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(program.parent))


def test_pairs_are_sampled_evenly_and_the_held_out_ones_show_what_is_covered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, corpus: tuple[Path, Path]
) -> None:
    diagonal = """
for line, forward, reverse in [(open(files["-s"]), open(files["-f"], "w"), open(files["-r"], "w"))]:
    for sentence in line:
        forward.write(" ".join(f"{place}-{place}" for place in range(len(sentence.split()))) + "\\n")
        reverse.write("\\n")
"""
    fake_aligner(monkeypatch, tmp_path, diagonal)
    made, covered = make_map(*corpus, MapSettings(common=1))
    assert all(pieces == [f"t{key[1:]}"] for key, pieces in made.candidates.items()) and len(made.candidates) == 39
    assert (covered.pairs, covered.pieces, covered.sentences) == (3, 1, 1)
    assert make_map(*corpus, MapSettings(common=1, pairs=100))[1].pairs == 1


def test_a_failing_aligner_is_named_with_its_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, corpus: tuple[Path, Path]
) -> None:
    fake_aligner(monkeypatch, tmp_path, "sys.exit('Error: no memory')")
    with pytest.raises(DistillationError, match="eflomal failed with exit code 1: Error: no memory"):
        make_map(*corpus, MapSettings())


def test_a_missing_aligner_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, corpus: tuple[Path, Path]
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DistillationError, match=r"needs the aligner eflomal, which is not .* `pip install"):
        make_map(*corpus, MapSettings())


def test_sides_of_different_length_are_refused(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "short").write_text("t1\n", encoding="utf-8")
    with pytest.raises(DistillationError, match=r"same number of lines, but .* has 300 and .*short has 1"):
        make_map(corpus[0], tmp_path / "short", MapSettings())


def test_eflomal_itself_finds_the_translations(corpus: tuple[Path, Path]) -> None:
    pytest.importorskip("eflomal")
    made, covered = make_map(*corpus, MapSettings(common=1))
    right = [f"t{key[1:]}" in pieces for key, pieces in made.candidates.items()]
    assert sum(right) >= 0.9 * len(right) and len(right) >= 35 and covered.pieces > 0.8
