"""The cost that a plan counts is what a stock model computes."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fairseq_plugins.loading import translation_task
from fairseq_plugins.teachers import read
from weightdistill import checkpoint
from weightdistill.experiment.cost import Model


def test_operations_of_a_forward_pass(teacher: Path, data: Path) -> None:
    task = translation_task(checkpoint.read(teacher), data, str(teacher))
    frozen = read(str(teacher))
    model = frozen.build(task)
    sentences, length = 8, 12
    tokens = torch.randint(4, len(task.target_dictionary), (sentences, length))
    # torch does not count the fused attention of a CPU
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(tokens, torch.full((sentences,), length), tokens)
    planned = Model(frozen.shape, len(task.target_dictionary), "all")
    words = sentences * length
    assert planned.operations(words, words, length) == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert planned.parameters() == sum(parameter.numel() for parameter in model.parameters())
