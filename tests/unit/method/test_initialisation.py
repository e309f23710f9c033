"""Initial values of maps, layer weights and gates."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightdistill.method.initialisation import (
    MapInitialiser,
    evenly_spaced,
    layer_weights,
    preserving_gate,
    residual_projection,
    select_map,
)
from weightdistill.method.layout import Axis


@given(st.integers(1, 40), st.integers(1, 40))
def test_evenly_spaced_indices_are_ordered_within_range_and_equally_far_apart(count, of):
    chosen = evenly_spaced(count, of).tolist()
    assert chosen == [math.floor(position * of / count) for position in range(count)]
    assert chosen == sorted(chosen)
    if count <= of:
        assert len(set(chosen)) == count


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_select_keeps_heads_intact(heads, head_size, smaller):
    smaller = min(head_size, smaller)
    selection = select_map(heads * head_size, heads * smaller, heads, heads)
    assert selection.shape == (heads * head_size, heads * smaller)
    for entry in range(heads * smaller):
        (source,) = selection[:, entry].nonzero().flatten().tolist()
        assert selection[source, entry] == 1
        assert (
            source // head_size == entry // smaller
        )  # head h of the student consists of entries of the teacher's head h


def test_select_with_fewer_heads_keeps_evenly_spaced_heads_unchanged():
    selection = select_map(8, 4, teacher_heads=4, student_heads=2)
    assert selection.argmax(dim=0).tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_select_is_the_identity_between_equal_sizes(heads):
    assert torch.equal(select_map(8, 8, heads, heads), torch.eye(8))


def test_the_residual_projection_is_the_best_of_its_rank():
    embeddings = torch.randn(50, 6)
    projection = residual_projection(embeddings, 3)
    assert projection.shape == (6, 3)
    torch.testing.assert_close(projection.T @ projection, torch.eye(3))
    _, _, directions = np.linalg.svd(embeddings.double().numpy(), full_matrices=False)
    best = directions[:3].T @ directions[:3]  # projector on the three leading right-singular vectors
    np.testing.assert_allclose((projection @ projection.T).numpy(), best, atol=1e-5)


def test_the_residual_projection_does_not_depend_on_order_or_sign_of_the_embeddings():
    embeddings = torch.randn(50, 6)
    torch.testing.assert_close(residual_projection(embeddings, 3), residual_projection(-embeddings.flip(0), 3))


@pytest.mark.parametrize(
    ("method", "size", "expected"),
    [
        ("mean", 3, [1 / 3, 1 / 3, 1 / 3, 0]),
        ("first", 3, [1, 0, 0, 0]),
        ("last", 3, [0, 0, 1, 0]),
        ("middle", 3, [0, 1, 0, 0]),
        ("middle", 4, [0, 1, 0, 0]),
        ("last", 4, [0, 0, 0, 1]),
        ("mean", 1, [1, 0, 0, 0]),
        ("middle", 1, [1, 0, 0, 0]),
    ],
)
def test_layer_weights(method, size, expected):
    torch.testing.assert_close(layer_weights(method, size, 4), torch.tensor(expected, dtype=torch.float32))


def test_the_preserving_gate_undoes_the_tanh_at_every_magnitude():
    transformed = torch.tensor([0.0, 1e-30, -1e-6, 0.3, -1.0, 5.0, -60.0, 1e4])
    gate = preserving_gate(transformed)
    assert gate[0] == 1
    assert torch.isfinite(gate).all()
    torch.testing.assert_close(transformed.tanh() * gate, transformed, rtol=3e-7, atol=0)


@pytest.fixture
def initialise(make_state, teacher_shape, tiny_student):
    """Make a map for TINY: the decoder shrinks from width 8 to 4 with 2 heads; the encoder keeps its width 4."""
    state = make_state(teacher_shape)

    def make(method, axis, teacher_size, student_size):
        return MapInitialiser(method, teacher_shape, tiny_student, state)(axis, teacher_size, student_size)

    return make


def test_xavier_stays_within_its_bound_and_reaches_it(initialise):
    start = initialise("xavier", Axis.DECODER_FFN, 200, 100)
    bound = math.sqrt(6 / 300)
    assert start.shape == (200, 100)
    assert 0.95 * bound < start.abs().max() <= bound
    assert start.var().item() == pytest.approx(bound**2 / 3, rel=0.05)


def test_xavier_normal_has_the_variance_of_xavier_without_its_bound(initialise):
    start = initialise("xavier_normal", Axis.DECODER_FFN, 200, 100)
    assert start.shape == (200, 100)
    assert start.var().item() == pytest.approx(2 / 300, rel=0.05)
    assert start.abs().max() > 1.2 * math.sqrt(6 / 300)


def test_random_layer_weights_vary_with_the_size_of_the_subset():
    weights = torch.stack([layer_weights("random", 3, 4) for _ in range(5000)])
    assert not weights[:, 3].any(), "padding"
    assert weights[:, :3].mean().item() == pytest.approx(0, abs=0.01)
    assert weights[:, :3].std().item() == pytest.approx(1 / 3, rel=0.05)


@pytest.mark.parametrize("method", ["select", "aligned"])
def test_equally_many_heads_shrink_and_fewer_heads_stay_intact(
    initialise, make_state, teacher_shape, tiny_student, method
):
    assert initialise(method, Axis.DECODER_HEADS, 8, 4).argmax(dim=0).tolist() == [0, 2, 4, 6]
    one_head = replace(tiny_student, decoder=replace(tiny_student.decoder, heads=1))
    initialiser = MapInitialiser(method, teacher_shape, one_head, make_state(teacher_shape))
    assert initialiser(Axis.DECODER_HEADS, 8, 4).argmax(dim=0).tolist() == [0, 1, 2, 3]
    assert initialiser(Axis.DECODER_FFN, 8, 4).argmax(dim=0).tolist() == [0, 2, 4, 6]


def test_aligned_uses_one_projection_per_residual_stream(initialise, make_state, teacher_shape):
    embeddings = make_state(teacher_shape)["decoder.embed_tokens.weight"]
    projection = initialise("aligned", Axis.DECODER_RESIDUAL, 8, 4)
    assert torch.equal(projection, residual_projection(embeddings, 4))
    assert torch.equal(projection, initialise("aligned", Axis.DECODER_RESIDUAL, 8, 4))


def test_aligned_gains_are_the_diagonal_of_the_projected_gain(initialise):
    gain = torch.rand(8) + 0.5
    projection = initialise("aligned", Axis.DECODER_RESIDUAL, 8, 4)
    expected = (projection.T @ torch.diag(gain) @ projection).diagonal()
    torch.testing.assert_close(initialise("aligned", Axis.DECODER_GAIN, 8, 4).T @ gain, expected)
    torch.testing.assert_close(initialise("aligned", Axis.DECODER_GAIN, 8, 4).T @ torch.ones(8), torch.ones(4))


def test_aligned_does_not_project_a_stream_of_equal_width(initialise):
    for axis in (Axis.ENCODER_RESIDUAL, Axis.ENCODER_GAIN, Axis.ENCODER_HEADS):
        assert torch.equal(initialise("aligned", axis, 4, 4), torch.eye(4))
