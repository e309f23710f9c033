"""The parameter generator: student weights as a learned function of the teacher's frozen weights.

Lin et al. (2021), section 3.2. For student layer j, generated from the subset A_j of adjacent teacher layers:

    T_j = sum over l in A_j of  W_L[l] · (W_I^T · T_l · W_O)
    S_j = tanh(T_j) * W_j + B_j

One module a weight class; the same code trains and exports. Knows nothing about the student's modules or fairseq.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from einops import einsum
from torch import Tensor, nn

from weightdistill.errors import DistillationError
from weightdistill.method.config import GeneratorConfig
from weightdistill.method.grouping import Group, group_weights
from weightdistill.method.initialisation import MapInitialiser, layer_weights, preserving_gate
from weightdistill.method.layout import Axis
from weightdistill.method.shape import TransformerShape


class ClassGenerator(nn.Module):
    """Generates all student weights of one class.

    Shapes, in PyTorch's order (out, in); vectors lack the last axis, and with it W_I:

    - teacher (L_t, O_t, I_t), a buffer that is in no checkpoint and keeps its precision; output (L_s, O_s, I_s)
    - W_O (O_t, O_s) and W_I (I_t, I_s), or (L_s, ...) when each instance has its own; absent where an axis is kept
    - W_L: a row for each subset size (or each student layer), as wide as the largest subset
    - gate_weight and gate_bias: the W_j and B_j of all student layers, (L_s, O_s, I_s)

    Args:
        group: teacher and student names of the class, and the subsets.
        teacher: teacher weights, shape (L_t, O_t, I_t) or (L_t, O_t).
        student_size: shape of one student weight.
        config: the generator's options.
        initial_map: makes the start value of a map from its axis and both sizes.

    Raises:
        DistillationError: a dimension that cannot be mapped, such as positions, has another size in the student.
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

        # W_L has one row for each student layer, or one that subsets of the same size share.
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
        """Halving the generator leaves the teacher as exact as it was."""
        exact = self.teacher
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        precision = torch.promote_types(exact.dtype, self.teacher.dtype)
        self.teacher = exact.to(device=self.teacher.device, dtype=precision)
        return self

    def mixing_matrix(self) -> Tensor:
        """W_L of every subset, laid out as a matrix over all teacher layers; shape (L_s, L_t)."""
        student, layer, row, column = self._layer_index
        weights = _at_least_float32(self.W_L)
        empty = weights.new_zeros(len(self.group.student_names), len(self.group.teacher_names))
        return empty.index_put((student, layer), weights[row, column])

    def transform(self) -> Tensor:
        """The T_j of all student layers, before the gate; shape (L_s, O_s, I_s).

        All of it is linear, so the order is a matter of cost. Layers are combined first where that leaves fewer
        matrices to map; where each subset is one layer, its W_L comes last, as a factor.
        """
        mixing = self.mixing_matrix()
        if len(self.group.student_names) < len(self.group.teacher_names):
            return self._map(einsum(mixing, self.teacher, "student teacher, teacher ... -> student ..."))
        return einsum(self._map(self.teacher), mixing.diagonal(), "student ..., student -> student ...")

    def forward(self) -> Tensor:
        """The student weights of this class, shape (L_s, O_s, I_s), computed in float32 and of the parameters' type."""
        generated = self.transform()
        if self.gate_weight is not None and self.gate_bias is not None:
            gate_weight, gate_bias = _at_least_float32(self.gate_weight), _at_least_float32(self.gate_bias)
            generated = (generated.tanh() * gate_weight).add_(gate_bias)  # addcmul's backward pass takes twice the time
        return generated.to(self.W_L.dtype)

    def _map(self, weights: Tensor) -> Tensor:
        """Apply both maps, the one that costs less to apply first, first."""
        if self._map_in_first():
            return self._map_out(self._map_in(weights))
        return self._map_in(self._map_out(weights))

    def _map_in(self, weights: Tensor) -> Tensor:
        if self.W_I is None:
            return weights
        own = "student " if self.W_I.ndim == 3 else ""
        return einsum(weights, _at_least_float32(self.W_I), f"student out in_t, {own}in_t in_s -> student out in_s")

    def _map_out(self, weights: Tensor) -> Tensor:
        if self.W_O is None:
            return weights
        own = "student " if self.W_O.ndim == 3 else ""
        return einsum(weights, _at_least_float32(self.W_O), f"student out_t ..., {own}out_t out_s -> student out_s ...")

    def _map_in_first(self) -> bool:
        if self.W_O is None or self.W_I is None:
            return True
        (out_before, out_after), (in_before, in_after) = self.W_O.shape[-2:], self.W_I.shape[-2:]
        in_first = out_before * in_after * (in_before + out_after)
        out_first = out_after * in_before * (out_before + in_after)
        return in_first <= out_first


