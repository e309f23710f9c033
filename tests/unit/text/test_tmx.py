"""Translation memories give sentence pairs without formatting codes."""

import gzip
from pathlib import Path

import pytest

from weightdistill.errors import DistillationError
from weightdistill.text.tmx import Counts, convert_tmx, read_tmx

TMX = """<?xml version="1.0" encoding="UTF-8" ?>
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="en"><seg>A &amp; <hi>B</hi></seg></tuv><tuv xml:lang="RO"><seg>A
 și B</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>alone</seg></tuv></tu>
<tu><tuv lang="ro-RO"><seg>doi</seg></tuv>
<tuv lang="EN-GB"><seg><bpt i="1">{b}</bpt>two<ept i="1">{/b}</ept></seg></tuv></tu>
</body></tmx>"""


def test_a_translation_memory_is_read(tmp_path: Path) -> None:
    path = tmp_path / "memory.tmx.gz"
    path.write_bytes(gzip.compress(TMX.encode()))
    assert list(read_tmx(path, "en", "ro")) == [("A & B", "A și B"), ("two", "doi")]
    (tmp_path / "broken.tmx").write_text(TMX[:-20])
    with pytest.raises(DistillationError, match=r"broken\.tmx cannot be read as TMX"):
        list(read_tmx(tmp_path / "broken.tmx", "en", "ro"))
    with pytest.raises(DistillationError, match=r"memory\.tmx\.gz has no pair of en and fr; name two languages"):
        list(read_tmx(path, "en", "fr"))


def test_a_memory_is_written_as_parallel_text(tmp_path: Path) -> None:
    (tmp_path / "memory.tmx").write_text(TMX, encoding="utf-8")
    assert convert_tmx(tmp_path / "memory.tmx", "en", "ro", tmp_path / "text") == Counts(2, 1, 0)
    assert (tmp_path / "text.en").read_text(encoding="utf-8") == "A & B\ntwo\n"
    assert (tmp_path / "text.ro").read_text(encoding="utf-8") == "A și B\ndoi\n"


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [(("en-GB", "en-US"), "one"), (("en-GB", "en"), "two"), (("en", "EN"), "one")],
)
def test_further_variants_of_a_language_are_counted(tmp_path: Path, codes: tuple[str, str], sentence: str) -> None:
    variants = zip((*codes, "ro"), ("one", "two", "trei"), strict=True)
    unit = "".join(f'<tuv xml:lang="{code}"><seg>{text}</seg></tuv>' for code, text in variants)
    (tmp_path / "memory.tmx").write_text(f"<tmx><body><tu>{unit}</tu></body></tmx>", encoding="utf-8")
    assert convert_tmx(tmp_path / "memory.tmx", "en", "ro", tmp_path / "text") == Counts(1, 0, 1)
    assert (tmp_path / "text.en").read_text(encoding="utf-8") == f"{sentence}\n"


@pytest.mark.parametrize(
    ("declared", "encoding", "word"),
    [("UTF-16", "utf-16", "și"), ("UTF-16", "utf-16-be", "și"), ("GB2312", "gbk", "镕"), ("big5", "big5", "說")],
)
def test_a_memory_may_be_in_any_encoding(tmp_path: Path, declared: str, encoding: str, word: str) -> None:
    text = TMX.replace("UTF-8", declared).replace("și", word)
    (tmp_path / "memory.tmx").write_bytes(text.encode(encoding))
    assert next(read_tmx(tmp_path / "memory.tmx", "en", "ro")) == ("A & B", f"A {word} B")


@pytest.mark.parametrize(
    ("declared", "encoding", "message"),
    [
        ("klingon", "utf-8", r"encoding must be one that Python knows, but is 'klingon'"),
        *((name, "utf-8", rf"encoding must be one that Python knows, but is '{name}'") for name in ("hex", "rot13")),
        ("GB2312", "latin-1", r"line 4 is not GB18030; declare the encoding that the file is in"),
        ("UTF-16", "utf-8", r"line 1 declares the encoding UTF-16, but is in another"),
        ("UTF-8", "latin-1", r"line 4 is not UTF-8; declare"),
        ("utf-7", "utf-7", r"memory\.tmx cannot be read as TMX: "),
    ],
)
def test_an_encoding_that_is_not_true_is_refused(tmp_path: Path, declared: str, encoding: str, message: str) -> None:
    text = TMX.replace("UTF-8", declared).replace("și", "é\n")
    data = text.encode(encoding) if encoding != "utf-7" else text.encode().replace("é".encode(), b"+2AA-")
    (tmp_path / "memory.tmx").write_bytes(data)
    with pytest.raises(DistillationError, match=message):
        convert_tmx(tmp_path / "memory.tmx", "en", "ro", tmp_path / "text")
    assert [path.name for path in tmp_path.iterdir()] == ["memory.tmx"]


@pytest.mark.parametrize("tag", ["hi", "bpt"])
def test_a_segment_may_be_nested_deeply(tmp_path: Path, tag: str) -> None:
    nested = f"{f'<{tag}>' * 100_000}in{f'</{tag}>' * 100_000}"
    (tmp_path / "memory.tmx").write_text(TMX.replace("alone", "x").replace("doi", f"doi {nested} x"), encoding="utf-8")
    pairs = list(read_tmx(tmp_path / "memory.tmx", "en", "ro"))
    assert pairs[1] == ("two", "doi in x" if tag == "hi" else "doi x")
