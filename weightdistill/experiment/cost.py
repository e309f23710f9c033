"""Costs of a Transformer and of a generator: exact parameters, approximate FLOPs, and the speed of a machine.

Knows shapes, of presets and of checkpoints; no settings of experiments.
"""

import math
import time
from dataclasses import dataclass, replace

import torch

from weightdistill import checkpoint
from weightdistill.errors import DistillationError
from weightdistill.method.grouping import group_weights
from weightdistill.method.layout import Axis, canonical, parse
from weightdistill.method.shape import StackShape, TransformerShape

_NORMS = {"encoder": ("self_attn", "final"), "decoder": ("self_attn", "encoder_attn", "final")}


@dataclass(frozen=True)
class Model:
    """A Transformer as far as its cost goes.

    Attributes:
        shape: of its stacks.
        vocabulary: words of each side.
        tied: which embeddings are one matrix: `none`, `decoder` (both of the target) or `all`.
        pre_norm: whether each stack ends with a norm.
    """

    shape: TransformerShape
    vocabulary: int
    tied: str = "none"
    pre_norm: bool = False

    @classmethod
    def of_checkpoint(cls, path: str) -> "Model":
        """Read the sizes of a trained Transformer.

        Raises:
            DistillationError: see `checkpoint.read`; or it is no Transformer encoder-decoder.
        """
        content = checkpoint.read(path, lazily=True)
        settings, state = checkpoint.model_config(content), canonical(content["model"])
        heads = (int(settings.get(f"{stack}_attention_heads") or 8) for stack in ("encoder", "decoder"))
        all_shared, target_shared = "share_all_embeddings", "share_decoder_input_output_embed"
        tied = "all" if settings.get(all_shared) else "decoder" if settings.get(target_shared) else "none"
        vocabulary = len(state["decoder.embed_tokens.weight"])
        return cls(TransformerShape.of(state, *heads), vocabulary, tied, "encoder.layer_norm.weight" in state)

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Sizes of all weights, each tied one once, by fairseq's names."""
        names = ["encoder.embed_tokens.weight"]
        same_width = self.shape.encoder.width == self.shape.decoder.width
        if self.tied != "all" or not same_width:
            names.append("decoder.embed_tokens.weight")
        if self.tied == "none":
            names.append("decoder.output_projection.weight")
        for stack, norms in _NORMS.items():
            if self.pre_norm:
                names += _with_bias(f"{stack}.layer_norm")
            for layer in range(getattr(self.shape, stack).layers):
                parts = ["fc1", "fc2", *(f"{norm}_layer_norm" for norm in norms)]
                parts += [f"{norm}.{role}_proj" for norm in norms[:-1] for role in ("q", "k", "v", "out")]
                for part in parts:
                    names += _with_bias(f"{stack}.layers.{layer}.{part}")
        return {name: self._size(name) for name in names}

    def parameters(self) -> int:
        """Number of parameters."""
        return sum(map(math.prod, self.weights().values()))

    def operations(self, source_tokens: float, target_tokens: float, length: float) -> float:
        """Floating-point operations of a forward pass.

        Args:
            source_tokens: tokens that the encoder reads.
            target_tokens: tokens that the decoder predicts.
            length: tokens of a sentence, for attention.
        """
        total = 0.0
        for name, size in self.weights().items():
            if len(size) == 2 and "embed" not in name:
                keys = "encoder_attn.k" in name or "encoder_attn.v" in name
                total += 2 * math.prod(size) * (source_tokens if name.startswith("encoder") or keys else target_tokens)
        if self.tied != "none":  # the output projection is an embedding
            total += 2 * self.vocabulary * self.shape.decoder.width * target_tokens
        encoder, decoder = self.shape.encoder, self.shape.decoder
        attention = encoder.layers * encoder.width * source_tokens + 2 * decoder.layers * decoder.width * target_tokens
        return total + 4 * attention * length

    def layers(self) -> int:
        """Layers of both stacks."""
        return self.shape.encoder.layers + self.shape.decoder.layers

    def activations(self, tokens: float) -> float:
        """Numbers that a training keeps for its backward pass, of as many source and target tokens, but for logits."""
        encoder, decoder = self.shape.encoder, self.shape.decoder
        layers = encoder.layers * (14 * encoder.width + 3 * encoder.ffn)
        layers += decoder.layers * (24 * decoder.width + 3 * decoder.ffn)
        return tokens * layers

    def _size(self, name: str) -> tuple[int, ...]:
        meaning = parse(name)
        if meaning is None:
            raise DistillationError(f"the layout does not know {name}")
        sizes = {Axis.SOURCE_VOCABULARY: self.vocabulary, Axis.TARGET_VOCABULARY: self.vocabulary}
        for stack in ("ENCODER", "DECODER"):
            stack_shape: StackShape = getattr(self.shape, stack.lower())
            sizes |= {Axis[f"{stack}_{axis}"]: stack_shape.width for axis in ("RESIDUAL", "GAIN", "HEADS")}
            sizes[Axis[f"{stack}_FFN"]] = stack_shape.ffn
        return tuple(sizes[axis] for axis in meaning.weight_class.axes)


