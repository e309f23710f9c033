"""Checkpoint averaging, against numbers computed by hand."""

import pytest
import torch

from weightdistill import checkpoint
from weightdistill.average import average
from weightdistill.errors import DistillationError


def saved(folder, name, weights, **others):
    path = folder / name
    checkpoint.write({"model": weights, "cfg": {"model": {"_name": "transformer"}}, **others}, path)
    return path


def test_weights_are_averaged_and_the_rest_is_taken_from_the_last_checkpoint(tmp_path):
    first = saved(
        tmp_path, "1.pt", {"w": torch.tensor([1.0, 2.0]), "version": torch.tensor([3])}, extra_state={"best": 1}
    )
    last = saved(
        tmp_path,
        "2.pt",
        {"w": torch.tensor([2.0, 6.0]), "version": torch.tensor([5])},
        extra_state={"best": 2},
        last_optimizer_state={"big": 1},
    )
    state = average([first, last])
    assert state["model"]["w"].tolist() == [1.5, 4.0]
    assert state["model"]["version"].tolist() == [5]
    assert state["extra_state"] == {"best": 2}
    assert "last_optimizer_state" not in state


def test_half_precision_is_summed_in_float32(tmp_path):
    # the sum of four exceeds the largest float16 number
    paths = [saved(tmp_path, f"{i}.pt", {"w": torch.tensor([60000.0], dtype=torch.float16)}) for i in range(4)]
    weight = average(paths)["model"]["w"]
    assert weight.dtype == torch.float16
    assert weight.tolist() == [60000.0]


def test_tied_weights_stay_tied(tmp_path):
    paths = []
    for number in (1.0, 3.0):
        embedding = torch.full((4, 2), number)
        weights = {"tokens": embedding, "projection": embedding, "rows": embedding[:2], "copy": embedding.clone()}
        paths.append(saved(tmp_path, f"{number}.pt", weights))
    weights = average(paths)["model"]
    assert all((weight == 2).all() for weight in weights.values())
    assert weights["tokens"] is weights["projection"]
    assert weights["copy"].data_ptr() != weights["tokens"].data_ptr() != weights["rows"].data_ptr()


def test_checkpoints_of_different_models_are_refused(tmp_path):
    first = saved(tmp_path, "1.pt", {"w": torch.zeros(2), "b": torch.zeros(1)})
    last = saved(tmp_path, "2.pt", {"w": torch.zeros(3), "c": torch.zeros(1)})
    with pytest.raises(DistillationError, match=r"2\.pt differs from .*1\.pt in 3, e\.g\. b"):
        average([first, last])
    with pytest.raises(DistillationError, match="at least one checkpoint, but there is none"):
        average([])
