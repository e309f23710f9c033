"""The parameter generator: a learned function from the teacher's frozen weights to the student's weights.

Lin et al. (2021), section 3.2. For student layer j, generated from the subset A_j of adjacent teacher layers:

    T_j = sum over l in A_j of  W_L[l] · (W_I^T · T_l · W_O)
    S_j = tanh(T_j) * W_j + B_j

One module per weight class; training and export run the same code. Knows neither the student's modules nor fairseq.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from einops import einsum
from torch import Tensor, nn

from weightdistill.errors import DistillationError
from weightdistill.method.config import NAMED_LAYERS, GeneratorConfig
from weightdistill.method.grouping import Group, group_weights
from weightdistill.method.initialisation import MapInitialiser, layer_weights, preserving_gate
from weightdistill.method.layout import Axis
from weightdistill.method.shape import TransformerShape


class ClassGenerator(nn.Module):
    """Generates all student weights of one class.

    Shapes are in PyTorch's order (out, in). Vectors have neither the last axis nor W_I.

    - teacher (L_t, O_t, I_t): a buffer outside all checkpoints, which keeps its precision; output: (L_s, O_s, I_s)
    - W_O (O_t, O_s) and W_I (I_t, I_s); (L_s, ...) if each instance has its own map; None for an axis without a map
    - W_L: one row for each subset size (or each student layer), as long as the largest subset
    - gate_weight and gate_bias (L_s, O_s, I_s): the W_j and B_j of all student layers

    Args:
        group: Teacher and student names of the class, and the subsets.
        teacher: Teacher weights, shape (L_t, O_t, I_t) or (L_t, O_t).
        student_size: Shape of one student weight.
        config: Options of the generator.
        initial_map: Makes the initial value of a map from its axis and both sizes.

    Raises:
        DistillationError: A dimension that must keep its size, such as positions, differs in the student.
    """

    teacher: Tensor
    _layer_index: Tensor

    def __init__(
        self,
        group: Group,
        teacher: Tensor,
        student_size: Sequence[int],
        config: GeneratorConfig,
        initial_map: Callable[[Axis, int, int], Tensor],
    ) -> None:
        super().__init__()
        self.group = group
        depth = len(group.student_names)
        instances = depth if config.sharing == "instance" else None
        self.register_buffer("teacher", teacher.detach().clone(), persistent=False)

        learn_equal = config.equal_maps == "learn" or config.equal_maps == group.weight_class.stack
        maps: list[nn.Parameter | None] = []
        for axis, before, after in zip(group.weight_class.axes, teacher.shape[1:], student_size, strict=True):
            axis.require_mappable(group.weight_class.name, before, after)
            if not axis.mappable or (before == after and not learn_equal):
                maps.append(None)
                continue
            starts = [initial_map(axis, before, after) for _ in range(instances or 1)]
            start = torch.stack(starts) if instances else starts[0]
            maps.append(nn.Parameter(start.contiguous(), requires_grad=config.learn_maps))
        self.W_O, self.W_I = maps[0], maps[1] if len(maps) > 1 else None

        # W_L has one row for each student layer, or for each subset size.
        sizes = [len(subset) for subset in group.subsets]
        rows = sizes if instances else sorted(set(sizes), reverse=True)
        row_of = range(depth) if instances else [rows.index(size) for size in sizes]
        self.W_L = nn.Parameter(
            torch.stack([layer_weights(config.layer_init, size, max(sizes)) for size in rows]),
            requires_grad=config.learn_layer_weights,
        )
        index = [
            (student, layer, row_of[student], layer - subset.start)
            for student, subset in enumerate(group.subsets)
            for layer in subset
        ]  # (student layer, teacher layer, row and column in W_L)
        self.register_buffer("_layer_index", torch.tensor(index).T.contiguous(), persistent=False)

        self.gate_weight: nn.Parameter | None = None
        self.gate_bias: nn.Parameter | None = None
        if config.gate:
            with torch.no_grad():
                transformed = self.transform()
            preserving = config.gate_init == "preserving"
            self.gate_weight = nn.Parameter(
                preserving_gate(transformed) if preserving else torch.ones_like(transformed)
            )
            self.gate_bias = nn.Parameter(torch.zeros_like(transformed))

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> "ClassGenerator":
        """Convert the generator, e.g. to fp16, without rounding the teacher's weights."""
        exact = self.teacher
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        precision = torch.promote_types(exact.dtype, self.teacher.dtype)
        self.teacher = exact.to(device=self.teacher.device, dtype=precision)
        return self

    def mixing_matrix(self) -> Tensor:
        """Return W_L as a matrix over all teacher layers, shape (L_s, L_t)."""
        student, layer, row, column = self._layer_index
        weights = _at_least_float32(self.W_L)
        empty = weights.new_zeros(len(self.group.student_names), len(self.group.teacher_names))
        return empty.index_put((student, layer), weights[row, column])

    def transform(self) -> Tensor:
        """Compute T_j, before the gate, for all student layers; shape (L_s, O_s, I_s).

        All steps are linear, so their order only affects the cost. If the student has fewer layers, the layers are
        combined first, which leaves fewer matrices to map. Otherwise W_L is a factor, applied last.
        """
        mixing = self.mixing_matrix()
        if len(self.group.student_names) < len(self.group.teacher_names):
            return self._map(einsum(mixing, self.teacher, "student teacher, teacher ... -> student ..."))
        return einsum(self._map(self.teacher), mixing.diagonal(), "student ..., student -> student ...")

    def forward(self) -> Tensor:
        """Generate the student weights (L_s, O_s, I_s) in float32, and return them in the parameters' type."""
        generated = self.transform()
        if self.gate_weight is not None and self.gate_bias is not None:
            gate_weight, gate_bias = _at_least_float32(self.gate_weight), _at_least_float32(self.gate_bias)
            generated = (generated.tanh() * gate_weight).add_(
                gate_bias
            )  # the backward pass of addcmul takes twice as long
        return generated.to(self.W_L.dtype)

    def _map(self, weights: Tensor) -> Tensor:
        """Apply both maps in the cheaper order."""
        if self._map_in_first():
            return self._map_out(self._map_in(weights))
        return self._map_in(self._map_out(weights))

    def _map_in(self, weights: Tensor) -> Tensor:
        if self.W_I is None:
            return weights
        instance = "student " if self.W_I.ndim == 3 else ""
        return einsum(
            weights, _at_least_float32(self.W_I), f"student out in_t, {instance}in_t in_s -> student out in_s"
        )

    def _map_out(self, weights: Tensor) -> Tensor:
        if self.W_O is None:
            return weights
        instance = "student " if self.W_O.ndim == 3 else ""
        return einsum(
            weights, _at_least_float32(self.W_O), f"student out_t ..., {instance}out_t out_s -> student out_s ..."
        )

    def _map_in_first(self) -> bool:
        if self.W_O is None or self.W_I is None:
            return True
        (out_before, out_after), (in_before, in_after) = self.W_O.shape[-2:], self.W_I.shape[-2:]
        in_first = out_before * in_after * (in_before + out_after)
        out_first = out_after * in_before * (out_before + in_after)
        return in_first <= out_first


