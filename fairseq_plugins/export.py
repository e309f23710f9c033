"""Exports any trained student, generated or plain, to a checkpoint that stock fairseq loads without a plugin.

Nothing is written unless that checkpoint, read back, gives the logits of the model that it came from. Further formats
hold the same weights.
"""

import contextlib
import logging
import re
import tempfile
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fairseq import utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from omegaconf import OmegaConf
from tqdm import tqdm

from fairseq_plugins.loading import TASK_SETTINGS, load_model, random_batches, translation_task
from fairseq_plugins.models.generated_transformer import GeneratedTransformerModel
from fairseq_plugins.teacher_kinds import complete
from weightdistill import __version__, checkpoint, files
from weightdistill.errors import DistillationError

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest difference of a logit, in float32, that an export may show."""

_CTRANSLATE2_FILE = re.compile(r"model\.bin|config\.json|\w*vocabulary\.(json|txt)")
# Settings of the plugin, which mean nothing to the exported model.
_PLUGIN_SETTINGS = (
    *("generator", "teacher", "student_", "cpu_bf16", "distillation_weight", "temperature"),
    *("soft_", "matches", "match_weight", "probability_shift", "checkpoint_command"),
)


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        largest_difference: largest difference of a logit between both models, in float32.
        parameters: number of the student's parameters, each tied weight once.
        files: what was written.
    """

    largest_difference: float
    parameters: int
    files: list[Path] = field(default_factory=list)


def export(
    source: Path,
    output: Path,
    *,
    data: Path | None = None,
    subset: str = "valid",
    batches: int = 8,
    ctranslate2: Path | None = None,
    quantization: str | None = None,
    safetensors: Path | None = None,
    teacher: Path | None = None,
) -> ExportReport:
    """Write a trained student as a plain fairseq `transformer`, and optionally in two more formats.

    Args:
        source: checkpoint of phase 1, or of any `transformer`.
        output: the plain checkpoint.
        data: folder of fairseq-preprocess with the dictionaries and `subset`; default: the one that the student was
            trained on.
        subset: split whose batches both models must agree on.
        batches: number of batches, of at most 4,096 tokens.
        ctranslate2: folder for a CTranslate2 model; replaced when it exists.
        quantization: its number format, e.g. `int8`; default float32.
        safetensors: file for the weights alone.
        teacher: where the teacher of a phase-1 checkpoint is now; default: where it was.

    Returns:
        What was written, and how far the logits differed.

    Raises:
        DistillationError: unreadable input, unwritable output, a model that CTranslate2 cannot hold, or logits that
            differ by more than TOLERANCE. Nothing is written then.
    """
    _require_places(source, output, ctranslate2, safetensors)
    name = str(source)
    state = checkpoint.read(source)
    task = translation_task(state, data, name)
    driven = load_model(checkpoint.model_config(state), state["model"], task, name, teacher)
    config = _plain_config(state, task)
    student = load_model(config["model"], _student_weights(driven, config["model"], task), task, name)
    weights = dict(student.state_dict())
    parameters = sum(weight.numel() for weight in student.parameters())
    content = {
        "args": None,
        "cfg": config,
        "model": weights,
        "criterion": None,
        "optimizer_history": [
            {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0},
        ],
        "task_state": {},
        "extra_state": {"epoch": 1, "weightdistill": _provenance(state, source)},
        "last_optimizer_state": None,
    }
    with files.writing(output) as temporary, contextlib.ExitStack() as stack:
        checkpoint.serialise(content, temporary)
        exported = checkpoint.read(temporary)
        reread = load_model(checkpoint.model_config(exported), exported["model"], task, str(output))
        longest = utils.resolve_max_positions(task.max_positions(), driven.max_positions())
        proof = tqdm(_batches(task, subset, batches, longest), "proof", total=batches, unit="batch", disable=None)
        difference = _largest_difference(driven, reread, proof)
        if not difference <= TOLERANCE:  # also when it is not a number
            raise DistillationError(
                f"export of {source}: logits must agree within {TOLERANCE}, but differ by {difference:.3g}; nothing "
                "was written"
            )
        # All that can fail comes before the first file gets its name.
        converted = None
        if ctranslate2 is not None:
            converted = stack.enter_context(converted_model(content, task, ctranslate2, quantization))
        if safetensors is not None:
            checkpoint.write_safetensors(weights, safetensors)
        if ctranslate2 is not None and converted is not None:
            if ctranslate2.exists():
                ctranslate2.replace(converted.with_name("replaced"))  # goes with the temporary folder
            converted.replace(ctranslate2)
    written = [path for path in (output, ctranslate2, safetensors) if path is not None]
    return ExportReport(largest_difference=difference, parameters=parameters, files=written)


def _student_weights(
    driven: BaseFairseqModel, config: Mapping[str, Any], task: TranslationTask
) -> dict[str, torch.Tensor]:
    """Return the weights under stock names, with the few buffers that a stock state holds."""
    if not isinstance(driven, GeneratedTransformerModel):
        return dict(driven.state_dict())
    weights = driven.generator.materialise()
    buffers = {name: value for name, value in driven.state_dict().items() if name.startswith(("encoder.", "decoder."))}
    return {**buffers, **weights}


