"""The corpus that a teacher makes: every source is accounted for, and what is chosen is what was asked for."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from weightdistill.decoding.engines import Hypothesis, Pieces, Search
from weightdistill.distillation.sequence_level import (
    FilterSettings,
    Mixture,
    choose,
    decode_shard,
    each_shard,
    read_shard,
    shard_of,
    source_provenance,
    write_corpus,
)
from weightdistill.errors import DistillationError

SOURCES = [["a", "b"], ["c"], [], ["d", "e", "f"], ["g", "h"]]
REFERENCES = [["B", "A"], ["C"], ["X"], ["F", "E", "D"], ["H", "G"]]


def words(text: str, score: float = -1.0, finished: bool = True) -> Hypothesis:
    return Hypothesis(text.split(), score, finished)


class Engine:
    """Turns sentences round; its second hypothesis is the same in lower case, its third nothing."""

    name, parameters, longest_source = "engine", 1, 3

    def __init__(self, dies_at: int | None = None) -> None:
        self.asked: list[Pieces] = []
        self._dies_at = dies_at

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        self.asked += sentences
        if self._dies_at is not None and len(self.asked) > self._dies_at:
            raise KeyboardInterrupt
        every = [[piece.upper() for piece in reversed(sentence)] for sentence in sentences]
        made = [
            [Hypothesis(own, -0.1, True), Hypothesis([p.lower() for p in own], -0.2, True), Hypothesis([], -9, True)]
            for own in every
        ]
        return [own[: settings.n_best] if own[0].pieces else [] for own in made]


def decoded(folder: Path, shards: int, engine: Engine | None = None, **more: object) -> list[Path]:
    paths = [folder / f"{number}.jsonl" for number in range(shards)]
    for number, path in enumerate(paths):
        lines = shard_of(len(SOURCES), number, shards)
        own = {"teacher": "t", "teacher_sha256": "1", "lines": [lines.start, lines.stop], **more}
        settings = Search(n_best=2)
        decode_shard(engine or Engine(), SOURCES[lines.start : lines.stop], path, settings, own)
    return paths


def merged(paths: list[Path]) -> list[list[Hypothesis]]:
    return [hypotheses for _, part in each_shard(paths, len(SOURCES)) for hypotheses in part]


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 7])
def test_shards_are_all_of_the_corpus_in_order(shards: int) -> None:
    parts = [shard_of(5, number, shards) for number in range(shards)]
    assert [line for part in parts for line in part] == list(range(5))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(DistillationError, match=f"shard must be within 0 and {shards - 1}, but is {shards}"):
        shard_of(5, shards, shards)


def test_merged_shards_are_what_one_engine_says_of_everything(tmp_path: Path) -> None:
    one, three = (merged(decoded(tmp_path / str(n), n)) for n in (1, 3))
    assert one == three == Engine().search(SOURCES, Search(n_best=2))


def test_an_interrupted_decoding_goes_on_with_its_shard(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        decoded(tmp_path, 2, Engine(dies_at=3))
    assert [path.name for path in tmp_path.iterdir()] == ["0.jsonl"]
    engine = Engine()
    decoded(tmp_path, 2, engine)
    assert engine.asked == SOURCES[2:]


def test_a_source_that_the_teacher_cannot_read_is_left_out_and_counted(tmp_path: Path) -> None:
    sources = [["a", "b"], ["a", "b", "c", "d"], []]
    decode_shard(Engine(), sources, tmp_path / "shard", Search(), {})
    corpus = choose(sources, read_shard(tmp_path / "shard")[1], None, FilterSettings())
    assert corpus.pairs == [("a b", "B A")]
    assert {reason: lines for reason, lines in corpus.left_out.items() if lines} == {"too long": [2], "empty": [3]}


def test_a_shard_of_another_decoding_is_not_mixed_with_this(tmp_path: Path) -> None:
    paths = decoded(tmp_path, 2)
    with pytest.raises(DistillationError, match=r"0\.jsonl was decoded with another teacher_sha256 \(1, not 2\)"):
        decoded(tmp_path, 2, teacher_sha256="2")
    decoded(tmp_path, 2, teacher="moved")
    paths[1].unlink()
    other = Search(beam=9, n_best=2)
    decode_shard(Engine(), SOURCES[2:], paths[1], other, {"teacher_sha256": "1", "lines": [2, 5]})
    with pytest.raises(DistillationError, match=r"must be of one decoding, but .*1\.jsonl has another beam than"):
        merged(paths)


def test_no_sentence_is_lost(tmp_path: Path) -> None:
    paths = decoded(tmp_path, 2)
    with pytest.raises(DistillationError, match="the shards have 2 sentences, but the source has 5; decode all shards"):
        merged(paths[:1])
    lines = paths[1].read_text(encoding="utf-8").splitlines(keepends=True)
    paths[1].write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(DistillationError, match=r"1\.jsonl has 2 of 3 sentences; remove it and decode"):
        read_shard(paths[1])
    paths[1].write_text("".join(lines)[:-4], encoding="utf-8")
    with pytest.raises(DistillationError, match=r"1\.jsonl is damaged"):
        read_shard(paths[1])
    with pytest.raises(DistillationError, match=r"absent cannot be read: .*; decode this shard"):
        read_shard(tmp_path / "absent")


def test_what_teaches_nothing_is_left_out_and_counted() -> None:
    hypotheses = [
        [words("B A")],
        [words("c")],  # a copy
        [],  # an empty source
        [words("F E D C B A Z")],  # longer than twice the source
        [words("H G", finished=False)],
    ]
    corpus = choose(SOURCES, hypotheses, None, FilterSettings(max_ratio=2))
    assert corpus.pairs == [("a b", "B A")] and corpus.sentences == 5
    assert {reason: lines for reason, lines in corpus.left_out.items() if lines} == {
        "copy": [2],
        "empty": [3],
        "length ratio": [4],
        "unterminated": [5],
    }
    every = choose(SOURCES, hypotheses, None, FilterSettings(keep_copies=True))
    assert [pair[1] for pair in every.pairs] == ["B A", "c", "F E D C B A Z"]


def test_the_next_hypothesis_takes_the_place_of_one_that_is_left_out() -> None:
    corpus = choose([["c"]], [[words("c"), words("C")]], None, FilterSettings())
    assert corpus.pairs == [("c", "C")] and not any(corpus.counts().values())


@pytest.mark.parametrize(("select", "expected"), [("score", "x y z"), ("bleu", "r s u"), ("chrf", "r s u")])
def test_the_nearest_to_the_reference_is_chosen(select: str, expected: str) -> None:
    hypotheses = [[words("x y z", -0.1), words("r y z", -0.2), words("r s u", -0.3)]]
    corpus = choose([["q"]], hypotheses, [["r", "s", "t"]], FilterSettings(select=select))
    assert corpus.pairs == [("q", expected)]


def test_chrf_looks_through_the_marks_of_subwords() -> None:
    """As characters `▁foot ball` and `▁football` are the same; as pieces they share nothing."""
    hypotheses = [[words("\u2581fo \u2581ball", -0.1), words("\u2581foot ball", -0.2)]]
    for reference in (["\u2581football"], ["foot@@", "ball"]):
        corpus = choose([["q"]], hypotheses, [reference], FilterSettings(select="chrf"))
        assert corpus.pairs == [("q", "\u2581foot ball")]


def test_the_corpus_says_where_it_comes_from(tmp_path: Path) -> None:
    paths = decoded(tmp_path / "shards", 2)
    write_corpus(paths, tmp_path, SOURCES, REFERENCES, FilterSettings(), Mixture(real=2, distilled=1))
    source, target = ((tmp_path / name).read_text(encoding="utf-8").splitlines() for name in ("source", "target"))
    assert source == [" ".join(own) for own in SOURCES] * 2 + ["a b", "c", "d e f", "g h"]
    assert target == [" ".join(own) for own in REFERENCES] * 2 + ["B A", "C", "F E D", "H G"]
    report = json.loads((tmp_path / "distilled.json").read_text(encoding="utf-8"))
    assert (report["sentences"], report["kept"], report["pairs"]) == (5, 4, 14)
    assert report["left_out"]["empty"] == 1 and report["left_out_lines"]["empty"] == [3]
    assert report["teacher"] == "t" and report["n_best"] == 2


def test_the_provenance_is_of_contents(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.bin").write_bytes(b"1")
    (tmp_path / "source").write_text("a\n", encoding="utf-8")
    first = source_provenance(tmp_path / "source", tmp_path / "model", "ctranslate2")
    (tmp_path / "model" / "model.bin").write_bytes(b"2")
    second = source_provenance(tmp_path / "source", tmp_path / "model", "ctranslate2")
    assert first["teacher_sha256"] != second["teacher_sha256"] and first["source_sha256"] == second["source_sha256"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FilterSettings(select="ter"), "select must be one of score, bleu, chrf, but is 'ter'"),
        (lambda: FilterSettings(max_ratio=0.5), "max ratio must be 0 or at least 1, but is 0.5"),
        (lambda: Mixture(0, 0), "must be whole numbers from 0, not both 0, but are 0 and 0"),
        (lambda: Mixture(-1, 1), "but are -1 and 1"),
        (lambda: choose([["a"]], [[]], None, FilterSettings(select="bleu")), "select bleu compares with references"),
    ],
)
def test_impossible_settings_are_refused(make, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        make()


def test_real_pairs_need_references(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="real pairs need references; name their file with --reference"):
        write_corpus([], tmp_path, SOURCES, None, FilterSettings(), Mixture(real=1))