class WeightGenerator(nn.Module):
    """Generates a whole student from a teacher.

    Phase 1 trains its parameters. The teacher's weights are buffers outside `state_dict`.

    Args:
        teacher_state: Canonical state of the teacher (see `layout.canonical`).
        teacher_shape: Shape of the teacher.
        student_state: Freshly initialised weights of the student under canonical names, each tied weight once. Their
            sizes are the student's; their values are the initial values of weights that are trained, not generated.
        student_shape: Shape of the student.
        aliases: Tied names, each with the name of the weight that it shares.
        config: Options.

    Raises:
        DistillationError: The student cannot be generated from this teacher; the message names the weight and the
            reason.
    """

    def __init__(
        self,
        teacher_state: Mapping[str, Tensor],
        teacher_shape: TransformerShape,
        student_state: Mapping[str, Tensor],
        student_shape: TransformerShape,
        aliases: Mapping[str, str] | None = None,
        config: GeneratorConfig | None = None,
    ) -> None:
        super().__init__()
        self.config = config or GeneratorConfig()
        self.aliases = dict(aliases or {})

        @functools.cache
        def initial_map(method: str) -> MapInitialiser:
            return MapInitialiser(method, teacher_shape, student_shape, teacher_state)

        self.classes = nn.ModuleDict()
        self.trained = nn.ParameterDict()
        groups = group_weights(teacher_state, student_state)
        classes = [group.weight_class.name for group in groups]
        self.config.require_matches(classes)
        for group in groups:
            config = self.config.of_class(group.weight_class.name)
            if re.fullmatch(config.generate, group.weight_class.name):
                stacked = torch.stack([teacher_state[name].float() for name in group.teacher_names])
                size = student_state[group.student_names[0]].shape
                generator = ClassGenerator(group, stacked, size, config, initial_map(config.map_init))
                self.classes[_key(group.weight_class.name)] = generator
            else:
                for name, start in _starts(group, teacher_state, student_state, config).items():
                    if config.rest == "copy":
                        self.register_buffer(_COPY_PREFIX + _key(name), start, persistent=False)
                    else:
                        self.trained[_key(name)] = nn.Parameter(start)
        if not self.classes:
            raise DistillationError(
                f"generator generate must match a weight class, but is {self.config.generate!r}; the classes are "
                f"{', '.join(classes)}"
            )

    def forward(self) -> dict[str, Tensor]:
        """Generate the student's weights by canonical name, including tied names; in float32 even in fp16 training."""
        state: dict[str, Tensor] = dict(self._copied())
        state.update((name.replace("/", "."), weight) for name, weight in self.trained.items())
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            for generator in self.class_generators():
                weights = generator()
                # For a single weight, the backward pass of unbind would copy the gradient.
                layers = weights.unbind() if len(weights) > 1 else [weights.squeeze(0)]
                state.update(zip(generator.group.student_names, layers, strict=True))
        state.update((alias, state[name]) for alias, name in self.aliases.items())
        return state

    @torch.no_grad()
    def materialise(self) -> dict[str, Tensor]:
        """Generate an ordinary, detached state in float32, in which tied names share one tensor."""
        tensors: dict[int, Tensor] = {}
        state = self()
        for weight in state.values():
            tensors.setdefault(id(weight), weight.detach().float().clone())
        return {name: tensors[id(weight)] for name, weight in state.items()}

    def class_generators(self) -> list[ClassGenerator]:
        """Return the generator of each class, in the order of the student's weights."""
        return [module for module in self.classes.values() if isinstance(module, ClassGenerator)]

    def _copied(self) -> list[tuple[str, Tensor]]:
        return [
            (name.removeprefix(_COPY_PREFIX).replace("/", "."), buffer)
            for name, buffer in self.named_buffers(recurse=False)
        ]


