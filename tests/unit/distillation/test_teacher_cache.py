"""Teacher caches hold the top-k tokens of every position, resume after an interruption, and detect damage."""

import json
import resource

import numpy as np
import pytest
import torch

from weightdistill.distillation.teacher_cache import (
    OPEN_SHARDS,
    Labels,
    TeacherCache,
    TeacherCaches,
    collate,
    write_cache,
)
from weightdistill.errors import DistillationError

LENGTHS = [3, 1, 4, 0, 2]
SHARDS = [range(0, 2), range(2, 5)]
VOCABULARY, K = 50, 6


def settings(**changes):
    return {"k": K, "temperature": 2.0, "vocabulary": VOCABULARY, "sentences": len(LENGTHS), "teachers": [], **changes}


def distributions() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(length, VOCABULARY, generator=random).mul(3).softmax(-1) for length in LENGTHS]


def labels_of(sentences):
    made = distributions()
    return [Labels.of(made[index], K) for index in sentences]


@pytest.fixture
def cache(tmp_path):
    assert write_cache(tmp_path / "cache", settings(), SHARDS, labels_of) == 2
    return tmp_path / "cache"


def test_the_labels_are_the_top_k_of_the_teacher(cache):
    opened = TeacherCache(cache)
    assert (len(opened), opened.settings["k"]) == (len(LENGTHS), K)
    for index, whole in enumerate(distributions()):
        labels = opened.sentence(index)
        for row in range(LENGTHS[index]):
            probabilities = whole[row].tolist()
            top = sorted(range(VOCABULARY), key=probabilities.__getitem__, reverse=True)[:K]
            assert labels.indices[row].tolist() == top
            assert labels.values[row].tolist() == pytest.approx(whole[row, top].tolist(), rel=1e-3)
            assert labels.missing[row] == pytest.approx(1 - whole[row, top].sum().item(), rel=1e-2, abs=1e-3)
    with pytest.raises(IndexError, match="index of a sentence must be within 0 and 4, but is 5"):
        opened.sentence(5)


def test_the_top_64_of_a_position_take_at_most_400_bytes(tmp_path):
    whole = torch.rand(200, 32000).softmax(-1)
    for vocabulary, kind in ((32000, np.uint16), (70000, np.uint32)):
        labels = Labels.of(whole if vocabulary == 32000 else torch.rand(200, vocabulary).softmax(-1), 64)
        assert labels.indices.dtype == kind
        folder = tmp_path / str(vocabulary)
        write_cache(folder, settings(k=64, sentences=1), [range(1)], {range(1): [labels]}.__getitem__)
        assert sum(path.stat().st_size for path in folder.glob("*.npy")) / 200 <= 400


def test_a_batch_is_padded_with_zeros(cache):
    opened = TeacherCache(cache)
    batch = collate([opened.sentence(1), opened.sentence(0)], 4)
    assert batch.indices.shape == (2, 4, K) and batch.indices.dtype == torch.int32
    assert batch.values.dtype == batch.missing.dtype == torch.float16
    assert not batch.values[0, 1:].any() and not batch.missing[1, 3:].any()
    assert batch.values[1, :3].numpy().tolist() == opened.sentence(0).values.tolist()


def test_a_cache_of_many_shards_keeps_few_files_open(tmp_path):
    count = OPEN_SHARDS + 72
    shards = [range(index, index + 1) for index in range(count)]
    write_cache(tmp_path, settings(sentences=count), shards, lambda sentences: labels_of([sentences.start % 5]))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * OPEN_SHARDS + 100, allowed[1]))
    try:
        cache = TeacherCache(tmp_path)
        for index in (*range(count), 0):
            assert len(cache.sentence(index).missing) == LENGTHS[index % 5]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)


def test_a_full_disk_is_named_and_leaves_no_half_shard(tmp_path):
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, allowed[1]))  # a write beyond this fails like one to a full disk
    try:
        with pytest.raises(DistillationError, match=r"cannot write .*npy: File too large; check that .* disk not full"):
            write_cache(tmp_path, settings(), SHARDS, labels_of)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert list(tmp_path.iterdir()) == []
    assert write_cache(tmp_path, settings(), SHARDS, labels_of) == 2


