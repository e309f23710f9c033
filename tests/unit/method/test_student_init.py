"""Students initialised from copied teacher weights, compared with explicit index arithmetic."""

import pytest
import torch

from weightdistill.errors import DistillationError
from weightdistill.method.config import GeneratorConfig
from weightdistill.method.generator import WeightGenerator
from weightdistill.method.student_init import NAMES, chosen_layers, initial_student, low_rank

Q = "decoder.layers.0.encoder_attn.q_proj"


@pytest.mark.parametrize(
    ("strategy", "teacher", "student", "expected"),
    [
        ("first", 12, 6, [0, 1, 2, 3, 4, 5]),
        ("last", 12, 6, [6, 7, 8, 9, 10, 11]),
        ("one-of-two", 12, 6, [0, 2, 4, 6, 8, 10]),
        ("one-of-two", 5, 3, [0, 2, 4]),
        ("spaced", 12, 6, [1, 3, 5, 7, 9, 11]),
        ("spaced", 6, 4, [0, 2, 3, 5]),
        ("middle", 6, 2, [1, 4]),
        ("middle", 6, 1, [2]),
        *((strategy, 6, 6, [0, 1, 2, 3, 4, 5]) for strategy in ("first", "last", "one-of-two", "spaced", "middle")),
    ],
)
def test_which_layers_are_copied(strategy, teacher, student, expected):
    assert chosen_layers(strategy, teacher, student) == expected


def test_every_second_layer_is_too_few_for_a_deep_student():
    with pytest.raises(DistillationError, match="one-of-two copies 3 of 6 layers, but the student has 4; use spaced"):
        chosen_layers("one-of-two", 6, 4)


@pytest.mark.parametrize("name", NAMES)
def test_every_initialisation_gives_every_weight_its_shape(make_state, teacher_shape, tiny_student, name):
    teacher, student = make_state(teacher_shape), make_state(tiny_student, seed=1)
    state = initial_student(name, teacher, teacher_shape, student, tiny_student)
    assert {key: weight.shape for key, weight in state.items()} == {key: w.shape for key, w in student.items()}
    assert all(weight.isfinite().all() for weight in state.values())
    copied = torch.equal(state["encoder.layers.3.fc1.weight"], teacher["encoder.layers.3.fc1.weight"])
    assert copied == (name not in ("random", "generator"))


def test_selected_and_truncated_widths(make_state, teacher_shape, tiny_student):
    """The decoder shrinks from width 8 to 4 with 2 heads: selection keeps entries 0 and 2 of each head of 4."""
    teacher, student = make_state(teacher_shape), make_state(tiny_student, seed=1)
    layer = f"{Q}.weight".replace("layers.0", "layers.5")
    width, heads = teacher_shape.decoder.width, teacher_shape.decoder.heads
    small = tiny_student.decoder.width
    per_head = width // heads
    rows = [head * per_head + i * per_head // (small // 2) for head in range(2) for i in range(small // 2)]
    columns = [i * width // small for i in range(small)]
    selected = initial_student("last:select", teacher, teacher_shape, student, tiny_student)
    assert torch.equal(selected[f"{Q}.weight"], teacher[layer][rows][:, columns])
    assert torch.equal(selected[f"{Q}.bias"], teacher[layer.replace("weight", "bias")][rows])
    truncated = initial_student("last:truncate", teacher, teacher_shape, student, tiny_student)
    assert torch.equal(truncated[f"{Q}.weight"], teacher[layer][:small, :small])
    assert torch.equal(
        initial_student("last", teacher, teacher_shape, student, tiny_student)[layer.replace("5", "0")],
        selected[f"{Q}.weight"],
    )


def test_svd_selects_from_the_closest_matrix_of_the_students_rank(make_state, teacher_shape, tiny_student):
    teacher, student = make_state(teacher_shape), make_state(tiny_student, seed=1)
    weight = teacher["decoder.layers.0.fc2.weight"].double()
    rank = min(student["decoder.layers.0.fc2.weight"].shape)
    closest = low_rank(weight, rank)
    values = torch.linalg.svdvals(weight)
    assert torch.linalg.matrix_rank(closest) == rank
    assert (weight - closest).norm().item() == pytest.approx(values[rank:].norm().item())
    state = initial_student("first:svd", teacher, teacher_shape, student, tiny_student)
    projected = {**teacher, "decoder.layers.0.fc2.weight": closest.float()}
    selected = initial_student("first:select", projected, teacher_shape, student, tiny_student)
    torch.testing.assert_close(state["decoder.layers.0.fc2.weight"], selected["decoder.layers.0.fc2.weight"])


def test_generator_initialisation_equals_an_untrained_generator(make_state, teacher_shape, tiny_student):
    teacher, student = make_state(teacher_shape), make_state(tiny_student, seed=1)
    expected = WeightGenerator(teacher, teacher_shape, student, tiny_student, config=GeneratorConfig()).materialise()
    state = initial_student("generator", teacher, teacher_shape, student, tiny_student)
    assert all(torch.equal(weight, expected[name]) for name, weight in state.items())


@pytest.mark.parametrize("name", ["middle:", "centre:select", "middle:wide", "Random"])
def test_an_unknown_initialisation_is_refused(make_state, teacher_shape, tiny_student, name):
    teacher, student = make_state(teacher_shape), make_state(tiny_student, seed=1)
    with pytest.raises(DistillationError, match=f"student init must be random, generator, LAYERS .* is '{name}'"):
        initial_student(name, teacher, teacher_shape, student, tiny_student)


def test_positions_cannot_shrink(make_state, teacher_shape, tiny_student):
    teacher = make_state(teacher_shape, learned_positions=9)
    student = make_state(tiny_student, seed=1, learned_positions=8)
    with pytest.raises(DistillationError, match=r"must have the same .*position.*, but have 9 and 8 entries"):
        initial_student("middle", teacher, teacher_shape, student, tiny_student)
