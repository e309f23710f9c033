"""Small random Transformers for the unit tests, under canonical names. Knows nothing about fairseq."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from weightdistill.method.config import GeneratorConfig
from weightdistill.method.generator import WeightGenerator
from weightdistill.method.shape import StackShape, TransformerShape

settings.register_profile("here", deadline=None)  # another test may run on the same core
settings.load_profile("here")
MakeState = Callable[..., dict[str, Tensor]]

TEACHER = TransformerShape(
    encoder=StackShape(layers=6, width=4, ffn=5, heads=2), decoder=StackShape(layers=6, width=8, ffn=6, heads=2)
)
TINY_STUDENT = replace(TEACHER, decoder=StackShape(layers=1, width=4, ffn=3, heads=2))
UNEVEN_STUDENT = TransformerShape(encoder=replace(TEACHER.encoder, layers=4, ffn=3), decoder=TINY_STUDENT.decoder)


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    """Seed torch for each test, and use one thread, since more only slow down operations on such small tensors."""
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def teacher_shape() -> TransformerShape:
    """Return a shape of 6-6 layers whose decoder is wider than its encoder."""
    return TEACHER


@pytest.fixture(scope="session")
def tiny_student() -> TransformerShape:
    """Return the shape of a student with the teacher's encoder and one decoder layer of half the width."""
    return TINY_STUDENT


@pytest.fixture(scope="session")
def uneven_student() -> TransformerShape:
    """Return the shape of a student with 4 encoder layers instead of 6 and a narrower decoder."""
    return UNEVEN_STUDENT


@pytest.fixture(scope="session")
def make_state() -> MakeState:
    """Return a function that makes the random canonical state of a Transformer; see `random_state`."""
    return random_state


@pytest.fixture(scope="session")
def randomise() -> Callable[[torch.nn.Module], None]:
    """Return a function that gives all parameters random values, so that no term is hidden by a zero or a one."""

    def run(module: torch.nn.Module) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_()

    return run


@pytest.fixture
def build(make_state: MakeState, teacher_shape: TransformerShape) -> Callable[..., WeightGenerator]:
    """Return a function that builds the generator of a student of the 6-6 teacher, by default in float64."""

    def make(
        student: TransformerShape,
        config: GeneratorConfig | None = None,
        *,
        aliases: Mapping[str, str] | None = None,
        dtype: torch.dtype = torch.float64,
        teacher: TransformerShape = teacher_shape,
        **options: Any,
    ) -> WeightGenerator:
        student_state = make_state(student, seed=1, **options)
        for alias in aliases or {}:
            del student_state[alias]
        teacher_state = make_state(teacher, **options)
        generator = WeightGenerator(teacher_state, teacher, student_state, student, aliases, config)
        return generator.to(dtype)

    return make


def random_state(
    shape: TransformerShape,
    *,
    vocabularies: tuple[int, int] = (5, 7),
    pre_norm: bool = False,
    learned_positions: int = 0,
    embedding_norm: bool = False,
    tie: str = "none",
    seed: int = 0,
) -> dict[str, Tensor]:
    """Make a random canonical state.

    Args:
        shape: Sizes of the stacks.
        vocabularies: Source and target sizes.
        pre_norm: Add the final norm of each stack.
        learned_positions: Number of learned positions; 0 for none.
        embedding_norm: Add the norm after the embeddings.
        tie: `none`, `decoder` (input and output embeddings of the decoder) or `all` (also the source embeddings). Tied
            names hold the same tensor, as in a fairseq checkpoint.
        seed: Seed of the values.
    """
    random = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def add(name: str, *size: int) -> None:
        state[name] = torch.randn(size, generator=random)

    def linear(name: str, out: int, into: int) -> None:
        add(f"{name}.weight", out, into)
        add(f"{name}.bias", out)

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=random)
        add(f"{name}.bias", width)

    stacks = (("encoder", shape.encoder, vocabularies[0]), ("decoder", shape.decoder, vocabularies[1]))
    for stack, size, vocabulary in stacks:
        add(f"{stack}.embed_tokens.weight", vocabulary, size.width)
        if learned_positions:
            add(f"{stack}.embed_positions.weight", learned_positions, size.width)
        if embedding_norm:
            norm(f"{stack}.layernorm_embedding", size.width)
        for number in range(size.layers):
            layer = f"{stack}.layers.{number}"
            attentions = ["self_attn"] if stack == "encoder" else ["self_attn", "encoder_attn"]
            for attention in attentions:
                source = shape.encoder.width if attention == "encoder_attn" else size.width
                linear(f"{layer}.{attention}.q_proj", size.width, size.width)
                linear(f"{layer}.{attention}.k_proj", size.width, source)
                linear(f"{layer}.{attention}.v_proj", size.width, source)
                linear(f"{layer}.{attention}.out_proj", size.width, size.width)
                norm(f"{layer}.{attention}_layer_norm", size.width)
            linear(f"{layer}.fc1", size.ffn, size.width)
            linear(f"{layer}.fc2", size.width, size.ffn)
            norm(f"{layer}.final_layer_norm", size.width)
        if pre_norm:
            norm(f"{stack}.layer_norm", size.width)
    add("decoder.output_projection.weight", vocabularies[1], shape.decoder.width)
    if tie in ("decoder", "all"):
        state["decoder.output_projection.weight"] = state["decoder.embed_tokens.weight"]
    if tie == "all":
        for name in ("decoder.embed_tokens.weight", "decoder.output_projection.weight"):
            state[name] = state["encoder.embed_tokens.weight"]
    return state
