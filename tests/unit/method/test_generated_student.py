"""The generated student as a whole: names, sizes, ties, copied and trained weights, and errors."""

import re
from dataclasses import replace

import pytest
import torch

from weightdistill.errors import DistillationError
from weightdistill.method.config import BUNDLES, GeneratorConfig
from weightdistill.method.generator import WeightGenerator
from weightdistill.method.shape import StackShape, TransformerShape, student_shape


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("state", [{"pre_norm": True}, {"embedding_norm": True, "learned_positions": 4}], ids=str)
def test_the_student_has_exactly_the_expected_names_and_sizes(build, make_state, tiny_student, bundle, state):
    materialised = build(tiny_student, BUNDLES[bundle], dtype=torch.float32, **state).materialise()
    expected = make_state(tiny_student, **state)
    assert {name: weight.shape for name, weight in materialised.items()} == {
        name: weight.shape for name, weight in expected.items()
    }
    assert all(weight.dtype == torch.float32 and not weight.requires_grad for weight in materialised.values())


def test_weights_that_are_not_generated_are_trained_from_fresh_values(build, make_state, tiny_student):
    generator = build(tiny_student, GeneratorConfig(generate=r"encoder\..*"), dtype=torch.float32)
    fresh = make_state(tiny_student, seed=1)
    state = generator()
    for name, weight in fresh.items():
        assert torch.equal(state[name], weight) == name.startswith("decoder.")
        assert state[name].requires_grad
    sum((weight**2).sum() for weight in state.values()).backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())


def test_weights_that_are_not_generated_can_be_copied_and_frozen(build, make_state, teacher_shape, uneven_student):
    student = replace(uneven_student, encoder=replace(teacher_shape.encoder, layers=4))
    config = GeneratorConfig(generate=r"decoder\..*", rest="copy", layer_init="first")
    generator = build(student, config, dtype=torch.float32)
    teacher, state = make_state(teacher_shape), generator()
    for student_layer, teacher_layer in enumerate([0, 2, 4, 5]):
        for role in ("fc1.weight", "fc2.bias", "self_attn.q_proj.weight", "final_layer_norm.weight"):
            copied = state[f"encoder.layers.{student_layer}.{role}"]
            assert torch.equal(copied, teacher[f"encoder.layers.{teacher_layer}.{role}"])
            assert not copied.requires_grad
    assert torch.equal(state["encoder.embed_tokens.weight"], teacher["encoder.embed_tokens.weight"])
    assert not [name for name in generator.state_dict() if "encoder" in name and "decoder" not in name]


def test_weights_that_are_not_generated_can_be_trained_from_the_teachers(
    build, make_state, teacher_shape, tiny_student
):
    """Where the decoder is narrower, they start afresh."""
    student = replace(tiny_student, encoder=replace(teacher_shape.encoder, layers=3))
    config = GeneratorConfig(generate=r"decoder\.fc.*", rest="tune", layer_init="last")
    generator = build(student, config, dtype=torch.float32)
    teacher, fresh, state = make_state(teacher_shape), make_state(student, seed=1), generator()
    for student_layer, teacher_layer in enumerate([1, 3, 5]):
        tuned = state[f"encoder.layers.{student_layer}.fc1.weight"]
        assert torch.equal(tuned, teacher[f"encoder.layers.{teacher_layer}.fc1.weight"]) and tuned.requires_grad
    narrower = state["decoder.embed_tokens.weight"]
    assert torch.equal(narrower, fresh["decoder.embed_tokens.weight"]) and narrower.requires_grad
    assert "trained.encoder/layers/0/fc1/weight" in generator.state_dict()


@pytest.mark.parametrize("rest", ["copy", "tune"])
@pytest.mark.parametrize("layer_init", ["mean", "random"])
def test_a_layer_to_copy_must_be_named(build, teacher_shape, rest, layer_init):
    with pytest.raises(DistillationError, match=rf"must name the layer to copy \(first, .*, but is '{layer_init}'"):
        student = student_shape("small", teacher_shape)
        build(student, GeneratorConfig(generate=r"encoder\..*", rest=rest, layer_init=layer_init))


