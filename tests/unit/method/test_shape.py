"""Shapes, and the presets of teachers and students."""

import pytest

from weightdistill.errors import DistillationError
from weightdistill.method.shape import STUDENTS, TEACHERS, StackShape, TransformerShape, student_shape


@pytest.mark.parametrize("options", [{}, {"pre_norm": True, "learned_positions": 9, "embedding_norm": True}])
def test_a_shape_is_read_from_a_state(make_state, uneven_student, options):
    state = make_state(uneven_student, **options)
    assert TransformerShape.of(state, encoder_heads=2, decoder_heads=2) == uneven_student


@pytest.mark.parametrize("missing", ["encoder", "decoder"])
def test_a_teacher_without_a_stack_is_refused(make_state, teacher_shape, missing):
    state = {name: weight for name, weight in make_state(teacher_shape).items() if not name.startswith(missing)}
    with pytest.raises(DistillationError, match=rf"no {missing} layers.*whole encoder-decoder"):
        TransformerShape.of(state, 2, 2)


def test_names_of_another_architecture_are_refused(make_state, teacher_shape):
    state = make_state(teacher_shape)
    state["decoder.lstm.weight"] = state["encoder.layers.0.fc1.weight"]
    with pytest.raises(DistillationError, match=r"decoder\.lstm\.weight"):
        TransformerShape.of(state, 2, 2)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(DistillationError, match=r"width must be a multiple of .*heads \(3\), but is 8; change"):
        StackShape(layers=1, width=8, ffn=8, heads=3)


@pytest.mark.parametrize("field", ["layers", "width", "ffn", "heads"])
def test_sizes_below_one_are_refused(field):
    with pytest.raises(DistillationError, match=f"{field} must be at least 1, but is 0"):
        StackShape(**{"layers": 1, "width": 8, "ffn": 8, "heads": 2, field: 0})


def test_tiny_halves_the_decoder_and_keeps_its_heads_and_the_encoder():
    base = TEACHERS["base"]
    assert student_shape("tiny", base) == TransformerShape(
        encoder=base.encoder, decoder=StackShape(layers=1, width=256, ffn=1024, heads=8)
    )


def test_small_keeps_the_width_of_two_decoder_layers():
    big = TEACHERS["big"]
    assert student_shape("small", big) == TransformerShape(
        encoder=big.encoder, decoder=StackShape(layers=2, width=1024, ffn=4096, heads=16)
    )


@pytest.mark.parametrize(
    ("preset", "encoder", "decoder"),
    [
        ("base", (6, 512, 2048, 8), (6, 512, 2048, 8)),
        ("big", (6, 1024, 4096, 16), (6, 1024, 4096, 16)),
        ("deep", (48, 512, 2048, 8), (6, 512, 2048, 8)),
    ],
)
def test_teachers_have_the_papers_sizes(preset, encoder, decoder):
    assert TEACHERS[preset] == TransformerShape(StackShape(*encoder), StackShape(*decoder))


def test_the_error_for_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(DistillationError, match="'huge'") as caught:
        student_shape("huge", TEACHERS["base"])
    assert all(preset in str(caught.value) for preset in STUDENTS)


def test_a_teacher_too_narrow_for_the_preset_is_refused():
    stack = StackShape(layers=2, width=12, ffn=8, heads=4)
    with pytest.raises(DistillationError, match=r"heads \(4\), but is 6"):
        student_shape("tiny", TransformerShape(stack, stack))
