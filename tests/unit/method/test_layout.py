"""Parameter names of all fairseq versions, and the meaning of their axes."""

import pytest
import torch

from weightdistill.errors import DistillationError
from weightdistill.method.layout import Axis, canonical, parse, require_known


@pytest.mark.parametrize(
    ("name", "weight_class", "layer", "axes"),
    [
        (
            "decoder.layers.11.encoder_attn.k_proj.weight",
            "decoder.encoder_attn.k_proj.weight",
            11,
            (Axis.DECODER_HEADS, Axis.ENCODER_RESIDUAL),
        ),
        (
            "decoder.layers.0.encoder_attn.q_proj.weight",
            "decoder.encoder_attn.q_proj.weight",
            0,
            (Axis.DECODER_HEADS, Axis.DECODER_RESIDUAL),
        ),
        (
            "encoder.layers.3.self_attn.out_proj.weight",
            "encoder.self_attn.out_proj.weight",
            3,
            (Axis.ENCODER_RESIDUAL, Axis.ENCODER_HEADS),
        ),
        ("encoder.layers.3.self_attn.v_proj.bias", "encoder.self_attn.v_proj.bias", 3, (Axis.ENCODER_HEADS,)),
        ("encoder.layers.3.fc1.weight", "encoder.fc1.weight", 3, (Axis.ENCODER_FFN, Axis.ENCODER_RESIDUAL)),
        ("decoder.layers.3.fc2.weight", "decoder.fc2.weight", 3, (Axis.DECODER_RESIDUAL, Axis.DECODER_FFN)),
        ("decoder.layers.2.fc2.bias", "decoder.fc2.bias", 2, (Axis.DECODER_RESIDUAL,)),
        ("decoder.layers.2.final_layer_norm.weight", "decoder.final_layer_norm.weight", 2, (Axis.DECODER_GAIN,)),
        ("decoder.layers.2.final_layer_norm.bias", "decoder.final_layer_norm.bias", 2, (Axis.DECODER_RESIDUAL,)),
        (
            "encoder.embed_tokens.weight",
            "encoder.embed_tokens.weight",
            None,
            (Axis.SOURCE_VOCABULARY, Axis.ENCODER_RESIDUAL),
        ),
        (
            "decoder.output_projection.weight",
            "decoder.output_projection.weight",
            None,
            (Axis.TARGET_VOCABULARY, Axis.DECODER_RESIDUAL),
        ),
        (
            "encoder.embed_positions.weight",
            "encoder.embed_positions.weight",
            None,
            (Axis.ENCODER_POSITIONS, Axis.ENCODER_RESIDUAL),
        ),
        ("encoder.layer_norm.weight", "encoder.layer_norm.weight", None, (Axis.ENCODER_GAIN,)),
        ("decoder.layernorm_embedding.bias", "decoder.layernorm_embedding.bias", None, (Axis.DECODER_RESIDUAL,)),
    ],
)
def test_a_name_is_parsed_into_class_layer_and_axes(name, weight_class, layer, axes):
    meaning = parse(name)
    assert meaning is not None
    assert (meaning.weight_class.name, meaning.layer, meaning.weight_class.axes) == (weight_class, layer, axes)
    assert meaning.weight_class.stack == name.partition(".")[0]
    assert meaning.weight_class.layered == (layer is not None)


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layers.0.encoder_attn.q_proj.weight",  # only decoders have encoder attention
        "encoder.output_projection.weight",
        "decoder.layers.x.fc1.weight",
        "decoder.layers.0.fc1.weight.more",
        "decoder.layers.0.embed_tokens.weight",
        "decoder.fc1.weight",
        "decoder.adaptive_softmax.head.weight",
        "fc1.weight",
        "",
    ],
)
def test_names_outside_the_transformer_are_unknown(name):
    assert parse(name) is None


