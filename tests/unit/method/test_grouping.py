"""Groups and their subsets of adjacent layers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightdistill.errors import DistillationError
from weightdistill.method.grouping import group_weights, subsets_of_adjacent_layers


@st.composite
def depths(draw):
    """Draw the depths of a teacher and of a student that is not deeper."""
    teacher = draw(st.integers(1, 60))
    return teacher, draw(st.integers(1, teacher))


@given(depths())
def test_subsets_cover_all_layers_once_and_in_order(depth):
    teacher, student = depth
    subsets = subsets_of_adjacent_layers(teacher, student)
    assert len(subsets) == student
    assert [layer for subset in subsets for layer in subset] == list(range(teacher))


@given(depths())
def test_sizes_differ_by_at_most_one_and_longer_subsets_come_first(depth):
    sizes = [len(subset) for subset in subsets_of_adjacent_layers(*depth)]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        (6, 1, [[0, 1, 2, 3, 4, 5]]),
        (6, 2, [[0, 1, 2], [3, 4, 5]]),
        (6, 4, [[0, 1], [2, 3], [4], [5]]),
        (3, 3, [[0], [1], [2]]),
    ],
)
def test_known_subsets(teacher, student, expected):
    assert [list(subset) for subset in subsets_of_adjacent_layers(teacher, student)] == expected


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_student_deeper_than_its_teacher_is_refused(teacher, more):
    student = teacher + more
    with pytest.raises(DistillationError, match=rf"\({teacher}\), but is {student}; choose a shallower"):
        subsets_of_adjacent_layers(teacher, student)


def test_a_student_without_layers_is_refused():
    with pytest.raises(DistillationError, match="but is 0"):
        subsets_of_adjacent_layers(6, 0)


def test_each_class_of_the_student_is_one_group(make_state, teacher_shape, uneven_student):
    student = make_state(uneven_student, pre_norm=True)
    groups = group_weights(make_state(teacher_shape, pre_norm=True), student)
    by_name = {group.weight_class.name: group for group in groups}
    assert sorted(name for group in groups for name in group.student_names) == sorted(student)
    assert len(by_name) == len(groups)

    fc1 = by_name["encoder.fc1.weight"]
    assert fc1.teacher_names == [f"encoder.layers.{layer}.fc1.weight" for layer in range(6)]
    assert fc1.student_names == [f"encoder.layers.{layer}.fc1.weight" for layer in range(4)]
    assert [list(subset) for subset in fc1.subsets] == [[0, 1], [2, 3], [4], [5]]

    norm = by_name["decoder.layer_norm.weight"]
    assert norm.teacher_names == norm.student_names == ["decoder.layer_norm.weight"]
    assert norm.subsets == [range(1)]


def test_layers_are_ordered_by_number_and_not_by_spelling():
    names = [f"encoder.layers.{layer}.fc1.bias" for layer in (10, 2, 0, 1, 11, 3, 4, 5, 6, 7, 8, 9)]
    (group,) = group_weights(names, [names[2]])
    assert group.teacher_names == [f"encoder.layers.{layer}.fc1.bias" for layer in range(12)]


def test_a_state_that_lacks_a_weight_in_one_layer_is_refused(make_state, teacher_shape, tiny_student):
    teacher = make_state(teacher_shape)
    del teacher["decoder.layers.1.fc1.weight"]
    with pytest.raises(DistillationError, match=r"decoder\.fc1\.weight must be in each of the \d+ decoder layers"):
        group_weights(teacher, make_state(tiny_student))


def test_classes_that_the_student_lacks_are_left_out(make_state, teacher_shape, tiny_student):
    groups = group_weights(make_state(teacher_shape, pre_norm=True), make_state(tiny_student))
    assert not [group for group in groups if group.weight_class.name.endswith(".layer_norm.weight")]


def test_classes_that_the_teacher_lacks_are_all_named(make_state, teacher_shape, tiny_student):
    student = make_state(tiny_student, pre_norm=True, learned_positions=4)
    with pytest.raises(
        DistillationError, match="the teacher must have every weight class of the student, but lacks"
    ) as caught:
        group_weights(make_state(teacher_shape), student)
    expected = ["layer_norm.weight", "layer_norm.bias", "embed_positions.weight"]
    assert all(f"{stack}.{role}" in str(caught.value) for stack in ("encoder", "decoder") for role in expected)
    assert "build the student with" in str(caught.value)


def test_a_deeper_stack_is_named(make_state, teacher_shape, tiny_student):
    with pytest.raises(DistillationError, match=r"^decoder: .*\(1\), but is 6"):
        group_weights(make_state(tiny_student), make_state(teacher_shape))


def test_unknown_names_are_refused():
    with pytest.raises(DistillationError, match=r"encoder\.oddity"):
        group_weights(["encoder.oddity"], ["encoder.embed_tokens.weight"])
