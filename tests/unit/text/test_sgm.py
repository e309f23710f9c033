"""Test sets of NIST and WMT are read completely, aligned by document and segment, and survive a round trip."""

import codecs
import gzip
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightdistill.errors import DistillationError
from weightdistill.text.sgm import TextSet, read, write_translation

SOURCE = """<?xml version="1.0"?>
<!DOCTYPE mteval SYSTEM "mteval.dtd">
<srcset setid="mt" srclang="Chinese">
<DOC docid="A" genre='nw'>
<hl><seg id=1> 标题 </seg></hl>
<p>
<seg id=2>一 &lt;二&gt; &amp;amp; AT&T
 三</seg>
</p>
</DOC>
<doc docid=B>
<seg id="1">四</seg>
</doc>
</srcset>
"""
REFERENCES = """<refset setid="mt" srclang="Chinese" trglang="English">
<DOC docid="B" sysid="first"><seg id=1>four</seg></DOC>
<DOC docid="A" sysid="first"><p><seg id=2>it &apos;s two</seg></p><seg id=1>title</seg></DOC>
<DOC docid="A" sysid="second"><SEG ID=1>head</SEG><seg id=2><unk> 2 < 3</seg></DOC>
<DOC docid="B" sysid="second"><seg id=1 /></DOC>
</refset>
"""


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk"])
def test_references_come_in_the_order_of_the_source(tmp_path: Path, encoding: str) -> None:
    (source,) = read(write(tmp_path / "src.sgm", SOURCE, encoding))
    first, second = read(write(tmp_path / "ref.sgm", REFERENCES))
    assert (source.kind, source.set_id, source.source_language, len(source)) == ("source", "mt", "Chinese", 3)
    assert source.lines() == ["标题", "一 <二> &amp; AT&T 三", "四"]
    assert (first.system, first.target_language) == ("first", "English")
    assert first.lines(source) == ["title", "it 's two", "four"]
    assert second.lines(source) == ["head", "<unk> 2 < 3", ""]


def test_an_entity_never_breaks_a_line_and_a_declared_encoding_may_be_too_narrow(tmp_path: Path) -> None:
    text = SOURCE.replace("?>", " encoding='GB2312'?>", 1).replace("四", "四&#10;朱镕基&#8232;<!-- x\ny -->")
    (source,) = read(write(tmp_path / "src.sgm", text, "gbk"))
    assert source.lines()[2] == "四 朱镕基"


def test_several_sets_of_one_file_are_several_references(tmp_path: Path) -> None:
    text = "".join(
        f'<refset setid="mt"><doc docid="{document}"{sysid}><seg id="1">{document} {number}</seg></doc></refset>'
        for number, sysid in enumerate(["", "", ' sysid="x"', ' sysid="x"'])
        for document in "AB"
    )
    references = read(write(tmp_path / "ref.sgm", f"<mteval>{text}</mteval>"))
    assert [(reference.system, reference.lines()) for reference in references] == [
        ("", ["A 0", "B 0"]),
        ("#2", ["A 1", "B 1"]),
        ("x", ["A 2", "B 2"]),
        ("x#2", ["A 3", "B 3"]),
    ]