_COPY_PREFIX = "copied/"


def _starts(
    group: Group, teacher_state: Mapping[str, Tensor], student_state: Mapping[str, Tensor], config: GeneratorConfig
) -> dict[str, Tensor]:
    """Return starts of weights that are not generated: fresh ones, or the teacher's layers that `layer_init` names."""
    fresh = {name: student_state[name].detach().clone() for name in group.student_names}
    if config.rest == "train":
        return fresh
    if config.layer_init not in NAMED_LAYERS and len(group.student_names) < len(group.teacher_names):
        raise DistillationError(
            f"{group.weight_class.name} cannot be copied: generator layer_init must name the layer to copy "
            f"({', '.join(NAMED_LAYERS)}), but is {config.layer_init!r}"
        )
    starts = {}
    for name, subset in zip(group.student_names, group.subsets, strict=True):
        chosen = layer_weights(config.layer_init, len(subset), len(subset)).argmax()
        weight = teacher_state[group.teacher_names[subset.start + int(chosen)]].detach().float().clone()
        if weight.shape == fresh[name].shape:
            starts[name] = weight
        elif config.rest == "tune":
            starts[name] = fresh[name]
        else:
            raise DistillationError(
                f"{name} cannot be copied: it must have the teacher's size {tuple(weight.shape)}, but has "
                f"{tuple(fresh[name].shape)}; generate it, or train it (generator rest train or tune)"
            )
    return starts


def _at_least_float32(tensor: Tensor) -> Tensor:
    """Convert the parameters of fp16 training to float32, so that intermediate results are not rounded."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _key(name: str) -> str:
    """Turn the name of a weight into that of a module, which must not contain dots."""
    return name.replace(".", "/")
