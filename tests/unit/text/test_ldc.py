"""The LDC's parallel corpora: documents in two languages and their alignments."""

import gzip
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fairseq_plugins.commands import main as cli
from weightdistill.errors import DistillationError
from weightdistill.text.ldc import Link, read_aligned, read_links

CHINESE = """<DOC docid="M1">
<p id=1> <seg id=1> 他說。 </seg>
<seg id=2> 我們 </seg> </p>
<p id=2> <seg id=3> 走吧。 </seg>
<seg id=4> 再見。 </seg> </p>
</DOC>
<DOC docid="M2">
<seg id=1> 你好 </seg>
</DOC>
"""
ENGLISH = """<DOC docid="M1">
<seg id=1> He spoke. </seg>
<seg id=2> He left. </seg>
<seg id=3> Let us go. </seg>
</DOC>
<DOC docid="M2">
<seg id=1> Hello &amp; welcome </seg>
</DOC>
"""
ALIGNMENT = """<ALIGNMENT docid="M1">
<SentPair EnglishSegId= "1,2" ChineseSegId= "1" >
<SentPair EnglishSegId= "3" ChineseSegId= "2, 3" >
<SentPair EnglishSegId= "" ChineseSegId= "4" >
</ALIGNMENT>
<ALIGNMENT docid="M2">
<SentPair EnglishSegId= "1" ChineseSegId= "1" >
<SentPair EnglishSegId= "9" ChineseSegId= "1" >
</ALIGNMENT>
<ALIGNMENT docid="M3">
<SentPair EnglishSegId= "1" ChineseSegId= "1" >
</ALIGNMENT>
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    paths = tmp_path / "zh.sgm", tmp_path / "en.sgm", tmp_path / "alignment.sgm"
    for path, text in zip(paths, (CHINESE, ENGLISH, ALIGNMENT), strict=True):
        path.write_bytes(text.encode("big5"))
    return paths


def test_links_join_segments_and_what_they_miss_is_counted(files: tuple[Path, Path, Path]) -> None:
    chinese, english, alignment = files
    found = read_aligned(chinese, english, "zh", "en", alignment, "big5")
    assert found.pairs == [
        ("他說。", "He spoke. He left."),
        ("我們走吧。", "Let us go."),
        ("你好", "Hello & welcome"),
    ]
    assert (found.one_sided, found.missing) == (1, 2)


def test_without_alignments_equal_ids_belong_together(files: tuple[Path, Path, Path]) -> None:
    chinese, english, _ = files
    found = read_aligned(chinese, english, "zh", "en", encoding="big5")
    assert [pair[1] for pair in found.pairs] == ["He spoke.", "He left.", "Let us go.", "Hello & welcome"]
    assert (found.one_sided, found.missing) == (0, 1)


def test_the_target_has_an_encoding_of_its_own(files: tuple[Path, Path, Path]) -> None:
    chinese, english, alignment = files
    english.write_bytes(ENGLISH.replace("Hello", "“Hello”").encode("cp1252"))
    with pytest.raises(DistillationError, match=r"en\.sgm: line 7 is not utf-8; name the file's encoding"):
        read_aligned(chinese, english, "zh", "en", alignment, "big5")
    found = read_aligned(chinese, english, "zh", "en", alignment, "big5", "cp1252")
    assert found.pairs[-1] == ("你好", "“Hello” & welcome")


def test_links_in_the_order_of_the_file(files: tuple[Path, Path, Path]) -> None:
    links = list(read_links(files[2], "en", "zh"))
    assert links[:2] == [Link("M1", ["1", "2"], ["1"]), Link("M1", ["3"], ["2", "3"])]
    assert links[2].source == []


def test_what_cannot_be_aligned_is_refused(files: tuple[Path, Path, Path]) -> None:
    chinese, english, alignment = files
    with pytest.raises(DistillationError, match=r"language must be one of ar, en, zh, but is 'de'"):
        read_aligned(chinese, english, "zh", "de", alignment, "big5")
    alignment.write_text(ALIGNMENT.replace('docid="M2"', ""))
    with pytest.raises(DistillationError, match=r"alignment\.sgm: line 7: a link must be in an alignment with a docid"):
        read_aligned(chinese, english, "zh", "en", alignment, "big5")
    english.write_text(ENGLISH.replace("M1", "X").replace("M2", "Y"))
    with pytest.raises(DistillationError, match=r"have no segments that belong together"):
        read_aligned(chinese, english, "zh", "en", encoding="big5")
    with pytest.raises(DistillationError, match=r"none cannot be read"):
        read_aligned(chinese.with_name("none"), english, "zh", "en")


def test_a_sentence_a_line_is_read_in_the_encodings_of_both_sides(tmp_path: Path) -> None:
    chinese, english = tmp_path / "a.zh.gz", tmp_path / "a.en"
    chinese.write_bytes(gzip.compress("他說。\n\n".encode("big5")))
    english.write_bytes("He spoke to José.\n \n".encode("cp1252"))
    found = read_aligned(chinese, english, "zh", "en", None, "big5", "cp1252")
    assert found.pairs == [("他說。", "He spoke to José."), ("", "")]
    with pytest.raises(DistillationError, match=r"a\.en: line 1 is not UTF-8; name its encoding"):
        read_aligned(chinese, english, "zh", "en", None, "big5")
    with pytest.raises(DistillationError, match=r"encoding must be one that Python knows, but is 'klingon'"):
        read_aligned(chinese, english, "zh", "en", None, "klingon")


@pytest.mark.parametrize(("line", "named"), [("a.zh", "['a.zh']"), ("a.zh\t\ta.sgm", "''"), ("a\tb\tc\td", "'d'")])
def test_a_table_that_names_no_pair_of_files_is_refused(tmp_path: Path, line: str, named: str) -> None:
    table = tmp_path / "corpus.files"
    table.write_text(f"a.zh\ta.en\t\n{line}\n", encoding="utf-8")
    options = ["--output", str(tmp_path / "text"), "--source", "zh", "--target", "en"]
    result = CliRunner().invoke(cli.app, ["read-ldc", str(table), *options])
    assert isinstance(result.exception, DistillationError)
    assert "corpus.files: line 2 must name two files" in str(result.exception) and named in str(result.exception)


def test_documents_are_not_taken_for_lines(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    chinese, english, alignment = files
    renamed = chinese.rename(tmp_path / "zh.txt"), english.rename(tmp_path / "en.txt")
    for path in renamed:
        path.write_text("<DOC docid=M>\n", encoding="utf-8")
    with pytest.raises(DistillationError, match=r"zh\.txt: line 1 begins with markup .*SGML must be named so"):
        read_aligned(*renamed, "zh", "en")
    for path, second in zip(renamed, ("<unk> 3 < 4", "<s id=2>"), strict=True):
        path.write_text(f"< 5\n{second}\n", encoding="utf-8")
    with pytest.raises(DistillationError, match=r"en\.txt: line 2 begins with markup \('<s id=2>'\)"):
        read_aligned(*renamed, "zh", "en")
    for path, text in zip(renamed, (CHINESE, ENGLISH), strict=True):
        path.write_bytes(text.encode("big5"))
    assert len(read_aligned(*renamed, "zh", "en", alignment, "big5").pairs) == 3