def test_a_class_may_have_its_own_options(build, make_state, teacher_shape, tiny_student):
    config = GeneratorConfig(by_class='{"encoder.fc1.*": {"gate": false}, "decoder.fc1.*": {"sharing": "instance"}}')
    state = build(tiny_student, config).state_dict()
    assert not [name for name in state if name.startswith("classes.encoder/fc1") and "gate" in name]
    assert "classes.encoder/fc2/weight.gate_weight" in state
    assert [state[f"classes.decoder/{role}/weight.W_O"].ndim for role in ("fc1", "fc2")] == [3, 2]


def test_only_whole_class_names_match_the_expression(build, tiny_student):
    with pytest.raises(DistillationError, match=re.escape(r"but is 'encoder\\.fc[12]'")) as caught:
        build(tiny_student, GeneratorConfig(generate=r"encoder\.fc[12]"))
    assert "must match a weight class, but is" in str(caught.value)
    assert "encoder.fc1.weight" in str(caught.value) and "decoder.embed_tokens.weight" in str(caught.value)


def test_a_weight_of_another_size_cannot_be_copied(build, tiny_student):
    with pytest.raises(DistillationError, match=r"decoder\.\S+ cannot be copied.*\(7, 8\).*\(7, 4\); generate it"):
        build(tiny_student, GeneratorConfig(generate=r"encoder\..*", rest="copy"))


@pytest.mark.parametrize(
    "options", [{}, {"rest": "copy", "generate": r"encoder\.fc1.*"}, {"sharing": "instance"}], ids=str
)
def test_the_teachers_weights_are_in_no_state_dict(build, make_state, teacher_shape, options):
    student = replace(teacher_shape, encoder=replace(teacher_shape.encoder, layers=4))
    config = GeneratorConfig(gate_init="ones", map_init="xavier", **options)
    generator = build(student, config, dtype=torch.float32)
    assert set(generator.state_dict()) == {name for name, _ in generator.named_parameters()}
    teacher_values = {value for weight in make_state(teacher_shape).values() for value in weight.flatten().tolist()}
    kept_values = {value for weight in generator.state_dict().values() for value in weight.flatten().tolist()}
    assert not teacher_values & (kept_values - {0.0, 1.0})


def test_a_state_dict_restores_the_student_exactly(randomise, build, uneven_student):
    trained = build(uneven_student, GeneratorConfig(map_init="xavier"))
    randomise(trained)
    restored = build(uneven_student, GeneratorConfig(map_init="xavier"))
    restored.load_state_dict(trained.state_dict())
    expected = trained()
    assert all(torch.equal(weight, expected[name]) for name, weight in restored().items())


ALIASES = {
    "decoder": {"decoder.output_projection.weight": "decoder.embed_tokens.weight"},
    "all": {
        "decoder.embed_tokens.weight": "encoder.embed_tokens.weight",
        "decoder.output_projection.weight": "encoder.embed_tokens.weight",
    },
}


@pytest.mark.parametrize("tie", ALIASES)
def test_tied_embeddings_are_generated_once_and_stay_one_tensor(build, teacher_shape, tie):
    stack = teacher_shape.encoder
    teacher = TransformerShape(stack, stack)
    student = TransformerShape(replace(stack, width=2, heads=1), replace(stack, width=2, heads=1, layers=1))
    generator = build(student, teacher=teacher, aliases=ALIASES[tie], vocabularies=(7, 7), tie=tie, dtype=torch.float32)
    generated = [name for part in generator.class_generators() for name in part.group.student_names]
    assert not set(generated) & set(ALIASES[tie])
    state, live = generator.materialise(), generator()
    for alias, name in ALIASES[tie].items():
        assert state[alias] is state[name]
        assert live[alias] is live[name]
    pointers = [weight.data_ptr() for weight in state.values()]
    assert len(set(pointers)) == len(pointers) - len(ALIASES[tie])