def _plain_config(state: Mapping[str, Any], task: TranslationTask) -> dict[str, Any]:
    """Return all settings as plain dictionaries, for a stock `transformer` and the stock `translation` task."""
    original = state.get("cfg") or OmegaConf.to_container(
        # old versions' settings of a training may not be valid today; those of the model and task follow
        convert_namespace_to_omegaconf(Namespace()),
        resolve=True,
        enum_to_str=True,
    )
    config: dict[str, Any] = checkpoint.plain(original)
    settings = checkpoint.task_config(state)
    model = {
        key: value
        for key, value in complete(checkpoint.model_config(state)).items()
        if not key.startswith(_PLUGIN_SETTINGS)
    }
    pair = {"data": task.cfg.data, "source_lang": task.cfg.source_lang, "target_lang": task.cfg.target_lang}
    config["model"] = {**model, **pair, "_name": "transformer", "arch": "transformer", "task": "translation"}
    config["task"] = {
        "_name": "translation",
        **pair,
        **{key: settings[key] for key in TASK_SETTINGS if settings.get(key) is not None},
    }
    config["criterion"] = {"_name": "cross_entropy"}
    return config


def _provenance(state: Mapping[str, Any], source: Path) -> dict[str, Any]:
    model = checkpoint.model_config(state)
    settings = {key: value for key, value in model.items() if key.startswith(_PLUGIN_SETTINGS)}
    teachers = (state.get("task_state") or {}).get("teachers", [])
    return {"version": __version__, "source_sha256": files.fingerprint(source), "teachers": teachers, **settings}


def _batches(task: TranslationTask, subset: str, count: int, longest: Any) -> Iterator[dict[str, Any]]:
    if not any(Path(task.cfg.data).glob("*.idx")):
        logger.warning("%s holds no binarised data: the export is checked on random sentences", task.cfg.data)
        yield from random_batches(task, count)
        return
    try:
        task.load_dataset(subset)
    except FileNotFoundError as error:
        raise DistillationError(
            f"{task.cfg.data} has no subset {subset!r} to check the export on ({error}); give another with --subset"
        ) from error
    iterator = task.get_batch_iterator(
        task.dataset(subset), max_tokens=4096, max_positions=longest, ignore_invalid_inputs=True
    ).next_epoch_itr(shuffle=False)
    for _, batch in zip(range(count), iterator, strict=False):
        yield batch


@torch.no_grad()
def _largest_difference(first: BaseFairseqModel, second: BaseFairseqModel, batches: Iterable[dict[str, Any]]) -> float:
    differences = [(first(**batch["net_input"])[0] - second(**batch["net_input"])[0]).abs().max() for batch in batches]
    if not differences:
        raise DistillationError("there is no batch to check the export on; give a --subset that is not empty")
    return float(torch.stack(differences).max())


def _require_places(source: Path, output: Path, ctranslate2: Path | None, safetensors: Path | None) -> None:
    """Refuse paths that cannot be written, or where something would be lost, before any work is done."""
    for path in (output, safetensors):
        if path is not None and path.is_dir():
            raise DistillationError(f"{path} must name a file to write, but is a folder; give a file in it")
    places = [path.resolve() for path in (source, output, safetensors) if path is not None]
    if twice := [path for index, path in enumerate(places) if path in places[:index]]:
        raise DistillationError(
            f"the checkpoint, --output and --safetensors must be different files, but two of them are {twice[0]}"
        )
    if ctranslate2 is None:
        return
    for path in (source, output, safetensors):
        if path is not None and ctranslate2.resolve() in (path.resolve(), *path.resolve().parents):
            raise DistillationError(
                f"--ctranslate2 must name a folder for that model alone, but {ctranslate2} is to hold {path} too; give "
                "another"
            )
    older = ctranslate2.is_dir() and all(_CTRANSLATE2_FILE.fullmatch(path.name) for path in ctranslate2.iterdir())
    if ctranslate2.exists() and not older:
        raise DistillationError(
            f"--ctranslate2 must name a new folder or an older CTranslate2 model to replace, but {ctranslate2} holds "
            "something else; give another"
        )


@contextlib.contextmanager
def converted_model(
    content: Mapping[str, Any], task: TranslationTask, folder: Path, quantization: str | None
) -> Iterator[Path]:
    """Convert a checkpoint to a CTranslate2 model in a temporary folder beside `folder`, which the block may move."""
    from ctranslate2.converters import FairseqConverter

    # The converter reads a file, and wants the settings in it as a Namespace.
    legacy = {**content, "cfg": {**content["cfg"], "model": Namespace(**content["cfg"]["model"])}}
    with contextlib.ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder.parent)))
            checkpoint.serialise(legacy, scratch / "model.pt")
            converter = FairseqConverter(
                str(scratch / "model.pt"),
                task.cfg.data,
                source_lang=task.cfg.source_lang,
                target_lang=task.cfg.target_lang,
            )
            converter.convert(str(scratch / "converted"), quantization=quantization)
        except OSError as error:
            raise DistillationError(
                f"cannot write {folder}: {error}; check that the folder is writable and the disk not full"
            ) from error
        except (ValueError, RuntimeError) as error:
            raise DistillationError(f"CTranslate2 cannot hold this model: {error}") from error
        yield scratch / "converted"
