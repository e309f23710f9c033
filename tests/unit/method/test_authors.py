"""The bundle `authors` against the equations of the authors' code, computed here in float64.

That code maps the r layers of a subset by W_O and W_I, and combines them by an r x r matrix and a vector of r numbers.
The product of these two is our W_L.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from weightdistill.method.config import BUNDLES
from weightdistill.method.generator import ClassGenerator, WeightGenerator
from weightdistill.method.shape import TransformerShape, student_shape

AUTHORS = BUNDLES["authors"]
OUTSIDE_LAYERS = ("decoder.embed_tokens.weight", "decoder.output_projection.weight")
Make = Callable[..., WeightGenerator]


@pytest.fixture(params=["tiny", "small"])
def student(request: pytest.FixtureRequest, teacher_shape: TransformerShape) -> TransformerShape:
    """Return a student with one decoder layer (r = 6) of half the width, or two (r = 3) of the teacher's."""
    return student_shape(request.param, teacher_shape)


@pytest.fixture
def make(build: Make) -> Make:
    """Return a function that makes a generator of a pre-norm student with learned positions; trained values random."""

    def built(student: TransformerShape, *, start: bool = False) -> WeightGenerator:
        generator = build(student, AUTHORS, pre_norm=True, learned_positions=3)
        with torch.no_grad():
            for parameter in generator.parameters():
                if parameter.requires_grad and not start:
                    parameter.normal_()
        return generator

    return built


def parts(generator: WeightGenerator) -> dict[str, ClassGenerator]:
    return {part.group.weight_class.name: part for part in generator.class_generators()}


def trained(part: ClassGenerator) -> set[str]:
    return {name for name, parameter in part.named_parameters() if parameter.requires_grad}


def array(tensor: torch.Tensor | None) -> Any:
    assert tensor is not None
    return tensor.detach().numpy()


def gated(part: ClassGenerator, transformed: Any, layer: int) -> Any:
    return array(part.gate_weight)[layer] * np.tanh(transformed) + array(part.gate_bias)[layer]


def test_an_encoder_weight_is_its_teacher_weight_through_a_gate(make, student):
    encoder = {name: part for name, part in parts(make(student)).items() if name.startswith("encoder.")}
    assert len(encoder) == 17, "the embeddings, and 16 weights of a layer"
    for part in encoder.values():
        assert trained(part) == {"gate_weight", "gate_bias"}
        for layer, weight in enumerate(part()):
            expected = gated(part, array(part.teacher)[layer], layer)
            np.testing.assert_allclose(array(weight), expected, rtol=1e-12, atol=1e-12)


def test_a_weight_of_a_decoder_layer_is_four_products_through_a_gate(make, student):
    decoder = {name: part for name, part in parts(make(student)).items() if name.startswith("decoder.")}
    layered = {name: part for name, part in decoder.items() if name not in OUTSIDE_LAYERS}
    assert len(layered) == 26
    random = np.random.default_rng(1)
    for part in layered.values():
        depth = len(part.group.student_names)
        r = 6 // depth
        matrix, vector = random.normal(size=(depth, r, r)), random.normal(size=(depth, r))
        part.W_L.data = torch.from_numpy(np.einsum("slk,sk->sl", matrix, vector))
        of_matrix = part.teacher.ndim == 3
        assert trained(part) == {"W_O", "W_L", "gate_weight", "gate_bias"} | ({"W_I"} if of_matrix else set())
        for layer, weight in enumerate(part()):
            T, W_O = array(part.teacher)[layer * r : (layer + 1) * r], array(part.W_O)[layer]
            if of_matrix:
                operands = T, W_O, array(part.W_I)[layer], matrix[layer], vector[layer]
                transformed = np.einsum("loi,op,iq,lk,k->pq", *operands)
            else:
                transformed = np.einsum("lo,op,lk,k->p", T, W_O, matrix[layer], vector[layer])
            np.testing.assert_allclose(array(weight), gated(part, transformed, layer), rtol=1e-9, atol=1e-9)


def test_the_output_projection_is_frozen_and_mapped_only_where_widths_differ(make, student, teacher_shape):
    generator = make(student)
    part = parts(generator)["decoder.output_projection.weight"]
    weight, teacher = generator()["decoder.output_projection.weight"], array(part.teacher)[0]
    if student.decoder.width == teacher_shape.decoder.width:
        assert trained(part) == set() and not weight.requires_grad
        np.testing.assert_array_equal(array(weight), teacher)
    else:
        assert trained(part) == {"W_I"}
        np.testing.assert_allclose(array(weight), teacher @ array(part.W_I)[0], rtol=1e-12, atol=1e-12)


def test_target_embeddings_are_gated_and_mapped_only_where_widths_differ(make, student, teacher_shape):
    part = parts(make(student))["decoder.embed_tokens.weight"]
    transformed = array(part.teacher)[0]
    if student.decoder.width == teacher_shape.decoder.width:
        assert trained(part) == {"gate_weight", "gate_bias"}
    else:
        assert trained(part) == {"W_I", "gate_weight", "gate_bias"}
        transformed = transformed @ array(part.W_I)[0]
    np.testing.assert_allclose(array(part()[0]), gated(part, transformed, 0), rtol=1e-12, atol=1e-12)


def test_final_norms_and_learned_positions_are_trained_themselves(make, make_state, teacher_shape, student):
    """The norms from the teacher's; positions, and the norm of a narrower decoder, from a fresh start."""
    state = make(student, start=True)()
    options = {"pre_norm": True, "learned_positions": 3}
    teacher, fresh = make_state(teacher_shape, **options), make_state(student, seed=1, **options)
    for role in ("layer_norm.weight", "layer_norm.bias", "embed_positions.weight"):
        for stack in ("encoder", "decoder"):
            name = f"{stack}.{role}"
            as_wide = getattr(student, stack).width == getattr(teacher_shape, stack).width
            start = teacher if "norm" in role and as_wide else fresh
            assert state[name].requires_grad and torch.equal(state[name].float(), start[name]), name


def test_layer_weights_start_around_zero_as_a_random_matrix_times_a_mean_does(make, tiny_student):
    """For r = 6: mean 0, standard deviation 1/6, half of them negative. The encoder takes each layer as it is."""
    starts = []
    for seed in range(40):
        torch.manual_seed(seed)
        for name, part in parts(make(tiny_student, start=True)).items():
            if name.startswith("encoder.") or name in OUTSIDE_LAYERS:
                assert (part.W_L == 1).all(), name
            else:
                starts.append(array(part.W_L))
    matrices = np.random.default_rng(1).normal(scale=np.sqrt(2 / (6 + 6)), size=(40 * 26, 6, 6))  # Xavier normal
    theirs, ours = matrices @ np.full(6, 1 / 6), np.concatenate(starts)
    assert ours.shape == theirs.shape
    assert np.mean(ours) == pytest.approx(0, abs=0.01)
    assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.05) and np.std(ours) == pytest.approx(1 / 6, rel=0.05)
    assert np.mean(ours < 0) == pytest.approx(0.5, abs=0.03)
    assert np.quantile(ours, [0.05, 0.95]) == pytest.approx(np.quantile(theirs, [0.05, 0.95]), rel=0.1)
