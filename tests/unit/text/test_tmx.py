"""Translation memories give sentence pairs without formatting codes."""

import gzip
from pathlib import Path

import pytest

from weightdistill.errors import DistillationError
from weightdistill.text.tmx import convert_tmx, read_tmx

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
    assert convert_tmx(tmp_path / "memory.tmx", "en", "ro", tmp_path / "text") == 2
    assert (tmp_path / "text.en").read_text(encoding="utf-8") == "A & B\ntwo\n"
    assert (tmp_path / "text.ro").read_text(encoding="utf-8") == "A și B\ndoi\n"
