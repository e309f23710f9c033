"""The LDC's parallel corpora: documents in two languages and their alignments."""

import gzip
import re
from pathlib import Path

import pytest

from weightdistill.errors import DistillationError
from weightdistill.text.ldc import (
    AlignedText,
    CorpusFiles,
    Link,
    convert_corpus,
    read_aligned,
    read_links,
    read_table,
)

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


def test_links_join_segments_and_dangling_links_are_counted(files: tuple[Path, Path, Path]) -> None:
    chinese, english, alignment = files
    text = read_aligned(chinese, english, "zh", "en", alignment, "big5")
    assert text.pairs == [
        ("他說。", "He spoke. He left."),
        ("我們走吧。", "Let us go."),
        ("你好", "Hello & welcome"),
    ]
    assert (text.one_sided, text.missing) == (1, 2)


def test_without_alignments_equal_ids_belong_together(files: tuple[Path, Path, Path]) -> None:
    chinese, english, _ = files
    text = read_aligned(chinese, english, "zh", "en", encoding="big5")
    assert [pair[1] for pair in text.pairs] == ["He spoke.", "He left.", "Let us go.", "Hello & welcome"]
    assert (text.one_sided, text.missing) == (0, 1)


def test_the_target_may_have_a_different_encoding(files: tuple[Path, Path, Path]) -> None:
    chinese, english, alignment = files
    english.write_bytes(ENGLISH.replace("Hello", "“Hello”").encode("cp1252"))
    with pytest.raises(DistillationError, match=r"en\.sgm: line 7 is not UTF-8; name the file's encoding"):
        read_aligned(chinese, english, "zh", "en", alignment, "big5")
    text = read_aligned(chinese, english, "zh", "en", alignment, "big5", "cp1252")
    assert text.pairs[-1] == ("你好", "“Hello” & welcome")


def test_links_in_the_order_of_the_file(files: tuple[Path, Path, Path]) -> None:
    links = list(read_links(files[2], "en", "zh"))
    assert links[:2] == [Link("M1", ["1", "2"], ["1"]), Link("M1", ["3"], ["2", "3"])]
    assert links[2].source == []


def test_files_that_cannot_be_aligned_are_refused(files: tuple[Path, Path, Path]) -> None:
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


def test_lines_are_read_in_the_encodings_of_both_sides(tmp_path: Path) -> None:
    chinese, english = tmp_path / "a.zh.gz", tmp_path / "a.en"
    chinese.write_bytes(gzip.compress("他說。\n\n".encode("big5")))
    english.write_bytes("He spoke to José.\n \n".encode("cp1252"))
    text = read_aligned(chinese, english, "zh", "en", None, "big5", "cp1252")
    assert text.pairs == [("他說。", "He spoke to José."), ("", "")]
    with pytest.raises(DistillationError, match=r"a\.en: line 1 is not UTF-8; name its encoding"):
        read_aligned(chinese, english, "zh", "en", None, "big5")
    with pytest.raises(DistillationError, match=r"encoding must be one that Python knows, but is 'klingon'"):
        read_aligned(chinese, english, "zh", "en", None, "klingon")


def test_a_table_names_the_files_of_each_part() -> None:
    lines = [b"a.zh\ta.en\t\n", b"b.sgm\tb.en.sgm\tb.align.sgm\n"]
    assert read_table(lines, "table") == [
        CorpusFiles(Path("a.zh"), Path("a.en")),
        CorpusFiles(Path("b.sgm"), Path("b.en.sgm"), Path("b.align.sgm")),
    ]


@pytest.mark.parametrize(("line", "named"), [("a.zh", "['a.zh']"), ("a.zh\t\ta.sgm", "''"), ("a\tb\tc\td", "'d'")])
def test_a_table_with_another_number_of_files_is_refused(line: str, named: str) -> None:
    message = rf"corpus\.files: line 2 must name a source file, .* but is .*{re.escape(named)}.*; fix the line"
    with pytest.raises(DistillationError, match=message):
        read_table([b"a.zh\ta.en\t\n", f"{line}\n".encode()], "corpus.files")


