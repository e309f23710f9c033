"""The generator against the paper's equations, computed here with loops in float64 and in the paper's orientation.

There T is (I_t x O_t), while PyTorch keeps (O, I): every matrix is transposed on its way in and on its way out.
"""

import math
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from weightdistill.config import BUNDLES, GeneratorConfig
from weightdistill.errors import DistillationError
from weightdistill.generator import ClassGenerator, WeightGenerator
from weightdistill.grouping import group_weights
from weightdistill.shape import StackShape, TransformerShape, student_shape

Matrix = list[list[float]]


def product(left: Matrix, right: Matrix) -> Matrix:
    return [
        [math.fsum(left[row][k] * right[k][column] for k in range(len(right))) for column in range(len(right[0]))]
        for row in range(len(left))
    ]


def transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def identity(size: int) -> Matrix:
    return [[float(row == column) for column in range(size)] for row in range(size)]


def by_the_papers_equations(generator: ClassGenerator) -> list[torch.Tensor]:
    """S_j = tanh(sum over l in A_j of W_L[l] · (W_Iᵀ · T_l · W_O)) * W_j + B_j, one student layer after another."""
    subsets = generator.group.subsets
    instance_maps = generator.W_L.shape[0] == len(subsets) > len({len(subset) for subset in subsets})
    sizes = list(dict.fromkeys(len(subset) for subset in subsets))  # a row of W_L for each size, or for each layer
    vector = generator.teacher.ndim == 2
    students = []
    for j, subset in enumerate(subsets):

        def map_of_layer(weight, kept, j=j):
            if weight is None:
                return identity(kept)
            return (weight[j] if weight.ndim == 3 else weight).tolist()

        W_O = map_of_layer(generator.W_O, generator.teacher.shape[1])
        W_I = identity(1) if vector else map_of_layer(generator.W_I, generator.teacher.shape[2])
        W_L = generator.W_L[j if instance_maps else sizes.index(len(subset))].tolist()
        T_hat = [[0.0] * len(W_O[0]) for _ in range(len(W_I[0]))]  # (I_s, O_s)
        for position, layer in enumerate(subset):
            weight = generator.teacher[layer]
            T = [weight.tolist()] if vector else transposed(weight.tolist())  # (I_t, O_t)
            mapped = product(product(transposed(W_I), T), W_O)
            for i, row in enumerate(mapped):
                for o, value in enumerate(row):
                    T_hat[i][o] += W_L[position] * value
        S = T_hat
        if generator.gate_weight is not None:
            W, B = ([g.tolist()] if vector else transposed(g.tolist()) for g in gate_of_layer(generator, j))
            S = [[math.tanh(value) * W[i][o] + B[i][o] for o, value in enumerate(row)] for i, row in enumerate(T_hat)]
        students.append(torch.tensor(S[0] if vector else transposed(S), dtype=torch.float64))
    return students


def gate_of_layer(generator, j):
    return generator.gate_weight[j], generator.gate_bias[j]