def test_an_interrupted_cache_is_resumed(tmp_path):
    def interrupted(sentences):
        if sentences.start:
            raise KeyboardInterrupt
        return labels_of(sentences)

    with pytest.raises(KeyboardInterrupt):
        write_cache(tmp_path, settings(), SHARDS, interrupted)
    with pytest.raises(DistillationError, match="must hold 5 sentences, but holds 2; run weightdistill cache-teacher"):
        TeacherCache(tmp_path)
    resumed = []

    def recorded(sentences):
        resumed.append(sentences)
        return labels_of(sentences)

    assert write_cache(tmp_path, settings(), SHARDS, recorded) == 1
    assert resumed == [SHARDS[1]] and len(TeacherCache(tmp_path)) == 5
    assert write_cache(tmp_path, settings(), SHARDS, labels_of) == 0


@pytest.mark.parametrize("change", [{"k": 4}, {"temperature": 1.0}, {"teachers": [{"path": "x", "sha256": "0"}]}])
def test_a_cache_with_other_settings_is_not_resumed(cache, change):
    with pytest.raises(
        DistillationError, match=f"holds a teacher cache with a different {next(iter(change))} .*; remove"
    ):
        write_cache(cache, settings(**change), SHARDS, labels_of)


def test_damage_is_detected(cache):
    file = cache / "00001.values.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    with pytest.raises(DistillationError, match=rf"00001\.values\.npy must have {len(whole)} bytes, but has"):
        TeacherCache(cache)
    file.write_bytes(whole[:-3] + b"abc")
    with pytest.raises(DistillationError, match=r"00001\.values\.npy has changed since it was written; remove"):
        write_cache(cache, settings(), SHARDS, labels_of)
    file.unlink()
    with pytest.raises(DistillationError, match=r"but is missing; make the cache again"):
        TeacherCache(cache)
    for content, message in (("{", "is damaged"), ("[]", "must describe a teacher cache of format 1")):
        (cache / "cache.json").write_text(content)
        with pytest.raises(DistillationError, match=message):
            TeacherCache(cache)
    with pytest.raises(DistillationError, match=r"cannot be read: .*; give a folder of weightdistill cache-teacher"):
        TeacherCache(cache / "absent")


def test_a_lost_sentence_is_an_error(tmp_path):
    with pytest.raises(DistillationError, match="shard 00000 must have labels of 2 sentences, but has 1"):
        write_cache(tmp_path, settings(), SHARDS, lambda sentences: labels_of(sentences)[:1])
    assert not (tmp_path / "cache.json").exists()


def test_settings_are_plain_json(cache):
    description = json.loads((cache / "cache.json").read_text())
    assert description["temperature"] == 2.0 and [shard["tokens"] for shard in description["shards"]] == [4, 6]


def test_a_cache_is_summed_up_in_one_line(cache):
    size = sum(path.stat().st_size for path in cache.glob("*.npy"))
    assert str(TeacherCache(cache)) == f"{cache}: 5 sentences, 10 tokens, {size / 10:.0f} bytes per token"


def test_caches_of_several_teachers_follow_one_another(cache, tmp_path):
    write_cache(tmp_path / "other", settings(sentences=2), [range(2)], lambda _: labels_of([4, 1]))
    chain = TeacherCaches([TeacherCache(cache), TeacherCache(tmp_path / "other")])
    assert len(chain) == 7
    assert [len(chain.sentence(index).missing) for index in range(7)] == [*LENGTHS, LENGTHS[4], LENGTHS[1]]
    with pytest.raises(IndexError, match="index of a sentence must be within 0 and 6, but is 7"):
        chain.sentence(7)
    write_cache(tmp_path / "warm", settings(sentences=1, temperature=3.0), [range(1)], lambda _: labels_of([0]))
    with pytest.raises(DistillationError, match=r"must have the same temperature, but .* has 2\.0 and .*warm 3\.0"):
        TeacherCaches([TeacherCache(cache), TeacherCache(tmp_path / "warm")])