def test_xml_of_wmt(tmp_path: Path) -> None:
    text = """<?xml version='1.0' encoding='utf-8'?>
<dataset id="newstest2021">
  <collection id="general">
  <doc id="d1" origlang="en">
    <src lang="en"><p><seg id="1">one</seg><seg id="2">two</seg></p></src>
    <ref lang="de" translator="A"><p><seg id="1">eins</seg><seg id="2">zwei</seg></p></ref>
    <ref lang="de" translator="B"><p><seg id="1">Eins</seg><seg id="2">Zwei</seg></p></ref>
    <hyp system="online-X" language="de"><p><seg id="1">ein</seg><seg id="2">zwo</seg></p></hyp>
  </doc>
  <doc id="d2" origlang="de">
    <src lang="en"><p><seg id="1">three</seg></p></src>
    <ref lang="de" translator="B"><p><seg id="1">Drei</seg></p></ref>
    <ref lang="de" translator="A"><p><seg id="1">drei</seg></p></ref>
    <hyp system="online-X" language="de"><p><seg id="1">3</seg></p></hyp>
  </doc>
  </collection>
</dataset>"""
    sets = read(write(tmp_path / "newstest.xml", text))
    assert [(str(text_set), text_set.lines(sets[0])) for text_set in sets] == [
        ("source", ["one", "two", "three"]),
        ("reference 'A'", ["eins", "zwei", "drei"]),
        ("reference 'B'", ["Eins", "Zwei", "Drei"]),
        ("translation 'online-X'", ["ein", "zwo", "3"]),
    ]
    assert (sets[0].source_language, sets[1].target_language, sets[1].set_id) == ("en", "de", "newstest2021")


@given(
    st.dictionaries(
        st.text("ab1-", min_size=1),
        st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1),
        min_size=1,
    )
)
def test_written_translations_are_read_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, documents: dict[str, list[str]]
) -> None:
    source = TextSet("source", "", "set", "Chinese")
    source.documents = {name: {str(i): "x" for i in range(len(lines))} for name, lines in documents.items()}
    path = tmp_path_factory.mktemp("sgm") / "tst.sgm"
    lines = [line for document in documents.values() for line in document]
    write_translation(path, lines, source, "a & b", "English")
    (translation,) = read(path)
    assert (translation.kind, translation.system, translation.target_language) == ("translation", "a & b", "English")
    assert translation.lines(source) == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SOURCE.replace("</seg>\n</doc>", "\n</doc>"), r"line 12: segment '1' has no end tag"),
        (SOURCE.replace("id=2>", "id=1>"), r"line 7: document 'A' has segment '1' twice"),
        (SOURCE.replace("docid=B", "docid=A"), r"line 11: the source has document 'A' twice"),
        (SOURCE.replace(" id=2", ""), r"line 7: a segment must have an id"),
        (SOURCE.replace(" docid=B", ""), r"line 11: a document must have a docid"),
        (SOURCE.replace("<doc docid=B>", ""), r"line 12: a segment is in no document"),
        (
            SOURCE.replace("标题", "标<!--题").replace("三", "三-->"),
            r"line 5: segment '1' holds '</seg' in a comment or a tag without an end",
        ),
        (SOURCE.replace("标题", "标<seg id=3"), r"line 5: segment '1' holds '<seg' in a comment or a tag without"),
        ("no tags at all", r"holds no segments"),
    ],
)
def test_an_error_names_the_line_of_a_broken_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DistillationError, match=rf"src\.sgm.*{message}"):
        read(write(tmp_path / "src.sgm", text))


@pytest.mark.parametrize("head", ["<DOC docid=A>", "<DOC>\n<DOCID> A </DOCID>", "<doc>\n<docno>A</docno>"])
def test_documents_may_be_outside_any_set(tmp_path: Path, head: str) -> None:
    text = f"{head}\n<TEXT><p id=1>\n<seg id=1> one </seg>\n<seg id=2> two </seg>\n</p></TEXT>\n</DOC>\n"
    (text_set,) = read(write(tmp_path / "text.sgm", text + text.replace("A", "B", 1) if "=A" in head else text))
    assert text_set.kind == "text"
    assert text_set.documents["A"] == {"1": "one", "2": "two"}
    with pytest.raises(DistillationError, match=r"line 1: a segment is in no document"):
        read(write(tmp_path / "nameless.sgm", "<DOC><seg id=1> one </seg></DOC>"))


