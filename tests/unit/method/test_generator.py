"""The generator against the paper's equations, computed here with loops in float64 and in the paper's orientation.

In the paper, T has shape (I_t, O_t); PyTorch stores (O, I). Every matrix is therefore transposed before and after.
"""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from weightdistill.method.config import GeneratorConfig
from weightdistill.method.generator import ClassGenerator
from weightdistill.method.grouping import group_weights

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
            gate = generator.gate_weight[j].tolist(), generator.gate_bias[j].tolist()
            W, B = ([values] if vector else transposed(values) for values in gate)
            S = [[math.tanh(value) * W[i][o] + B[i][o] for o, value in enumerate(row)] for i, row in enumerate(T_hat)]
        students.append(torch.tensor(S[0] if vector else transposed(S), dtype=torch.float64))
    return students


OPTIONS = [
    {},
    {"sharing": "instance"},
    {"equal_maps": "learn"},
    {"equal_maps": "decoder"},
    {"sharing": "instance", "equal_maps": "learn"},
    {"map_init": "xavier"},
    {"map_init": "xavier_normal"},
    {"map_init": "aligned"},
    {"layer_init": "mean"},
    {"layer_init": "random"},
    {"layer_init": "first"},
    {"layer_init": "last"},
    {"gate_init": "ones"},
    {"gate": False},
    {"gate": False, "sharing": "instance"},
    {"learn_maps": False},
    {"learn_layer_weights": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("random", [False, True], ids=["start", "anywhere"])
def test_every_option_follows_the_equations_of_the_paper(randomise, build, uneven_student, options, random):
    generator = build(uneven_student, GeneratorConfig(**options), pre_norm=True, learned_positions=3)
    if random:
        randomise(generator)
    state = generator()
    for part in generator.class_generators():
        expected = by_the_papers_equations(part)
        for name, weight in zip(part.group.student_names, expected, strict=True):
            torch.testing.assert_close(state[name], weight, rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.integers(1, 5)] * 4),
    st.integers(1, 6).flatmap(lambda teacher: st.tuples(st.just(teacher), st.integers(1, teacher))),
    st.sampled_from(["class", "instance"]),
    st.sampled_from(["skip", "learn"]),
)
def test_the_cheaper_order_gives_the_same_result_as_the_order_of_the_paper(
    randomise, sizes, depths, sharing, equal_maps
):
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
def test_the_options_decide_which_maps_exist_and_are_shared(build, uneven_student, sharing, equal_maps):
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


def test_the_mixing_matrix_has_each_subset_at_its_teacher_layers(build, uneven_student):
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
def test_select_with_the_preserving_gate_starts_from_the_selected_entries_of_the_selected_layers(
    build, make_state, teacher_shape, uneven_student, layer_init, layers
):
    state = build(uneven_student, GeneratorConfig(layer_init=layer_init), dtype=torch.float32).materialise()
    teacher = make_state(teacher_shape)
    ffn = [0, 1, 3]  # evenly spaced among 5 units
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
        for i in range(4):  # the width of the encoder is unchanged
            expected = teacher[f"decoder.layers.{decoder_layer}.encoder_attn.k_proj.weight"][width[o], i].item()
            assert state["decoder.layers.0.encoder_attn.k_proj.weight"][o, i].item() == pytest.approx(
                expected, rel=1e-6
            )


@pytest.mark.parametrize("map_init", ["xavier", "select", "aligned"])
@pytest.mark.parametrize("layer_init", ["mean", "first", "last", "middle"])
def test_the_preserving_gate_passes_the_transformed_weights_unchanged(build, uneven_student, map_init, layer_init):
    generator = build(
        uneven_student, GeneratorConfig(map_init=map_init, layer_init=layer_init), dtype=torch.float32, pre_norm=True
    )
    state = generator.materialise()
    for part in generator.class_generators():
        for name, transformed in zip(part.group.student_names, part.transform(), strict=True):
            torch.testing.assert_close(state[name], transformed, rtol=3e-7, atol=0)


def test_a_gate_of_ones_starts_from_the_tanh_of_the_transformed_weights(build, tiny_student):
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
def test_a_step_changes_only_trained_parameters(build, uneven_student, options, trained):
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
def test_gradients(randomise, options, role):
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
    parameters = dict(generator.named_parameters())

    def generate(*values):
        return functional_call(generator, dict(zip(parameters, values, strict=True)), ())

    assert torch.autograd.gradcheck(generate, tuple(parameters.values()))


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_autocast_does_not_round_the_weights(build, tiny_student, precision):
    generator = build(tiny_student, GeneratorConfig(map_init="xavier"), dtype=torch.float32)
    expected = generator()
    with torch.autocast("cpu", precision):
        state = generator()
    assert all(torch.equal(weight, expected[name]) for name, weight in state.items())


def test_half_precision_training_starts_from_the_exact_teacher(build, tiny_student):
    """Training in half precision therefore sees the weights that export generates in float32."""
    exact = build(tiny_student, GeneratorConfig(), dtype=torch.float32)
    halved = copy.deepcopy(exact).half()
    exact.load_state_dict(halved.state_dict())  # parameters as in a checkpoint; the teacher comes from another file
    assert all(torch.equal(weight.half(), halved()[name]) for name, weight in exact().items())


def test_half_precision_training_does_not_round_intermediate_results(build, tiny_student):
    exact = build(tiny_student, GeneratorConfig(map_init="xavier", gate_init="ones"), dtype=torch.float32)
    halved = copy.deepcopy(exact).half()
    expected = copy.deepcopy(halved).float()()
    for name, weight in halved().items():
        assert weight.dtype == torch.float16
        assert torch.equal(weight, expected[name].half()), name
