"""What a model's files hold, as text: parameters, shapes, the teacher's fingerprint, learned layer weights.

Reads files only; builds no model.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from weightdistill import checkpoint, files
from weightdistill.decoding import engines
from weightdistill.errors import DistillationError
from weightdistill.method.layout import canonical, require_known

_CLASS_ENTRY = re.compile(r"generator\.classes\.(?P<name>[^.]+)\.(?P<entry>\w+)")


def describe(path: Path) -> str:
    """Describe a phase-1 checkpoint, that of any fairseq Transformer, or a CTranslate2 model, in lines of text.

    Args:
        path: the checkpoint, or the folder of the CTranslate2 model.

    Raises:
        DistillationError: the file cannot be read, or is no Transformer.
    """
    if path.is_dir():
        return _describe_ctranslate2(path)
    state = checkpoint.read(path)
    config = checkpoint.model_config(state)
    weights: Mapping[str, Tensor] = state["model"]
    lines = [f"{path}  ({path.stat().st_size / 2**20:.1f} MiB, SHA-256 {files.fingerprint(path)})"]
    for stack in ("encoder", "decoder"):
        fields = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")
        layers, width, ffn, heads = (config.get(f"{stack}_{field}", "?") for field in fields)
        lines.append(f"{stack}: {layers} layers, width {width}, feed-forward {ffn}, {heads} heads")
    exported = (state.get("extra_state") or {}).get("weightdistill", {})
    teachers = (state.get("task_state") or {}).get("teachers") or exported.get("teachers", [])
    lines += [f"teacher: {teacher['path']}  (SHA-256 {teacher['sha256']})" for teacher in teachers]
    if broken := checkpoint.not_finite(weights):
        lines.append(f"WARNING: not finite: {broken[0]} ({len(broken)} of {len(weights)} weights)")
    generated = any(name.startswith("generator.") for name in weights)
    lines += _generator_lines(weights, config, path) if generated else _class_lines(weights)
    return "\n".join(lines)


def _describe_ctranslate2(folder: Path) -> str:
    model = folder / "model.bin"
    weights = list(engines.read_weights(model))
    shapes = {weight.name: weight.shape for weight in weights}
    formats: dict[str, int] = {}
    for weight in weights:
        if len(weight.shape) == 2 and "position_encodings" not in weight.name:
            formats[weight.number_type] = formats.get(weight.number_type, 0) + math.prod(weight.shape)
    lines = [
        f"{folder}  (CTranslate2, {model.stat().st_size / 2**20:.1f} MiB, SHA-256 {files.fingerprint(model)})",
        f"{engines.count_parameters(shapes):,} parameters, each tied weight once",
        f"matrices in {max(formats, key=lambda name: formats[name])}" if formats else "no matrices",
    ]
    for stack in ("encoder", "decoder"):
        layers = {match[1] for name in shapes if (match := re.match(rf"{stack}/layer_(\d+)/", name))}
        ffn = shapes.get(f"{stack}/layer_0/ffn/linear_0/weight")  # (feed-forward, width)
        if ffn is not None:
            lines.append(f"{stack}: {len(layers)} layers, width {ffn[1]}, feed-forward {ffn[0]}")
    sizes = [f"{side} {len(engines.vocabulary(folder, side)):,}" for side in ("source", "target")]
    lines.append(f"vocabulary: {', '.join(sizes)} pieces")
    vocabulary_map = folder / engines.VOCABULARY_MAP
    keys = len(files.read_lines(vocabulary_map)) if vocabulary_map.is_file() else 0
    lines.append(f"vocabulary map: {keys - 1:,} source pieces" if keys else "no vocabulary map")
    return "\n".join(lines)


def _class_lines(weights: Mapping[str, Tensor]) -> list[str]:
    state = canonical(weights)
    names = require_known(state)
    instances: dict[str, list[Tensor]] = {}
    for name, meaning in names.items():
        instances.setdefault(meaning.weight_class.name, []).append(state[name])
    total = sum(weight.numel() for weight in {_storage(weight): weight for weight in state.values()}.values())
    lines = [f"{total:,} parameters, each tied weight once", ""]
    for name, of_class in instances.items():
        parameters = sum(weight.numel() for weight in of_class)
        lines.append(f"{name:42} {len(of_class):3} x {_size(of_class[0]):14} {parameters:>12,}")
    return lines


def _storage(weight: Tensor) -> tuple[int, int]:
    return weight.untyped_storage().data_ptr(), int(weight.storage_offset())


def _generator_lines(weights: Mapping[str, Tensor], config: Mapping[str, object], path: Path) -> list[str]:
    total = sum(weight.numel() for name, weight in weights.items() if name.startswith("generator."))
    options = ", ".join(
        f"{name.removeprefix('generator_')}={value}" for name, value in config.items() if name.startswith("generator_")
    )
    lines = [
        f"generator: {options}",
        f"{total:,} parameters of the generator",
        "",
    ]
    classes: dict[str, dict[str, Tensor]] = {}
    for name, weight in weights.items():
        if match := _CLASS_ENTRY.fullmatch(name):
            classes.setdefault(match["name"].replace("/", "."), {})[match["entry"]] = weight
        elif name.startswith("generator.trained."):
            lines.append(f"trained: {name.removeprefix('generator.trained.').replace('/', '.')} {_size(weight)}")
    for name, entries in classes.items():
        if "W_L" not in entries or entries["W_L"].dim() != 2:
            raise DistillationError(
                f"{path}: the generator of {name} must have a matrix W_L, but has {', '.join(sorted(entries))}; give a "
                "checkpoint as phase 1 saved it"
            )
        sizes = ", ".join(f"{entry} {_size(weight)}" for entry, weight in sorted(entries.items()) if entry != "W_L")
        rows = " | ".join(" ".join(f"{value:.3f}" for value in row) for row in entries["W_L"].tolist())
        parameters = sum(weight.numel() for weight in entries.values())
        lines.append(f"{name:42} {parameters:>12,}  W_L {rows}  {sizes}")
    return lines


def _size(weight: Tensor) -> str:
    return "x".join(str(size) for size in weight.shape) or "scalar"