def test_missing_and_extra_segments_are_named(tmp_path: Path) -> None:
    (source,) = read(write(tmp_path / "src.sgm", SOURCE))
    for old, new, message in (
        ("<seg id=1>title</seg>", "", r"document 'A', segment '1' is in the source, but not in the reference 'first'"),
        ("<seg id=1>four", "<seg id=7>x</seg><seg id=1>four", r"segment '7' is in the reference 'first', but not in"),
        ('docid="B" sysid="first"', 'docid="C" sysid="first"', r"document 'B' is in the source, but not in the ref"),
    ):
        first, _ = read(write(tmp_path / "ref.sgm", REFERENCES.replace(old, new)))
        with pytest.raises(DistillationError, match=message):
            first.lines(source)


def test_english_in_latin_1_does_not_become_chinese(tmp_path: Path) -> None:
    path = write(tmp_path / "ref.sgm", REFERENCES.replace("four", "Peña"), "latin-1")
    with pytest.raises(DistillationError, match=r"line 2 is not utf-8, and no set is Chinese; name the"):
        read(path)
    assert read(path, "latin-1")[0].documents["B"]["1"] == "Peña"


def test_references_may_have_a_different_encoding(tmp_path: Path) -> None:
    source = write(tmp_path / "src.sgm", SOURCE, "gb18030")
    references = write(tmp_path / "ref.sgm", REFERENCES.replace("four", "Peña"), "latin-1")
    (source_set,) = read(source, "gb18030", "latin-1")
    assert source_set.lines()[0] == "标题"
    assert read(references, "gb18030", "latin-1")[0].documents["B"]["1"] == "Peña"
    reading, sending = os.pipe()  # which can be read once
    os.write(sending, references.read_bytes())
    os.close(sending)
    assert read(f"/dev/fd/{reading}", "gb18030", "latin-1")[0].documents["B"]["1"] == "Peña"
    os.close(reading)


def test_an_empty_segment_is_named(tmp_path: Path) -> None:
    first, second = read(write(tmp_path / "ref.sgm", REFERENCES))
    first.require_text()
    with pytest.raises(DistillationError, match="document 'B', segment '1' of the reference 'second' is empty"):
        second.require_text()


def test_encoding_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "src.sgm"
    path.write_bytes(SOURCE.encode() + b"\xff\xff")
    with pytest.raises(DistillationError, match=r"line 15 is not UTF-8; name"):
        read(path)
    path.write_bytes(SOURCE.replace("?>", " encoding='UTF-8'?>", 1).encode("gbk"))
    with pytest.raises(DistillationError, match=r"line 5 is not UTF-8; name"):
        read(path)
    path.write_bytes(SOURCE.encode())
    with pytest.raises(DistillationError, match=r"line 5 is not ASCII"):
        read(path, "ascii")
    with pytest.raises(DistillationError, match=r"encoding must be one that Python knows, but is 'klingon'"):
        read(path, "klingon")
    with pytest.raises(DistillationError, match=r"lost\.sgm cannot be read"):
        read(tmp_path / "lost.sgm")


