"""What all engines share: empty and over-long sentences, search settings, and CTranslate2's binary format."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ctranslate2.specs import model_spec

from weightdistill.decoding.engines import (
    FORMAT_VERSION,
    Hypothesis,
    Pieces,
    Sampling,
    Search,
    count_parameters,
    read_shapes,
    search_filled,
)
from weightdistill.errors import DistillationError

SENTENCES = [["a", "b", "c"], ["d"], [], ["e", "f"]]


class FakeEngine:
    """An engine with a name and a longest source; `search_filled` asks for no more."""

    name, parameters, longest_source = "model", 1, 3

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        raise AssertionError("nothing asks this engine to search")


def test_empty_sentences_stay_empty_and_in_place() -> None:
    searched: list[Pieces] = []

    def reverse(sentences: list[Pieces]) -> list[list[Hypothesis]]:
        searched.extend(sentences)
        return [[Hypothesis(sentence[::-1], 0.0, True)] for sentence in sentences]

    results = search_filled(FakeEngine(), SENTENCES, reverse)
    pieces = [[hypothesis.pieces for hypothesis in hypotheses] for hypotheses in results]
    assert pieces == [[["c", "b", "a"]], [["d"]], [], [["f", "e"]]]
    assert [] not in searched


def test_lost_translations_are_an_error() -> None:
    with pytest.raises(DistillationError, match=r"model must return .*, but returned 2 for 3 sentences; export"):
        search_filled(FakeEngine(), SENTENCES, lambda sentences: [[] for _ in sentences[:-1]])


def test_an_over_long_sentence_is_shown_in_the_error() -> None:
    with pytest.raises(DistillationError, match=r"at most 3 pieces for model, but one has 4: a b c d \.\.\.; split it"):
        search_filled(FakeEngine(), [["a"], ["a", "b", "c", "d"]], lambda _: [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam": 0}, "beam must be at least 1, but is 0"),
        ({"length_penalty": float("nan")}, "length penalty must be finite, but is nan"),
        ({"n_best": 0}, "n best must be at least 1, but is 0"),
        ({"n_best": 3}, r"n best must be at most the beam \(2\), but is 3"),
    ],
)
def test_impossible_searches_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        Search(**{"beam": 2, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples must be at least 1, but is 0"),
        ({"top_k": -1}, "sampling top k must be 0 or at least 2, but is -1; give 0 to sample among all pieces"),
        ({"top_k": 1}, "sampling top k must be 0 or at least 2, but is 1"),
        ({"temperature": 0.0}, r"sampling temperature must be positive and finite, but is 0\.0"),
        ({"temperature": float("nan")}, "sampling temperature must be positive and finite, but is nan"),
        ({"seed": 2**31}, "seed must be within 0 and 2147483647, but is 2147483648"),
    ],
)
def test_impossible_samplings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        Sampling(**settings)


def write_model(path: Path, weights: dict[str, tuple[int, ...]], version: int = FORMAT_VERSION) -> Path:
    """Write float32 zeros in CTranslate2's binary format, laid out as in ctranslate2.specs.ModelSpec._serialize."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    content = struct.pack("<I", version) + text("TransformerSpec") + struct.pack("<II", 7, len(weights))
    for name, shape in weights.items():
        size = 4
        for length in shape:
            size *= length
        content += text(name) + struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, 0, size) + bytes(size)
    content += struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")
    path.write_bytes(content)
    return path


WEIGHTS = {
    "decoder/embeddings/weight": (9, 4),
    "decoder/embeddings/weight_scale": (9,),
    "decoder/num_heads": (),
    "decoder/position_encodings/encodings": (50, 4),
}


def test_shapes_are_read_and_tied_weights_and_scales_count_once(tmp_path: Path) -> None:
    shapes = dict(read_shapes(write_model(tmp_path / "model.bin", WEIGHTS)))
    assert shapes == WEIGHTS
    assert count_parameters(shapes) == 9 * 4


def test_the_installed_ctranslate2_writes_the_format_that_is_read() -> None:
    assert model_spec.CURRENT_BINARY_VERSION == FORMAT_VERSION


@pytest.mark.parametrize("version", [5, 7])
def test_another_version_of_the_format_is_refused(tmp_path: Path, version: int) -> None:
    model = write_model(tmp_path / "model.bin", WEIGHTS, version)
    message = rf"model\.bin must have version 6 of CTranslate2's binary format, but has version {version}; convert"
    with pytest.raises(DistillationError, match=message):
        list(read_shapes(model))


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x06\x00\x00\x00\x30\x00Trans")
    with pytest.raises(DistillationError, match=r"model\.bin is truncated or not a CTranslate2 model"):
        list(read_shapes(path))
    with pytest.raises(DistillationError, match=r"absent cannot be read: .*; give a folder that CTranslate2's"):
        list(read_shapes(tmp_path / "absent"))
