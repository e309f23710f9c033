"""Shards cover a corpus, resume after an interruption, and are never mixed with those of another decoding."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from weightdistill.decoding.engines import Hypothesis, Pieces, Search
from weightdistill.distillation.shards import decode_shard, read_shard, read_shards, shard_of, source_provenance
from weightdistill.errors import DistillationError

SOURCES = [["a", "b"], ["c"], [], ["d", "e", "f"], ["g", "h"]]


class Engine:
    """Reverses sentences and writes them in upper case; its second hypothesis is in lower case."""

    name, parameters, longest_source = "engine", 1, 3

    def __init__(self, interrupted_at: int | None = None) -> None:
        self.searched: list[Pieces] = []
        self._interrupted_at = interrupted_at

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        self.searched += sentences
        if self._interrupted_at is not None and len(self.searched) > self._interrupted_at:
            raise KeyboardInterrupt
        n_best = []
        for sentence in sentences:
            pieces = sentence[::-1]
            hypotheses = [Hypothesis([piece.upper() for piece in pieces], -0.1, True), Hypothesis(pieces, -0.2, True)]
            n_best.append(hypotheses[: settings.n_best] if sentence else [])
        return n_best


def decode(folder: Path, shards: int, engine: Engine | None = None, **changes: object) -> list[Path]:
    """Decode all shards of SOURCES; `changes` replace parts of the provenance."""
    paths = [folder / f"{number}.jsonl" for number in range(shards)]
    for number, path in enumerate(paths):
        lines = shard_of(len(SOURCES), number, shards)
        provenance = {"teacher": "t", "teacher_sha256": "1", "lines": [lines.start, lines.stop], **changes}
        decode_shard(engine or Engine(), SOURCES[lines.start : lines.stop], path, Search(n_best=2), provenance)
    return paths


def merge(paths: list[Path]) -> list[list[Hypothesis]]:
    return [hypotheses for _, part in read_shards(paths, len(SOURCES)) for hypotheses in part]


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 7])
def test_shards_cover_the_corpus_in_order(shards: int) -> None:
    parts = [shard_of(5, number, shards) for number in range(shards)]
    assert [line for part in parts for line in part] == list(range(5))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(DistillationError, match=f"shard must be within 0 and {shards - 1}, but is {shards}"):
        shard_of(5, shards, shards)


def test_merged_shards_equal_one_decoding_of_the_whole_corpus(tmp_path: Path) -> None:
    one, three = (merge(decode(tmp_path / str(count), count)) for count in (1, 3))
    assert one == three == Engine().search(SOURCES, Search(n_best=2))


def test_an_interrupted_decoding_resumes_with_the_unfinished_shard(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        decode(tmp_path, 2, Engine(interrupted_at=3))
    assert [path.name for path in tmp_path.iterdir()] == ["0.jsonl"]
    engine = Engine()
    decode(tmp_path, 2, engine)
    assert engine.searched == SOURCES[2:]


def test_an_over_long_source_gets_no_hypotheses(tmp_path: Path) -> None:
    decode_shard(Engine(), [["a", "b"], ["a", "b", "c", "d"]], tmp_path / "shard", Search(), {})
    assert read_shard(tmp_path / "shard")[1] == [[Hypothesis(["B", "A"], -0.1, True)], []]


def test_shards_of_different_decodings_are_not_mixed(tmp_path: Path) -> None:
    paths = decode(tmp_path, 2)
    message = r"0\.jsonl must have been decoded with teacher_sha256 2, but has 1; remove it, or name another folder"
    with pytest.raises(DistillationError, match=message):
        decode(tmp_path, 2, teacher_sha256="2")
    decode(tmp_path, 2, teacher="moved")
    paths[1].unlink()
    search = Search(beam=9, n_best=2)
    decode_shard(Engine(), SOURCES[2:], paths[1], search, {"teacher_sha256": "1", "lines": [2, 5]})
    message = r"all shards must have the same beam, but .*1\.jsonl has 9 and .*0\.jsonl 5; remove one"
    with pytest.raises(DistillationError, match=message):
        merge(paths)


def test_missing_sentences_are_an_error(tmp_path: Path) -> None:
    paths = decode(tmp_path, 2)
    with pytest.raises(DistillationError, match="must have the 5 sentences of the source, but have 2; decode all"):
        merge(paths[:1])
    lines = paths[1].read_text(encoding="utf-8").splitlines(keepends=True)
    paths[1].write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(DistillationError, match=r"1\.jsonl must have 3 sentences, but has 2; remove it and decode"):
        read_shard(paths[1])
    paths[1].write_text("".join(lines)[:-4], encoding="utf-8")
    with pytest.raises(DistillationError, match=r"1\.jsonl is damaged"):
        read_shard(paths[1])
    with pytest.raises(DistillationError, match=r"absent cannot be read: .*; decode this shard"):
        read_shard(tmp_path / "absent")


def test_the_provenance_depends_on_the_contents(tmp_path: Path) -> None:
    source, model = tmp_path / "source", tmp_path / "model"
    model.mkdir()
    (model / "model.bin").write_bytes(b"1")
    (model / "shared_vocabulary.json").write_text("[]", encoding="utf-8")
    source.write_text("a\n", encoding="utf-8")
    first = source_provenance(source, model)
    (model / "model.bin").write_bytes(b"2")
    second = source_provenance(source, model)
    assert first["teacher_sha256"] != second["teacher_sha256"]
    assert {**first, "teacher_sha256": ""} == {**second, "teacher_sha256": ""}
    assert set(first) >= {"source_sha256", "shared_vocabulary_sha256"} and first["engine"] == "ctranslate2"
    assert source_provenance(source, source)["engine"] == "fairseq"