def test_only_vocabularies_and_positions_cannot_be_mapped():
    kept = {axis for axis in Axis if not axis.mappable}
    assert kept == {
        Axis.SOURCE_VOCABULARY,
        Axis.TARGET_VOCABULARY,
        Axis.ENCODER_POSITIONS,
        Axis.DECODER_POSITIONS,
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pre_norm": True},
        {"learned_positions": 9},
        {"embedding_norm": True},
        {"tie": "decoder"},
        {"tie": "all", "vocabularies": (7, 7)},
        {"pre_norm": True, "learned_positions": 3, "embedding_norm": True},
    ],
)
def test_current_states_pass_unchanged(make_state, teacher_shape, options):
    shape = teacher_shape
    state = make_state(shape, **options)
    result = canonical(state)
    assert list(result) == list(state)
    assert all(result[name] is state[name] for name in state)


@pytest.mark.parametrize("attention", ["encoder.layers.0.self_attn", "decoder.layers.2.encoder_attn"])
def test_a_fused_projection_is_split_into_q_k_and_v(attention):
    weight = torch.arange(3 * 4 * 4.0).reshape(12, 4)
    bias = torch.arange(12.0)
    result = canonical({f"{attention}.in_proj_weight": weight, f"{attention}.in_proj_bias": bias})
    assert list(result) == [f"{attention}.{part}_proj.{kind}" for kind in ("weight", "bias") for part in "qkv"]
    for number, part in enumerate("qkv"):
        for row in range(4):
            assert result[f"{attention}.{part}_proj.weight"][row].tolist() == weight[4 * number + row].tolist()
            assert result[f"{attention}.{part}_proj.bias"][row] == bias[4 * number + row]


@pytest.mark.parametrize(
    ("old", "current"),
    [
        ("encoder.layers.5.layer_norms.0.weight", "encoder.layers.5.self_attn_layer_norm.weight"),
        ("encoder.layers.5.layer_norms.1.bias", "encoder.layers.5.final_layer_norm.bias"),
        ("decoder.layers.0.layer_norms.0.bias", "decoder.layers.0.self_attn_layer_norm.bias"),
        ("decoder.layers.0.layer_norms.1.weight", "decoder.layers.0.encoder_attn_layer_norm.weight"),
        ("decoder.layers.0.layer_norms.2.weight", "decoder.layers.0.final_layer_norm.weight"),
        ("decoder.embed_out", "decoder.output_projection.weight"),
    ],
)
def test_names_of_old_versions_become_current_ones(old, current):
    weight = torch.ones(2)
    result = canonical({old: weight})
    assert list(result) == [current]
    assert result[current] is weight


def test_buffers_are_dropped():
    buffers = ["encoder.version", "decoder.version", "encoder.embed_positions._float_tensor"]
    assert canonical({name: torch.ones(1) for name in buffers}) == {}


def test_every_unknown_name_is_listed(make_state, teacher_shape):
    foreign = ["encoder.layers.0.conv.weight", "lm_head.weight", "decoder.layers.1.router.bias"]
    state = make_state(teacher_shape) | {name: torch.ones(1) for name in foreign}
    with pytest.raises(DistillationError, match="3 parameter names") as caught:
        canonical(state)
    assert all(name in str(caught.value) for name in foreign)
    assert "transformer" in str(caught.value)
    assert "fc1" not in str(caught.value)
    with pytest.raises(DistillationError, match=r"lm_head\.weight"):
        require_known(state)


def test_the_second_copies_of_fairseq_0_12_2_are_left_out():
    weights = {"encoder.layers.0.fc1.weight": torch.ones(2, 3), "decoder.layers.0.fc1.weight": torch.ones(2, 3)}
    parts = ("in_proj", "out_proj", "fc1", "fc2")
    copies = {f"encoder.layers.0.{part}_{kind}": torch.zeros(1) for part in parts for kind in ("weight", "bias")}
    assert canonical({**weights, **copies}).keys() == weights.keys()
    with pytest.raises(DistillationError, match=r"1 parameter names .* decoder\.layers\.0\.fc1_weight"):
        canonical({**weights, "decoder.layers.0.fc1_weight": torch.zeros(1)})
