"""Damaged files of every kind: a reader gives all sentences, or one clear line and no output.

Each file is cut at every place, and some hundred times flipped, recoded and cut within gzip, always alike. Formats of
plain lines (text, tables, dictionaries, codes, maps) cannot tell that they were cut between two lines, nor SGML that it
was cut between two sets with nothing around them. A unit of TMX whose languages are damaged is reported as left out.
"""

import gzip
import json
import logging
import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from fairseq.data import Dictionary
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_plugins import binarised, loading, teachers
from weightdistill import checkpoint, files
from weightdistill.decoding import engines
from weightdistill.decoding.engines import Hypothesis
from weightdistill.distillation.shards import read_shard
from weightdistill.distillation.teacher_cache import Labels, TeacherCache, write_cache
from weightdistill.errors import DistillationError
from weightdistill.text import corpus, coverage, ldc, testsets, tmx
from weightdistill.text.processing import TextProcessing

STORED = Path(__file__).parents[1] / "data" / "release-0.1"

SOURCE = """<?xml version="1.0"?>
<srcset setid="mt" srclang="Chinese">
<DOC docid="A" genre='nw'>
<hl><seg id=1> 标题 </seg></hl>
<p><seg id=2>一 &lt;二&gt; AT&T <!-- 三 --></seg></p>
</DOC>
<doc docid=B>
<seg id="1">第四个句子</seg>
</doc>
</srcset>
"""
REFERENCES = """<refset setid="mt" srclang="Chinese" trglang="English">
<DOC docid="A" sysid="first"><seg id=1>the café</seg><p><seg id=2>it &apos;s two</seg></p></DOC>
<DOC docid="B" sysid="first"><seg id=1>the fourth sentence</seg></DOC>
<DOC docid="A" sysid="second"><SEG ID=1>head</SEG><seg id=2><unk> 2 < 3</seg></DOC>
<DOC docid="B" sysid="second"><seg id=1>four</seg></DOC>
</refset>
"""
WMT = """<?xml version='1.0' encoding='utf-8'?>
<dataset id="newstest2021">
  <doc id="d1" origlang="en">
    <src lang="en"><p><seg id="1">one</seg><seg id="2">two</seg></p></src>
    <ref lang="de" translator="A"><p><seg id="1">eins</seg><seg id="2">zwölf</seg></p></ref>
  </doc>
  <doc id="d2" origlang="de">
    <src lang="en"><p><seg id="1">three</seg></p></src>
    <ref lang="de" translator="A"><p><seg id="1">drei</seg></p></ref>
  </doc>
</dataset>
"""
CHINESE = """<DOC>
<DOCID> M1 </DOCID>
<TEXT><p id=1> <seg id=1> 他說。 </seg>
<seg id=2> 我們走吧。 </seg>
</TEXT></DOC>
"""
ENGLISH = """<DOC docid="M1">
<seg id=1> He spoke. </seg>
<seg id=2> Let us go. </seg>
</DOC>
"""
ALIGNMENT = """<ALIGNMENT docid="M1">
<SentPair EnglishSegId= "1" ChineseSegId= "1" >
<SentPair EnglishSegId= "2" ChineseSegId= "2" >
</ALIGNMENT>
"""
MEMORY = """<?xml version="1.0" encoding="UTF-8" ?>
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="en"><seg>A &amp; <hi>B</hi></seg></tuv><tuv xml:lang="ro"><seg>A
 și B</seg></tuv></tu>
<tu><tuv xml:lang="ro"><seg>doi</seg></tuv>
<tuv xml:lang="en"><seg><bpt i="1">{b}</bpt>two<ept i="1">{/b}</ept></seg></tuv></tu>
</body></tmx>
"""
LINES = {"en": "A dog runs.\nTwo women sing.\nHe sat down.\n", "de": "Ein Hund läuft.\nZwei Frauen singen.\nEr saß.\n"}
CODES = "#version: 0.2\nl o\nlo w</w>\nn e\nne w\nü ß</w>\n"
FASTBPE = "l o 12\nlo w</w> 7\nn e 5\nü ß</w> 2\n"
TRUECASE = "the (10/12) The (2)\nNATO (3/3)\nMüller (4/5) MÜLLER (1)\n"
DICTIONARY = "the 120\n▁der 53\nläuft 7\nmadeupword0000 0\n"
MAP = "\tdie der\n▁dog\tHund Hündin\n▁a\tein eine\n"


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file, and what its format can tell.

    Attributes:
        name: Name for the test.
        make: Writes a whole sample to a folder.
        read: Reads it from a folder, may write to another, and returns the sentences or entries.
        damaged: Names of the files to damage.
        tells_cut: Whether a cut file must be refused.
        counts: Whether a damaged file must be refused or give as many sentences.
        steps: Bytes between two places to cut at.
        examples: Number of random damages.
    """

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path, Path], list[Any]]
    damaged: tuple[str, ...]
    tells_cut: bool = True
    counts: bool = True
    steps: int = 1
    examples: int = 60


def writing(**texts: str | bytes) -> Callable[[Path], None]:
    """Return a function that writes texts to a folder. In their names, __ stands for a full stop."""

    def write(folder: Path) -> None:
        for name, text in texts.items():
            (folder / name.replace("__", ".")).write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def written(folder: Path) -> list[Any]:
    return [line for path in sorted(folder.iterdir()) for line in path.read_text(encoding="utf-8").split("\n")]


def read_sgm(names: tuple[str, ...], folder: Path, output: Path) -> list[Any]:
    testsets.convert_test_set([folder / name for name in names], "zh", "en", output / "set")
    return written(output)


def read_tmx(folder: Path, output: Path) -> list[Any]:
    """Return what was written, and two marks for each unit that gave no pair, which the command reports."""
    counts = tmx.convert_tmx(folder / "memory.tmx", "en", "ro", output / "text")
    return written(output) + [None] * 2 * counts.one_sided


def read_ldc(table: str, folder: Path, output: Path) -> list[Any]:
    """Return what was written, and a mark for each link that gave nothing, which the command reports."""
    lost: list[Any] = []

    def report(part: ldc.CorpusFiles, text: ldc.AlignedText) -> None:
        lost.extend([None] * (text.missing + text.one_sided))

    if table == "table":
        parts = ldc.read_table((folder / "table").read_bytes().splitlines(keepends=True), "table")
    else:
        parts = [ldc.CorpusFiles(*(folder / name for name in table.split()))]
    ldc.convert_corpus(parts, "zh", "en", output / "text", report=report)
    return written(output) + lost


def make_ldc(folder: Path) -> None:
    writing(zh__sgm=CHINESE, en__sgm=ENGLISH, links=ALIGNMENT)(folder)
    (folder / "table").write_text(f"{folder}/zh.sgm\t{folder}/en.sgm\t{folder}/links\n", encoding="utf-8")


def clean(folder: Path, output: Path) -> list[Any]:
    corpus.clean(folder / "text.en", folder / "text.de", output / "text.en", output / "text.de")
    return written(output)


def make_processing(folder: Path, codes: str = CODES) -> None:
    side = {"tokeniser": "moses", "truecase": "truecase"}
    sides = {"source": {"language": "en", **side, "subwords": "codes"}, "target": {"language": "de", **side}}
    writing(text__json=json.dumps({"version": 1, **sides}), codes=codes, truecase=TRUECASE)(folder)


def make_sentencepiece(folder: Path) -> None:
    chance = random.Random(1)
    words = ["the", "dog", "runs", "over", "a", "small", "brown", "house", "women", "walk", "läuft", "über"]
    sentences = iter([" ".join(chance.choices(words, k=8)) for _ in range(300)])
    with (folder / "codes").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences,
            model_writer=file,
            vocab_size=60,
            model_type="bpe",
            minloglevel=2,
            normalization_rule_name="identity",
        )
    writing(
        text__json='{"version": 1, "source": {"language": "en", "subwords": "codes"}, "target": {"language": "de"}}'
    )(folder)


def process(folder: Path, output: Path) -> list[Any]:
    processing = TextProcessing.read(folder)
    processing.write(output)
    return [processing.encode("The new dog läuft low.", "source") != "", processing.decode("the lo@@ w Müller") != ""]


def read_cache(folder: Path, output: Path) -> list[Any]:
    cache = TeacherCache(folder / "cache", verify=True)
    return [cache.sentence(number).indices.shape for number in range(len(cache))]


def read_cache_unverified(folder: Path, output: Path) -> list[Any]:
    cache = TeacherCache(folder / "cache")
    return [cache.sentence(number).indices.shape for number in range(len(cache))]


def make_cache(folder: Path) -> None:
    chance = torch.Generator().manual_seed(1)
    labels = [Labels.of(torch.rand(length, 9, generator=chance).softmax(-1), 3) for length in (2, 1, 4)]
    described = {
        "k": 3,
        "temperature": 1.0,
        "vocabulary": 9,
        "sentences": 3,
        "teachers": [{"sha256": "ab", "path": "t"}],
    }
    write_cache(
        folder / "cache", described, [range(0, 2), range(2, 3)], lambda part: [labels[number] for number in part]
    )


def make_shard(folder: Path) -> None:
    lines = [{"beam": 5, "sentences": 2}, [Hypothesis(["ein", "Hund"], -0.5, True)], []]
    (folder / "shard").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def make_data(folder: Path) -> None:
    shutil.copytree(STORED / "data", folder, dirs_exist_ok=True)


def read_data(folder: Path, output: Path) -> list[Any]:
    return [None] * binarised.take_over(folder, "aa", "bb", output)


def make_old_index(folder: Path) -> None:
    make_data(folder)
    sizes = [3, 1, 4]
    tokens, ends = list(range(1, 9)), [0, 3, 4, 8]
    head = b"TNTIDX\x00\x00" + struct.pack("<QQQQQ", 1, 4, 4, 3, 3)
    for language in ("aa", "bb"):
        numbers = struct.pack("<4q4q3q", *range(4), *ends, *sizes)
        (folder / f"train.aa-bb.{language}.idx").write_bytes(head + numbers)
        (folder / f"train.aa-bb.{language}.bin").write_bytes(struct.pack("<8i", *tokens))


def read_dictionary(folder: Path, output: Path) -> list[Any]:
    coverage.read_dictionary(folder / "dict.txt")
    return list(Dictionary.load(str(folder / "dict.txt")).symbols)


def make_teacher(zipped: bool, folder: Path) -> None:
    make_data(folder)
    state = checkpoint.read(STORED / "teacher.pt")
    torch.save(state, folder / "teacher.pt", _use_new_zipfile_serialization=zipped)


def load_teacher(folder: Path, output: Path) -> list[Any]:
    """What a command does with a teacher: read it, find its shape, and build it for its predictions."""
    path = str(folder / "teacher.pt")
    teacher = teachers.read.__wrapped__(path)
    assert teacher.shape
    task = loading.translation_task(checkpoint.read(path), folder, path)
    teacher.require_dictionaries(task.source_dictionary, task.target_dictionary, str(folder))
    teacher.build(task)
    return [name for name in teacher.raw_state]


def read_map(folder: Path, output: Path) -> list[Any]:
    engines._require_map(folder / "vmap.txt")
    return []


SGM = writing(src__sgm=SOURCE, ref__sgm=REFERENCES)
TEXT = writing(text__en=LINES["en"], text__de=LINES["de"])
SINGLE = SOURCE.partition("\n")[2] + REFERENCES
CACHE_FILES = ("cache/cache.json", *(f"cache/0000{n}.{name}.npy" for n in (0, 1) for name in ("offsets", "values")))
READERS = [
    Reader("read-sgm", SGM, partial(read_sgm, ("src.sgm", "ref.sgm")), ("src.sgm", "ref.sgm"), steps=2, examples=150),
    Reader(
        "mteval", writing(set__sgm=f"<mteval>{SINGLE}</mteval>"), partial(read_sgm, ("set.sgm",)), ("set.sgm",), steps=3
    ),
    Reader("xml", writing(set__xml=WMT), partial(read_sgm, ("set.xml",)), ("set.xml",), steps=3),
    Reader("read-tmx", writing(memory__tmx=MEMORY), read_tmx, ("memory.tmx",), examples=100),
    Reader("read-ldc", make_ldc, partial(read_ldc, "zh.sgm en.sgm"), ("zh.sgm", "en.sgm")),
    Reader("links", make_ldc, partial(read_ldc, "zh.sgm en.sgm links"), ("links", "zh.sgm"), steps=2),
    Reader("table", make_ldc, partial(read_ldc, "table"), ("table",), tells_cut=False),
    Reader("clean", TEXT, clean, ("text.en", "text.de"), tells_cut=False, examples=100),
    Reader("lines", TEXT, lambda folder, _: files.read_lines(folder / "text.de"), ("text.de",), False, False),
    Reader("text.json", make_processing, process, ("text.json",)),
    Reader("codes", make_processing, process, ("codes", "truecase"), tells_cut=False, examples=100),
    Reader("fastBPE", partial(make_processing, codes=FASTBPE), process, ("codes",), tells_cut=False),
    Reader("SentencePiece", make_sentencepiece, process, ("codes",), steps=7),
    Reader("dictionary", writing(dict__txt=DICTIONARY), read_dictionary, ("dict.txt",), tells_cut=False, counts=False),
    Reader("map", writing(vmap__txt=MAP), read_map, ("vmap.txt",), tells_cut=False, counts=False),
    Reader("data", make_data, read_data, ("train.aa-bb.aa.idx", "train.aa-bb.bb.bin"), steps=97),
    Reader("old data", make_old_index, read_data, ("train.aa-bb.aa.idx", "train.aa-bb.bb.bin")),
    Reader("cache", make_cache, read_cache, CACHE_FILES, steps=29),
    Reader("cache, unverified", make_cache, read_cache_unverified, CACHE_FILES, steps=29),
    Reader("shard", make_shard, lambda folder, _: read_shard(folder / "shard")[1], ("shard",)),
    Reader("teacher", partial(make_teacher, True), load_teacher, ("teacher.pt",), steps=9973),
    Reader("old teacher", partial(make_teacher, False), load_teacher, ("teacher.pt",), steps=9973),
]
each_reader = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)


class Sample:
    """A whole sample of a reader in a folder, whose files can be replaced by damaged ones."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.input, self.output = reader, folder / "input", folder / "output"
        self.input.mkdir()
        self.output.mkdir()
        reader.make(self.input)
        self.whole = {name: (self.input / name).read_bytes() for name in reader.damaged}
        self.expected = self.read()

    def read(self) -> list[Any]:
        """Read the sample, and leave the output empty for the next time."""
        try:
            return self.reader.read(self.input, self.output)
        except DistillationError as error:
            assert len(str(error).splitlines()) == 1
            assert not any(path.is_file() for path in self.output.rglob("*")), error
            raise
        finally:
            shutil.rmtree(self.output)
            self.output.mkdir()

    def outcome(self, name: str, damaged: bytes) -> list[Any] | None:
        """Read the sample with one file damaged: what it gives, or None if it is refused."""
        (self.input / name).write_bytes(damaged)
        try:
            return self.read()
        except DistillationError:
            return None
        finally:
            (self.input / name).write_bytes(self.whole[name])


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Let fairseq report no progress, so that only complaints of libraries are on standard error."""
    caplog.set_level(logging.WARNING, "fairseq")


@pytest.fixture
def sample(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(reader, tmp_path_factory.mktemp("fuzzing"))


@each_reader
def test_a_cut_file_gives_all_or_is_refused(sample: Sample, capfd: pytest.CaptureFixture[str]) -> None:
    for name, content in sample.whole.items():
        for length in range(0, len(content), sample.reader.steps):
            outcome = sample.outcome(name, content[:length])
            if sample.reader.tells_cut:
                assert outcome in (None, sample.expected), content[:length]
            elif sample.reader.counts and outcome is not None:
                assert len(outcome) == len(sample.expected), content[:length]
    assert capfd.readouterr().err == ""


@each_reader
def test_a_file_that_is_cut_within_gzip_is_refused(sample: Sample) -> None:
    for name, content in sample.whole.items():
        if name.endswith(".bin"):
            continue  # which holds any bytes
        packed = gzip.compress(content, mtime=0)
        for length in range(0, len(packed), max(1, len(packed) // 20)):
            assert sample.outcome(name, packed[:length]) is None


ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "gb18030", "cp1252", "utf-8-sig"]


@each_reader
def test_another_encoding_gives_the_same_or_is_refused(sample: Sample) -> None:
    for name, content in sample.whole.items():
        for encoding in ENCODINGS:
            try:
                recoded = content.decode("utf-8").encode(encoding)
            except UnicodeError:  # binary data, or characters that it lacks
                continue
            if recoded != content:
                assert sample.outcome(name, recoded) in (None, sample.expected), (name, encoding)


@st.composite
def damage(draw: st.DrawFn, whole: dict[str, bytes]) -> tuple[str, bytes]:
    """One to three bytes of a file that are flipped, made NUL, removed or doubled."""
    name = draw(st.sampled_from(sorted(whole)))
    content = bytearray(whole[name])
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content) - 1))
        kind = draw(st.sampled_from(["flip", "flip", "flip", "any", "NUL", "blank", "bracket"]))
        bit, value = draw(st.integers(0, 7)), draw(st.integers(0, 255))
        content[place] = {"flip": content[place] ^ 1 << bit, "any": value, "NUL": 0, "blank": 32, "bracket": 60}[kind]
    return name, bytes(content)


@each_reader
def test_damaged_bytes_give_all_or_are_refused(sample: Sample) -> None:
    @settings(derandomize=True, database=None, deadline=None, max_examples=sample.reader.examples)
    @given(damage(sample.whole))
    def check(damaged: tuple[str, bytes]) -> None:
        outcome = sample.outcome(*damaged)
        if sample.reader.counts and outcome is not None:
            assert len(outcome) >= len(sample.expected)

    check()