def generator_cost(teacher: Model, student: Model) -> tuple[int, float]:
    """Parameters of the generator (default options), and operations of one forward pass of it.

    Raises:
        DistillationError: the student cannot be generated from the teacher.
    """
    sizes, wanted = teacher.weights(), student.weights()
    for name in wanted:  # a class that the student unties comes from the tied one
        sizes.setdefault(name, teacher._size(name))
    parameters, operations = 0, 0.0
    for group in group_weights(sizes, wanted):
        before, after = sizes[group.teacher_names[0]], wanted[group.student_names[0]]
        depth, layers = len(group.student_names), len(group.teacher_names)
        parameters += 2 * depth * math.prod(after)
        lengths = {len(subset) for subset in group.subsets}
        parameters += len(lengths) * max(lengths)  # W_L
        if depth < layers:
            operations += 2 * layers * math.prod(before)
        for old, new in zip(before, after, strict=True):
            if old != new:
                parameters += old * new
                operations += 2 * depth * math.prod(before) * new
    return parameters, operations


@dataclass(frozen=True)
class Machine:
    """What trains.

    Attributes:
        operations_per_second: of a large matrix product on one device.
        devices: GPUs; 1 for a CPU.
        kind: `cpu` or `cuda`.
    """

    operations_per_second: float
    devices: int = 1
    kind: str = "cpu"

    @classmethod
    def here(cls, kind: str, width: int = 1536, seconds: float = 1.0) -> "Machine":
        """Measure this machine: a matrix product in fp16 on a GPU (`cuda`), in float32 on all threads of a `cpu`."""
        matrix = torch.randn(width, width, device=kind, dtype=torch.float16 if kind == "cuda" else torch.float32)
        best, begin = math.inf, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            for _ in range(4):
                product = matrix @ matrix
            product[0, 0].item()  # waits for a GPU
            best = min(best, (time.perf_counter() - start) / 4)
        return cls(2 * width**3 / best, kind=kind)

    @classmethod
    def chosen(cls, tflops: float | None = None, gpus: int | None = None) -> "Machine":
        """Describe the machine that trains.

        Args:
            tflops: Speed of a large matrix product on one device, in TFLOP/s; default: measured on this machine.
            gpus: Number of GPUs, 0 for a CPU; default: those of this machine.

        Raises:
            DistillationError: GPUs are wanted, but this machine has none whose speed could be measured.
        """
        available = torch.cuda.device_count()
        gpus = available if gpus is None else gpus
        if gpus and not available and not tflops:
            raise DistillationError(
                "this machine must have a GPU to measure its speed, but has none; give --tflops, or --gpus 0"
            )
        kind = "cuda" if gpus else "cpu"
        machine = cls(tflops * 1e12, kind=kind) if tflops else cls.here(kind)
        return replace(machine, devices=max(1, gpus))


def _with_bias(name: str) -> list[str]:
    return [f"{name}.weight", f"{name}.bias"]