def test_a_tie_of_the_teacher_that_the_student_cannot_have_becomes_two_weights(build, make_state, tiny_student):
    """The teacher shares one matrix between both stacks; a student with a narrower decoder needs one for each."""
    stack = StackShape(layers=2, width=8, ffn=6, heads=2)
    teacher = TransformerShape(stack, stack)
    student = student_shape("tiny", teacher)
    aliases = {"decoder.output_projection.weight": "decoder.embed_tokens.weight"}
    student_state = {
        name: weight for name, weight in make_state(student, vocabularies=(7, 7)).items() if name not in aliases
    }
    teacher_state = make_state(teacher, vocabularies=(7, 7), tie="all")
    state = WeightGenerator(teacher_state, teacher, student_state, student, aliases).materialise()
    shared = teacher_state["encoder.embed_tokens.weight"]
    torch.testing.assert_close(state["encoder.embed_tokens.weight"], shared)
    torch.testing.assert_close(state["decoder.embed_tokens.weight"], shared[:, ::2])
    assert state["decoder.output_projection.weight"] is state["decoder.embed_tokens.weight"]


def test_materialised_weights_are_independent_of_the_generator(build, tiny_student):
    generator = build(tiny_student, GeneratorConfig(generate=r"encoder\..*"), dtype=torch.float32)
    before = {name: weight.clone() for name, weight in generator.materialise().items()}
    for weight in generator.materialise().values():
        weight.zero_()
    assert all(torch.equal(weight, before[name]) for name, weight in generator.materialise().items())


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_the_generator_is_at_most_3_5_times_the_size_of_the_student(make_state, preset):
    """All sizes, including the vocabulary, are a quarter of the base teacher's, so that the ratio is the same."""
    stack = StackShape(layers=6, width=128, ffn=512, heads=8)
    teacher = TransformerShape(stack, stack)
    student = student_shape(preset, teacher)
    student_state = make_state(student, vocabularies=(2000, 2000))
    generator = WeightGenerator(make_state(teacher, vocabularies=(2000, 2000)), teacher, student_state, student)
    learnt = sum(parameter.numel() for parameter in generator.parameters() if parameter.requires_grad)
    assert 2 <= learnt / sum(weight.numel() for weight in student_state.values()) <= 3.5


def test_a_different_vocabulary_is_refused(make_state, teacher_shape, tiny_student):
    with pytest.raises(DistillationError, match=r"encoder\.embed_tokens\.weight: .*source vocabulary.* 5 and 6"):
        WeightGenerator(
            make_state(teacher_shape), teacher_shape, make_state(tiny_student, vocabularies=(6, 7)), tiny_student
        )


def test_a_different_number_of_positions_is_refused(make_state, teacher_shape, tiny_student):
    states = [make_state(shape, learned_positions=n) for shape, n in ((teacher_shape, 4), (tiny_student, 3))]
    with pytest.raises(DistillationError, match=r"encoder\.embed_positions\.weight: .*encoder positions.* 4 and 3"):
        WeightGenerator(states[0], teacher_shape, states[1], tiny_student)


def test_options_for_a_class_that_does_not_exist_are_refused(make_state, teacher_shape, tiny_student):
    states = make_state(teacher_shape), teacher_shape, make_state(tiny_student), tiny_student
    config = GeneratorConfig(by_class='{"encoder.*": {"gate": false}, "decoder.fc3.*": {"gate": false}}')
    message = r"by_class must match .*, but 'decoder\.fc3\.\*' matches none; the classes are .*decoder\.fc1\.weight"
    with pytest.raises(DistillationError, match=message):
        WeightGenerator(*states, config=config)
    WeightGenerator(*states, config=replace(config, by_class='{"decoder.fc1.*": {"gate": false}}'))


def test_a_deeper_student_is_refused(make_state, teacher_shape, tiny_student):
    with pytest.raises(DistillationError, match=r"decoder: .*depth \(1\), but is 6; choose a shallower"):
        WeightGenerator(make_state(tiny_student), tiny_student, make_state(teacher_shape), teacher_shape)