class WeightGenerator(nn.Module):
    """Generates a whole student from a teacher.

    Its parameters are what phase 1 trains. The teacher's weights are buffers outside `state_dict`.

    Args:
        teacher_state: teacher's canonical state (see `layout.canonical`).
        teacher_shape: its shape.
        student_state: the student's freshly initialised weights under canonical names, each tied weight once; their
            sizes are the student's, and their values the start of weights that are trained rather than generated.
        student_shape: its shape.
        aliases: tied names, each with the name of the weight that it shares.
        config: options.

    Raises:
        DistillationError: the student cannot be generated from this teacher; the message says which weight and why.
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
        initial_map = MapInitialiser(self.config.map_init, teacher_shape, student_shape, teacher_state)
        self.classes = nn.ModuleDict()
        self.trained = nn.ParameterDict()
        groups = group_weights(teacher_state, student_state)
        for group in groups:
            size = student_state[group.student_names[0]].shape
            if re.fullmatch(self.config.generate, group.weight_class.name):
                stacked = torch.stack([teacher_state[name].float() for name in group.teacher_names])
                generator = ClassGenerator(group, stacked, size, self.config, initial_map)
                self.classes[_key(group.weight_class.name)] = generator
            elif self.config.rest == "train":
                for name in group.student_names:
                    self.trained[_key(name)] = nn.Parameter(student_state[name].detach().clone())
            else:
                self._copy(group, teacher_state, size)
        if not self.classes:
            raise DistillationError(
                f"generator generate is {self.config.generate!r}, which matches no weight class of "
                f"{', '.join(group.weight_class.name for group in groups)}"
            )

    def forward(self) -> dict[str, Tensor]:
        """The student's weights by canonical name, tied names included; computed in float32, also in fp16 training."""
        state: dict[str, Tensor] = dict(self._copied())
        state.update((name.replace("/", "."), weight) for name, weight in self.trained.items())
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            for generator in self.class_generators():
                weights = generator()
                # unbind's backward pass would copy the gradient of a single weight
                layers = weights.unbind() if len(weights) > 1 else [weights.squeeze(0)]
                state.update(zip(generator.group.student_names, layers, strict=True))
        state.update((alias, state[name]) for alias, name in self.aliases.items())
        return state

    @torch.no_grad()
    def materialise(self) -> dict[str, Tensor]:
        """The student's weights as an ordinary state in float32, detached; tied names share one tensor."""
        tensors: dict[int, Tensor] = {}
        state = self()
        for weight in state.values():
            tensors.setdefault(id(weight), weight.detach().float().clone())
        return {name: tensors[id(weight)] for name, weight in state.items()}

    def class_generators(self) -> list[ClassGenerator]:
        """The generator of each class, in the student's order."""
        return [module for module in self.classes.values() if isinstance(module, ClassGenerator)]

    def _copy(self, group: Group, teacher_state: Mapping[str, Tensor], size: torch.Size) -> None:
        if self.config.layer_init == "mean" and len(group.student_names) < len(group.teacher_names):
            raise DistillationError(
                f"{group.weight_class.name} cannot be copied: generator layer_init must say which layer of a subset to "
                "copy (first, middle or last), but is 'mean'"
            )
        for name, subset in zip(group.student_names, group.subsets, strict=True):
            weights = layer_weights(self.config.layer_init, len(subset), len(subset))
            chosen = teacher_state[group.teacher_names[subset.start + int(weights.argmax())]]
            if chosen.shape != size:
                raise DistillationError(
                    f"{name} cannot be copied: it must have the teacher's size {tuple(chosen.shape)}, but has "
                    f"{tuple(size)}; generate it, or train it (generator rest)"
                )
            self.register_buffer(_COPY_PREFIX + _key(name), chosen.detach().float().clone(), persistent=False)

    def _copied(self) -> list[tuple[str, Tensor]]:
        return [
            (name.removeprefix(_COPY_PREFIX).replace("/", "."), buffer)
            for name, buffer in self.named_buffers(recurse=False)
        ]


_COPY_PREFIX = "copied/"


def _at_least_float32(tensor: Tensor) -> Tensor:
    """fairseq halves the parameters in fp16 training; what is computed from them is not rounded at each step."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _key(name: str) -> str:
    """A weight's name as a module's: dots separate modules, so they cannot be within one."""
    return name.replace(".", "/")