def randomise(module: torch.nn.Module) -> None:
    """Values that no initialisation gives, so that no term of the equations can hide behind a zero or a one."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()


@pytest.fixture
def build(make_state, teacher_shape):
    """Builds the generator of a student of the 6-6 teacher, in float64 on request."""

    def make(student, config=None, *, aliases=None, dtype=torch.float64, teacher=teacher_shape, **options):
        student_state = make_state(student, seed=1, **options)
        for alias in aliases or {}:
            del student_state[alias]
        teacher_state = make_state(teacher, **options)
        generator = WeightGenerator(teacher_state, teacher, student_state, student, aliases, config)
        return generator.to(dtype)

    return make


OPTIONS = [
    {},
    {"sharing": "instance"},
    {"equal_maps": "learn"},
    {"equal_maps": "decoder"},
    {"sharing": "instance", "equal_maps": "learn"},
    {"map_init": "xavier"},
    {"map_init": "aligned"},
    {"layer_init": "mean"},
    {"layer_init": "first"},
    {"layer_init": "spaced"},
    {"gate_init": "ones"},
    {"gate": False},
    {"gate": False, "sharing": "instance"},
    {"learn_maps": False},
    {"learn_layer_weights": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("random", [False, True], ids=["start", "anywhere"])
def test_every_option_follows_the_papers_equations(build, uneven_student, options, random):
    generator = build(uneven_student, GeneratorConfig(**options), pre_norm=True, learned_positions=3)
    if random:
        randomise(generator)
    state = generator()
    for part in generator.class_generators():
        expected = by_the_papers_equations(part)
        for name, weight in zip(part.group.student_names, expected, strict=True):
            torch.testing.assert_close(state[name], weight, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("state", [{"pre_norm": True}, {"embedding_norm": True, "learned_positions": 4}], ids=str)
def test_the_student_has_exactly_its_own_names_and_sizes(build, make_state, tiny_student, bundle, state):
    materialised = build(tiny_student, BUNDLES[bundle], dtype=torch.float32, **state).materialise()
    expected = make_state(tiny_student, **state)
    assert {name: weight.shape for name, weight in materialised.items()} == {
        name: weight.shape for name, weight in expected.items()
    }
    assert all(weight.dtype == torch.float32 and not weight.requires_grad for weight in materialised.values())


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.integers(1, 5)] * 4),
    st.integers(1, 6).flatmap(lambda teacher: st.tuples(st.just(teacher), st.integers(1, teacher))),
    st.sampled_from(["class", "instance"]),
    st.sampled_from(["skip", "learn"]),
)
def test_layers_first_and_the_cheaper_map_first_give_the_papers_order(sizes, depths, sharing, equal_maps):
    out_before, out_after, in_before, in_after = sizes
    teacher_layers, student_layers = depths
    names = [f"encoder.layers.{layer}.fc1.weight" for layer in range(teacher_layers)]
    (group,) = group_weights(names, names[:student_layers])
    generator = ClassGenerator(
        group,
        torch.randn(teacher_layers, out_before, in_before),
        (out_after, in_after),
        GeneratorConfig(sharing=sharing, equal_maps=equal_maps),
        lambda _axis, before, after: torch.randn(before, after),
    ).double()
    randomise(generator)
    expected = torch.stack(by_the_papers_equations(generator))
    torch.testing.assert_close(generator(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("sharing", "equal_maps"),
    [("class", "skip"), ("class", "learn"), ("class", "decoder"), ("instance", "skip"), ("instance", "decoder")],
)
def test_maps_exist_where_the_options_say_and_are_shared_as_they_say(build, uneven_student, sharing, equal_maps):
    generator = build(uneven_student, GeneratorConfig(sharing=sharing, equal_maps=equal_maps))
    for part in generator.class_generators():
        layers, *student_size = part().shape
        axes = part.group.weight_class.axes
        learns_equal = equal_maps == "learn" or equal_maps == part.group.weight_class.stack
        maps = (part.W_O, part.W_I)[: len(axes)]
        for axis, weight, before, after in zip(axes, maps, part.teacher.shape[1:], student_size, strict=True):
            if axis.mappable and (before != after or learns_equal):
                expected = (before, after) if sharing == "class" else (layers, before, after)
                assert weight is not None and tuple(weight.shape) == expected
            else:
                assert weight is None
        rows = {len(subset) for subset in part.group.subsets}
        assert len(part.W_L) == (len(rows) if sharing == "class" else layers)


def test_the_mixing_matrix_lays_each_subset_along_the_teachers_layers(build, uneven_student):
    generator = build(uneven_student, GeneratorConfig(layer_init="mean"))
    by_name = {part.group.weight_class.name: part for part in generator.class_generators()}
    half = 0.5
    assert by_name["encoder.fc1.weight"].mixing_matrix().tolist() == [
        [half, half, 0, 0, 0, 0],
        [0, 0, half, half, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize(("layer_init", "layers"), [("first", [0, 2, 4, 5]), ("last", [1, 3, 4, 5])])
def test_select_with_the_preserving_gate_starts_as_the_chosen_entries_of_the_chosen_layers(
    build, make_state, teacher_shape, uneven_student, layer_init, layers
):
    state = build(uneven_student, GeneratorConfig(layer_init=layer_init), dtype=torch.float32).materialise()
    teacher = make_state(teacher_shape)
    ffn = [0, 1, 3]  # of 5 units, spread evenly
    for student_layer, teacher_layer in enumerate(layers):
        student, source = f"encoder.layers.{student_layer}", f"encoder.layers.{teacher_layer}"
        for o in range(3):
            for i in range(4):
                expected = teacher[f"{source}.fc1.weight"][ffn[o], i].item()
                assert state[f"{student}.fc1.weight"][o, i].item() == pytest.approx(expected, rel=1e-6)
        torch.testing.assert_close(state[f"{student}.fc1.bias"], teacher[f"{source}.fc1.bias"][ffn])
        query = f"{source}.self_attn.q_proj.weight"
        torch.testing.assert_close(state[f"{student}.self_attn.q_proj.weight"], teacher[query])
    decoder_layer = {"first": 0, "last": 5}[layer_init]
    width = [0, 2, 4, 6]  # of 8: the first two of head 0, the last two of head 1
    for o in range(4):
        for i in range(4):  # the encoder's width, which is kept
            expected = teacher[f"decoder.layers.{decoder_layer}.encoder_attn.k_proj.weight"][width[o], i].item()
            assert state["decoder.layers.0.encoder_attn.k_proj.weight"][o, i].item() == pytest.approx(
                expected, rel=1e-6
            )


@pytest.mark.parametrize("map_init", ["xavier", "select", "aligned"])
@pytest.mark.parametrize("layer_init", ["mean", "first", "last", "spaced"])
def test_the_preserving_gate_passes_the_transformed_weights_unchanged(build, uneven_student, map_init, layer_init):
    generator = build(
        uneven_student, GeneratorConfig(map_init=map_init, layer_init=layer_init), dtype=torch.float32, pre_norm=True
    )
    state = generator.materialise()
    for part in generator.class_generators():
        for name, transformed in zip(part.group.student_names, part.transform(), strict=True):
            torch.testing.assert_close(state[name], transformed, rtol=3e-7, atol=0)


def test_the_gate_of_ones_starts_as_the_tanh_of_the_transformed_weights(build, tiny_student):
    generator = build(tiny_student, GeneratorConfig(gate_init="ones"))
    state = generator()
    for part in generator.class_generators():
        for name, transformed in zip(part.group.student_names, part.transform(), strict=True):
            torch.testing.assert_close(state[name], transformed.tanh())


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({}, {"W_I", "W_O", "W_L", "gate_weight", "gate_bias"}),
        ({"learn_maps": False}, {"W_L", "gate_weight", "gate_bias"}),
        ({"learn_layer_weights": False}, {"W_I", "W_O", "gate_weight", "gate_bias"}),
        ({"gate": False}, {"W_I", "W_O", "W_L"}),
        ({"gate": False, "learn_maps": False}, {"W_L"}),
    ],
    ids=["default", "maps frozen", "layer weights frozen", "no gate", "no gate, maps frozen"],
)
def test_a_step_changes_only_what_is_learnt(build, uneven_student, options, trained):
    generator = build(uneven_student, GeneratorConfig(**options))
    before = {name: weight.clone() for name, weight in generator.state_dict().items()}
    optimiser = torch.optim.SGD([weight for weight in generator.parameters() if weight.requires_grad], lr=0.1)
    sum((weight**2).sum() for weight in generator().values()).backward()
    optimiser.step()
    changed = {
        name.rpartition(".")[2]
        for name, weight in generator.state_dict().items()
        if not torch.equal(weight, before[name])
    }
    assert changed == trained


def test_weights_that_are_not_generated_are_trained_from_their_fresh_start(build, make_state, tiny_student):
    generator = build(tiny_student, GeneratorConfig(generate=r"encoder\..*"), dtype=torch.float32)
    fresh = make_state(tiny_student, seed=1)
    state = generator()
    for name, weight in fresh.items():
        assert torch.equal(state[name], weight) == name.startswith("decoder.")
        assert state[name].requires_grad
    sum((weight**2).sum() for weight in state.values()).backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())


def test_weights_that_are_not_generated_can_be_copied_and_then_stay_the_teachers(
    build, make_state, teacher_shape, uneven_student
):
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


def test_only_whole_class_names_match_the_expression(build, tiny_student):
    with pytest.raises(DistillationError, match=re.escape(r"generate is 'encoder\\.fc[12]'")) as caught:
        build(tiny_student, GeneratorConfig(generate=r"encoder\.fc[12]"))
    assert "matches no weight class" in str(caught.value)
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


def test_a_state_dict_restores_the_student_exactly(build, uneven_student):
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


def test_a_teachers_tie_that_the_student_cannot_keep_becomes_two_weights(build, make_state, tiny_student):
    """One matrix for both stacks in the teacher; in a student whose decoder is narrower, one for each."""
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


def test_materialised_weights_are_the_callers_own(build, tiny_student):
    generator = build(tiny_student, GeneratorConfig(generate=r"encoder\..*"), dtype=torch.float32)
    before = {name: weight.clone() for name, weight in generator.materialise().items()}
    for weight in generator.materialise().values():
        weight.zero_()
    assert all(torch.equal(weight, before[name]) for name, weight in generator.materialise().items())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sharing": "instance", "equal_maps": "learn"},
        {"gate": False, "map_init": "xavier"},
        {"gate_init": "ones", "layer_init": "mean"},
    ],
    ids=str,
)
@pytest.mark.parametrize("role", ["fc1.weight", "fc1.bias"])
def test_gradients(options, role):
    names = [f"decoder.layers.{layer}.{role}" for layer in range(5)]
    (group,) = group_weights(names, names[:2])
    sizes = {"fc1.weight": ((3, 4), (2, 3)), "fc1.bias": ((3,), (2,))}[role]
    generator = ClassGenerator(
        group,
        torch.randn(5, *sizes[0]),
        sizes[1],
        GeneratorConfig(**options),
        lambda _axis, before, after: torch.randn(before, after),
    ).double()
    randomise(generator)
    names, values = zip(*generator.named_parameters(), strict=True)

    def generate(*parameters):
        return functional_call(generator, dict(zip(names, parameters, strict=True)), ())

    assert torch.autograd.gradcheck(generate, values)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_autocast_does_not_round_the_weights(build, tiny_student, precision):
    generator = build(tiny_student, GeneratorConfig(map_init="xavier"), dtype=torch.float32)
    expected = generator()
    with torch.autocast("cpu", precision):
        state = generator()
    assert all(torch.equal(weight, expected[name]) for name, weight in state.items())


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_the_generator_is_at_most_three_and_a_half_times_as_large_as_the_student(make_state, preset):
    """A quarter of the base teacher in every size, vocabulary included, so that the ratio is the base teacher's."""
    stack = StackShape(layers=6, width=128, ffn=512, heads=8)
    teacher = TransformerShape(stack, stack)
    student = student_shape(preset, teacher)
    student_state = make_state(student, vocabularies=(2000, 2000))
    generator = WeightGenerator(make_state(teacher, vocabularies=(2000, 2000)), teacher, student_state, student)
    learnt = sum(parameter.numel() for parameter in generator.parameters() if parameter.requires_grad)
    assert 2 <= learnt / sum(weight.numel() for weight in student_state.values()) <= 3.5


def test_another_vocabulary_is_refused(make_state, teacher_shape, tiny_student):
    with pytest.raises(DistillationError, match=r"encoder\.embed_tokens\.weight: .*source vocabulary.* 5 and 6"):
        WeightGenerator(
            make_state(teacher_shape), teacher_shape, make_state(tiny_student, vocabularies=(6, 7)), tiny_student
        )


def test_another_number_of_positions_is_refused(make_state, teacher_shape, tiny_student):
    states = [make_state(shape, learned_positions=n) for shape, n in ((teacher_shape, 4), (tiny_student, 3))]
    with pytest.raises(DistillationError, match=r"encoder\.embed_positions\.weight: .*encoder positions.* 4 and 3"):
        WeightGenerator(states[0], teacher_shape, states[1], tiny_student)


def test_a_deeper_student_is_refused(make_state, teacher_shape, tiny_student):
    with pytest.raises(DistillationError, match=r"decoder: .*teacher \(1\), but has 6; choose a shallower"):
        WeightGenerator(make_state(tiny_student), tiny_student, make_state(teacher_shape), teacher_shape)
