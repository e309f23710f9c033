"""Tokens counted from the indexes of a data-bin, in fairseq's formats written byte by byte."""

import struct

import pytest

from weightdistill.errors import DistillationError
from weightdistill.experiment.binarised import target_tokens

MMAP_UINT16 = b"MMIDIDX\x00\x00" + struct.pack("<QBQ", 1, 8, 2)
CACHED_INT32 = b"TNTIDX\x00\x00" + struct.pack("<QQQQQ", 1, 4, 4, 2, 7)


def write(folder, part, language, head, size):
    (folder / f"{part}.{language}.idx").write_bytes(head)
    (folder / f"{part}.{language}.bin").write_bytes(bytes(size))


@pytest.mark.parametrize(("head", "size"), [(MMAP_UINT16, 14), (CACHED_INT32, 28)])
def test_the_target_side_of_all_training_parts_counts(tmp_path, head, size):
    write(tmp_path, "train.de-en", "de", head, 1000)
    write(tmp_path, "train.de-en", "en", head, size)
    assert target_tokens(tmp_path) == 7
    write(tmp_path, "train1.de-en", "en", head, size)
    write(tmp_path, "valid.de-en", "en", head, 1000)
    assert target_tokens(tmp_path) == target_tokens(tmp_path, "en") == 14


def test_several_language_pairs_need_a_choice(tmp_path):
    write(tmp_path, "train.de-en", "en", MMAP_UINT16, 14)
    write(tmp_path, "train.en-de", "de", MMAP_UINT16, 6)
    with pytest.raises(DistillationError, match=r"several target languages \(de, en\); choose with --target-lang"):
        target_tokens(tmp_path)
    assert target_tokens(tmp_path, "de") == 3


def test_data_that_cannot_be_counted(tmp_path):
    with pytest.raises(DistillationError, match=r"absent: no such folder; give"):
        target_tokens(tmp_path / "absent")
    with pytest.raises(DistillationError, match=r"has no train\.SOURCE-TARGET\.TARGET\.idx; binarise"):
        target_tokens(tmp_path)
    write(tmp_path, "train.de-en", "en", b"HUFFIDX\x00", 10)
    with pytest.raises(DistillationError, match=r"en\.idx is of a format that cannot be counted .*; give --lr"):
        target_tokens(tmp_path)