def test_a_corpus_is_written_in_the_order_of_its_parts(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    chinese, english, alignment = files
    lines = CorpusFiles(tmp_path / "lines.zh", tmp_path / "lines.en")
    lines.source.write_text("早\n", encoding="big5")
    lines.target.write_text("Good morning\n", encoding="utf-8")
    reports: list[tuple[CorpusFiles, AlignedText]] = []
    parts = [lines, CorpusFiles(chinese, english, alignment)]
    count = convert_corpus(
        parts, "zh", "en", tmp_path / "text", encoding="big5", report=lambda *report: reports.append(report)
    )
    assert count == 4
    assert (tmp_path / "text.zh").read_text(encoding="utf-8") == "早\n他說。\n我們走吧。\n你好\n"
    english_lines = (tmp_path / "text.en").read_text(encoding="utf-8").splitlines()
    assert english_lines == ["Good morning", "He spoke. He left.", "Let us go.", "Hello & welcome"]
    assert [(part, len(text.pairs), text.missing) for part, text in reports] == [(parts[0], 1, 0), (parts[1], 3, 2)]


def test_markup_is_not_read_as_sentences(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    chinese, english, alignment = files
    renamed = chinese.rename(tmp_path / "zh.txt"), english.rename(tmp_path / "en.txt")
    for path in renamed:
        path.write_text("<DOC docid=M>\n", encoding="utf-8")
    with pytest.raises(
        DistillationError, match=r"zh\.txt: line 1 must be a sentence, but begins with markup .*rename SGML"
    ):
        read_aligned(*renamed, "zh", "en")
    for path, second in zip(renamed, ("<unk> 3 < 4", "<s id=2>"), strict=True):
        path.write_text(f"< 5\n{second}\n", encoding="utf-8")
    with pytest.raises(
        DistillationError, match=r"en\.txt: line 2 must be a sentence, but begins with markup \('<s id=2>'\)"
    ):
        read_aligned(*renamed, "zh", "en")
    for path, text in zip(renamed, (CHINESE, ENGLISH), strict=True):
        path.write_bytes(text.encode("big5"))
    assert len(read_aligned(*renamed, "zh", "en", alignment, "big5").pairs) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"table: line 1 must name a source file and a target file, but the table is empty"),
        ("a.zh\ta.en\n".encode("utf-16"), r"table: line 1 is not UTF-8; convert the file first"),
        ("a.zh\ta.en\n".encode("utf-16-le"), r"table: line 1 holds a NUL character, as UTF-16"),
        (b"a.zh\ta.en\nM\xfcller.zh\tb.en\n", r"table: line 2 is not UTF-8"),
    ],
    ids=["empty", "UTF-16", "UTF-16 without a mark", "Latin-1"],
)
def test_a_table_that_names_no_files_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        read_table(content.splitlines(keepends=True), "table")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ALIGNMENT[:-13], r"line 11: the alignment of document 'M3' has no end tag, so the file is cut"),
        (ALIGNMENT + "<ALIGNM", r"line 12: a tag has no end, so the file is cut"),
        (ALIGNMENT.replace('"4" >', '"4"'), r"line 4: a link is damaged"),
        (ALIGNMENT.replace("<SentPair", "<SentPaar"), r"line 2: a link must be a SentPair"),
    ],
    ids=["no end", "within a tag", "damaged tag", "damaged name"],
)
def test_a_damaged_alignment_loses_no_link(files: tuple[Path, Path, Path], text: str, message: str) -> None:
    files[2].write_text(text, encoding="utf-8")
    with pytest.raises(DistillationError, match=rf"alignment\.sgm: {message}"):
        list(read_links(files[2], "zh", "en"))


def test_a_corpus_without_pairs_is_refused(tmp_path: Path) -> None:
    part = CorpusFiles(tmp_path / "a.zh", tmp_path / "a.en")
    for path in (part.source, part.target):
        path.write_bytes(b"")
    with pytest.raises(DistillationError, match="must get a sentence pair, but there is none; check the input"):
        convert_corpus([part], "zh", "en", tmp_path / "text")
    with pytest.raises(DistillationError, match=r"a line feed is a single byte, but is 'utf-16'; convert"):
        convert_corpus([part], "zh", "en", tmp_path / "text", encoding="utf-16")
    assert {path.name for path in tmp_path.iterdir()} == {"a.zh", "a.en"}
