"""Exports any trained student, generated or plain, to a checkpoint that stock fairseq loads without a plugin.

Nothing is written unless that checkpoint, read back, gives the logits of the model that it came from. Further formats
hold the same weights.
"""

import contextlib
import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from omegaconf import OmegaConf
from safetensors import SafetensorError
from torch import Tensor

from fairseq_plugins import huggingface as fsmt
from fairseq_plugins.export_places import (
    CTRANSLATE2,
    HUGGINGFACE,
    RECORD,
    SAFETENSORS,
    replace_folder,
    require_replaceable,
    require_separate,
    write_record,
)
from fairseq_plugins.export_proof import Candidate, fairseq_logits, prove
from fairseq_plugins.huggingface_tokenizer import write_tokenizer
from fairseq_plugins.loading import TASK_SETTINGS, load_model, translation_task
from fairseq_plugins.models.generated_transformer import GeneratedTransformerModel
from fairseq_plugins.teacher_kinds import complete
from weightdistill import __version__, checkpoint, files
from weightdistill.errors import DistillationError
from weightdistill.experiment.binarised import dictionaries
from weightdistill.text.processing import TextProcessing

QUANTIZATIONS = (
    *("int8", "int8_float32", "int8_float16", "int8_bfloat16"),
    *("int16", "float16", "bfloat16", "float32"),
)
"""Number formats of a CTranslate2 model."""
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
        no_tokenizer: why the Hugging Face model has no tokenizer; None if it has one, or there is no such model.
    """

    largest_difference: float
    parameters: int
    files: list[Path] = field(default_factory=list)
    no_tokenizer: str | None = None


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
    huggingface: Path | None = None,
    text: Path | None = None,
    teacher: Path | None = None,
    force: bool = False,
) -> ExportReport:
    """Write a trained student as a plain fairseq `transformer`, and optionally in more formats.

    Args:
        source: checkpoint of phase 1, or of any `transformer`.
        output: the plain checkpoint.
        data: folder of fairseq-preprocess with the dictionaries and `subset`; default: the one that the student was
            trained on.
        subset: split whose batches all models must agree on.
        batches: number of batches, of at most 4,096 tokens.
        ctranslate2: folder for a CTranslate2 model.
        quantization: its number format, one of QUANTIZATIONS; default float32.
        safetensors: file for the weights alone.
        huggingface: folder for an FSMT model, which `transformers` loads.
        text: text.json (or its folder), to write a tokenizer beside the FSMT model.
        teacher: where the teacher of a phase-1 checkpoint is now; default: where it was.
        force: replace exports of another checkpoint, and files that do not say where they come from.

    Returns:
        What was written, and how far the logits differed.

    Raises:
        DistillationError: unreadable input, unwritable output, a place that holds an export of another checkpoint, a
            model that a format cannot hold, or logits that differ. Nothing is written then.
    """
    paths = {"--output": output, SAFETENSORS: safetensors}
    folders = {CTRANSLATE2: ctranslate2, HUGGINGFACE: huggingface}
    require_separate(source, {"--teacher": teacher, "--text": text, "--data": dictionaries(data)}, paths, folders)
    _require_quantization(quantization)
    if huggingface is not None:
        fsmt.require_package()
    processing = None if text is None else TextProcessing.read(text)
    name = str(source)
    state = checkpoint.read(source)
    record = _provenance(state, source)
    if not force:
        require_replaceable(source, record["source_sha256"], paths, folders)
    task = translation_task(state, data, name)
    driven = load_model(checkpoint.model_config(state), state["model"], task, name, teacher)
    config = _plain_config(state, task)
    student = load_model(config["model"], _student_weights(driven, config["model"], task), task, name)
    if huggingface is not None:
        fsmt.require_expressible(student, name)
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
        "extra_state": {"epoch": 1, RECORD: record},
        "last_optimizer_state": None,
    }
    with files.writing(output) as temporary, contextlib.ExitStack() as stack:
        checkpoint.serialise(content, temporary)
        exported = checkpoint.read(temporary)
        reread = load_model(checkpoint.model_config(exported), exported["model"], task, str(output))
        candidates = [Candidate("fairseq", fairseq_logits(reread))]
        converted: dict[Path, Path] = {}  # from a folder to its content, which is elsewhere yet
        no_tokenizer = None
        if huggingface is not None:
            with _writing(huggingface):
                converted[huggingface] = stack.enter_context(_scratch(huggingface))
                fsmt.write_model(student, weights, task, converted[huggingface], name)
            logits = partial(fsmt.logits, fsmt.read_model(converted[huggingface]))
            candidates.append(Candidate("FSMT", logits, scaled=True))
        difference = prove(driven, candidates, task, subset, batches, name)
        # All that can fail comes before the first file gets its name.
        if huggingface is not None:
            with _writing(huggingface):
                no_tokenizer = write_tokenizer(processing, task, subset, converted[huggingface])
                write_record(converted[huggingface], record)
        if ctranslate2 is not None:
            converted[ctranslate2] = stack.enter_context(converted_model(content, task, ctranslate2, quantization))
            with _writing(ctranslate2):
                write_record(converted[ctranslate2], record)
        if safetensors is not None:
            checkpoint.write_safetensors(weights, safetensors, {RECORD: json.dumps(record)})
        for folder, filled in converted.items():
            replace_folder(filled, folder)
    written = [path for path in (output, ctranslate2, huggingface, safetensors) if path is not None]
    return ExportReport(difference, parameters, written, no_tokenizer)


def _student_weights(driven: BaseFairseqModel, config: Mapping[str, Any], task: TranslationTask) -> dict[str, Tensor]:
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


def _require_quantization(quantization: str | None) -> None:
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise DistillationError(
            f"--quantization must be one of {', '.join(QUANTIZATIONS)}, but is {quantization!r}; give int8 for CPUs, "
            "float16 or int8_float16 for GPUs, or leave it out for float32"
        )


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Name the folder in errors of writing to it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise DistillationError(
            f"cannot write {folder}: {error}; check that the folder is writable and the disk not full"
        ) from error


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, in a temporary one."""
    with files.scratch_folder(folder) as scratch:
        (scratch / "converted").mkdir()
        yield scratch / "converted"


@contextlib.contextmanager
def converted_model(
    content: Mapping[str, Any], task: TranslationTask, folder: Path, quantization: str | None
) -> Iterator[Path]:
    """Convert a checkpoint to a CTranslate2 model in a temporary folder beside `folder`, which the block may move."""
    from ctranslate2.converters import FairseqConverter

    # The converter reads a file, and wants the settings in it as a Namespace.
    legacy = {**content, "cfg": {**content["cfg"], "model": Namespace(**content["cfg"]["model"])}}
    with contextlib.ExitStack() as stack:
        with _writing(folder):
            converted = stack.enter_context(_scratch(folder))
            file = converted.with_name("model.pt")
            checkpoint.serialise(legacy, file)
            try:
                converter = FairseqConverter(
                    str(file), task.cfg.data, source_lang=task.cfg.source_lang, target_lang=task.cfg.target_lang
                )
                converter.convert(str(converted), quantization=quantization, force=True)
            except (ValueError, RuntimeError) as error:
                raise DistillationError(f"CTranslate2 cannot hold this model: {error}") from error
        yield converted