def test_another_number_of_translations_is_refused(tmp_path: Path) -> None:
    (source,) = read(write(tmp_path / "src.sgm", SOURCE))
    with pytest.raises(DistillationError, match="each of the 3 segments, but there are 2"):
        write_translation(tmp_path / "tst.sgm", ["a", "b"], source, "x", "English")


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ("<doc docid=B>\n<seg i", r"line 11: <doc> has no end tag"),
        ("四</seg>\n", r"line 11: <doc> has no end tag, so the file is cut"),
        ("四</se", r"line 12: segment '1' has no end tag"),
        ("</doc>\n", r"line 3: <srcset> has no end tag, so the file is cut"),
        ("</doc>\n</srcs", r"line 3: <srcset> has no end tag, so the file is cut"),
    ],
    ids=["within a tag", "after a segment", "within a segment", "after a document", "within the last tag"],
)
def test_a_file_that_is_cut_is_refused(tmp_path: Path, kept: str, message: str) -> None:
    text = SOURCE[: SOURCE.index(kept) + len(kept)]
    with pytest.raises(DistillationError, match=rf"src\.sgm: {message}"):
        read(write(tmp_path / "src.sgm", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            REFERENCES.replace('</DOC>\n<DOC docid="A" sysid="f', '\n<DOC docid="A" sysid="f'),
            r"line 2: <doc> has no end tag",
        ),
        (REFERENCES.replace("<seg id=1>four", "<sag id=1>four"), r"line 2: </seg> ends what has not begun"),
        (SOURCE.replace("<srcset", "<sacset"), r"line 14: </srcset> ends what has not begun"),
        (f"<mteval>{SOURCE}", r"line 1: <mteval> has no end tag, so the file is cut"),
        ("<DOC docid=A><seg id=1>x</seg></DOC>\n<DOC docid", r"line 2: a tag has no end, so the file is cut"),
    ],
    ids=["no end", "damaged start", "damaged set", "wrapper", "document outside a set"],
)
def test_elements_that_do_not_begin_or_end_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DistillationError, match=rf"set\.sgm: {message}"):
        read(write(tmp_path / "set.sgm", text))


@pytest.mark.parametrize("declaration", ["", " encoding='UTF-16'"])
@pytest.mark.parametrize(
    ("mark", "encoding"), [(codecs.BOM_UTF16_LE, "utf-16-le"), (b"", "utf-16-le"), (b"", "utf-16-be"), (b"", "utf-32")]
)
def test_wide_characters_and_gzip_are_found_out(tmp_path: Path, mark: bytes, encoding: str, declaration: str) -> None:
    data = mark + SOURCE.replace("?>", f"{declaration}?>", 1).encode(encoding)
    for content in (data, gzip.compress(data)):
        (tmp_path / "src.sgm").write_bytes(content)
        assert read(tmp_path / "src.sgm")[0].lines()[0] == "标题"


def test_a_declaration_of_utf_16_that_is_not_true_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "src.sgm", SOURCE.replace("?>", " encoding='UTF-16'?>", 1))
    with pytest.raises(DistillationError, match=r"line 1 declares the encoding UTF-16, but is in another; name"):
        read(path)
    assert read(path, "utf-8")[0].lines()[2] == "四"


def test_a_damaged_byte_does_not_make_chinese_another_encoding(tmp_path: Path) -> None:
    text = SOURCE.replace("四", "四五").encode().replace("标".encode(), b"\xe6\xa0")
    (tmp_path / "src.sgm").write_bytes(text)
    with pytest.raises(DistillationError, match=r"line 5 is not UTF-8; name the file's encoding, or fix the line"):
        read(tmp_path / "src.sgm")


HOSTILE = ["<!--", "<!", "<?a ", "<a ", "<aa", "&", "&#1", "&a", "<!-- -->", "-->", "<a b", "<a b='", "<a b=\"' ", " "]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_linear_time(tmp_path: Path, unit: str) -> None:
    """A megabyte took a second at most; 60,000 comments without ends had taken 49."""
    text = unit * (10**6 // len(unit))
    for whole in (SOURCE.replace("四", text), SOURCE + text, text + SOURCE, SOURCE.replace("genre='nw'", text + ">")):
        begun = time.process_time()
        try:
            read(write(tmp_path / "src.sgm", whole))
        except DistillationError as error:
            assert "src.sgm: line" in str(error)
        assert time.process_time() - begun < 4


def test_many_sets_take_linear_time(tmp_path: Path) -> None:
    sets = '<refset sysid="a"><doc docid="A"><seg id="1">x</seg></doc></refset>' * 15_000
    begun = time.process_time()
    references = read(write(tmp_path / "ref.sgm", sets))
    assert [reference.system for reference in references[:3]] == ["a", "a#2", "a#3"] and len(references) == 15_000
    assert time.process_time() - begun < 4
