"""From a checkpoint to a fairseq model in memory: its task, its dictionaries and its architecture.

Loads any fairseq Transformer checkpoint: of stock fairseq-train, of phase 1, or an exported one.
"""

import argparse
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary, LanguagePairDataset, data_utils
from fairseq.models import ARCH_MODEL_REGISTRY, BaseFairseqModel, build_model, import_models
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from fairseq_plugins import compat
from fairseq_plugins.teacher_kinds import architecture, complete, require_own_weights
from weightdistill import checkpoint
from weightdistill.errors import DistillationError
from weightdistill.method.layout import is_copy

compat.apply()

TASK_SETTINGS = ("left_pad_source", "left_pad_target", "max_source_positions", "max_target_positions")
"""Settings of a translation task that a model was trained under and is to be used under."""


def translation_task(state: Mapping[str, Any], data: Path | None, name: str) -> TranslationTask:
    """Set up a stock translation task with the checkpoint's languages.

    Args:
        state: the checkpoint.
        data: folder of fairseq-preprocess; None for that of `dictionary_folder`.
        name: path of the checkpoint.

    Raises:
        DistillationError: the folder or a dictionary does not exist, nothing names the languages, or a setting is no
            number.
    """
    settings = checkpoint.task_config(state)
    folder = Path(data) if data is not None else dictionary_folder(settings, name)
    if not folder.is_dir():
        raise DistillationError(f"data folder {folder} of {name} does not exist; give another with --data")
    require_binarised(folder)
    languages = [settings.get("source_lang"), settings.get("target_lang")]
    if None in languages:
        languages = list(data_utils.infer_language_pair(str(folder)))
    if None in languages:
        raise DistillationError(
            f"neither {name} nor the files of {folder} name the source and target languages; give a folder of "
            "fairseq-preprocess with --data"
        )
    for language in languages:
        dictionary = folder / f"dict.{language}.txt"
        if not dictionary.is_file():
            raise DistillationError(f"{dictionary} does not exist; give a folder of fairseq-preprocess with --data")
    recorded = {key: settings[key] for key in TASK_SETTINGS if settings.get(key) is not None}
    for key, value in recorded.items():
        if not isinstance(value, int):
            raise DistillationError(
                f"{name}: {key} must be a number, or true or false, but is {value!r}; use a checkpoint as "
                "fairseq wrote it"
            )
    return TranslationTask.setup_task(
        TranslationConfig(
            **recorded,
            data=str(folder),
            source_lang=languages[0],
            target_lang=languages[1],
            train_subset="train",  # these three are references into a whole configuration by default
            dataset_impl=None,
            required_seq_len_multiple=1,
        )
    )


def require_binarised(folder: Path) -> None:
    """Check that a data folder is not one of `weightdistill translate-corpus`, which writes text.

    Raises:
        DistillationError: it is.
    """
    if (folder / "distilled.json").is_file() and not any(folder.glob("dict.*.txt")):
        made = folder / "data-bin"
        remedy = "binarise it with fairseq-preprocess or scripts/translate.sh, and give the folder that this makes"
        raise DistillationError(
            f"{folder} must hold binarised data, but holds text of weightdistill translate-corpus; "
            + (f"give {made}" if made.is_dir() else remedy)
        )


def dictionary_folder(settings: Mapping[str, Any], name: str) -> Path:
    """Find the dictionaries of a checkpoint: in the folder that it was trained on, or beside it.

    Released checkpoints name a folder of their author's, and come with their dictionaries. A relative path may begin in
    any folder above the checkpoint, from which it was trained.

    Args:
        settings: those of the checkpoint's task.
        name: path of the checkpoint.

    Raises:
        DistillationError: neither folder has dictionaries.
    """
    recorded = Path(str(settings.get("data") or "").split(":")[0])
    beside = Path(name).parent
    for folder in (recorded, beside, *(above / recorded for above in Path(name).absolute().parents)):
        if (settings.get("data") or folder == beside) and any(folder.glob("dict.*.txt")):
            return folder
    if settings.get("data") and recorded.is_dir():
        return recorded  # what it lacks is said where it is missed
    trained_on = f"data folder {recorded} of {name} does not exist" if settings.get("data") else f"{name} names no data"
    raise DistillationError(
        f"{trained_on}, and there are no dictionaries (dict.LANGUAGE.txt) beside the checkpoint; copy them there, or "
        "give their folder with --data"
    )


def load_model(
    config: Mapping[str, Any],
    weights: Mapping[str, Any],
    task: TranslationTask,
    name: str,
    teacher: Path | None = None,
) -> BaseFairseqModel:
    """Build a model from its settings and load its weights: in float32, in eval mode, on the CPU.

    Args:
        config: the model's settings, flat.
        weights: its state.
        task: gives the dictionaries.
        name: path of the checkpoint, which errors name.
        teacher: where the teacher of a phase-1 checkpoint is now; default: where it was, or else beside the checkpoint.
            The model compares its fingerprint.

    Raises:
        DistillationError: the architecture is unknown, its settings give no model or contradict the weights, or the
            weights do not fit it or are not finite.
    """
    if architecture(config) not in ARCH_MODEL_REGISTRY:  # perhaps one of this plugin
        import_models(str(Path(__file__).parent / "models"), "fairseq_plugins.models")
    config = complete(config, name)
    checkpoint.require_finite({"model": weights}, name)
    kind = architecture(config)
    if kind not in ARCH_MODEL_REGISTRY:
        raise DistillationError(f"{name} is of architecture {kind!r}, which neither fairseq nor this plugin knows")
    if kind == "transformer" and not any(weight.startswith("generator.") for weight in weights):
        require_own_weights(config, weights, name)  # to build what the settings claim may take for ever
    settings = argparse.Namespace(**config)
    folder = config.get("teacher_data")
    if folder and not Path(folder.split(":")[0]).is_dir():
        settings.teacher_data = None  # its dictionaries were compared when the model was trained
    if paths := config.get("teacher_path"):
        recorded = Path(str(paths).split(",")[0].strip())
        beside = Path(name).parent / recorded.name
        if teacher is not None:
            settings.teacher_path = str(teacher)
        elif not recorded.is_file() and beside.is_file():
            settings.teacher_path = str(beside)
    try:
        model = build_model(settings, task)
    except DistillationError:
        raise
    except Exception as error:  # the settings come from a file, and may contradict each other in any way
        raise DistillationError(
            f"the settings of {name} give no model ({type(error).__name__}: {_short(error)}); use a checkpoint as "
            "fairseq wrote it"
        ) from error
    try:
        uncopied = {name: weight for name, weight in weights.items() if not is_copy(name)}
        model.load_state_dict(uncopied, strict=True)
    except Exception as error:  # fairseq converts the weights of its earlier versions, whatever form they have
        raise DistillationError(
            f"the weights of {name} do not fit the model that its settings and the dictionaries of {task.cfg.data} "
            f"give: {_short(error)}"
        ) from error
    return model.float().eval()


def _short(error: Exception) -> str:
    """The message of an error, without most of the names that torch lists."""
    return textwrap.shorten(str(error), 400, placeholder=" ...")


def random_batches(task: TranslationTask, count: int, longest: int = 24) -> Iterator[dict[str, Any]]:
    """Make batches of random words, always the same, where a model has dictionaries but no data.

    Args:
        task: gives the dictionaries.
        count: number of batches.
        longest: words of the longest sentence.
    """
    generator = torch.Generator().manual_seed(1)

    def sentence(dictionary: Dictionary, length: int) -> torch.Tensor:
        words = torch.randint(dictionary.nspecial, len(dictionary), (length,), generator=generator)
        return torch.cat([words, torch.tensor([dictionary.eos()])])

    for _ in range(count):
        sides = []
        for dictionary in (task.source_dictionary, task.target_dictionary):
            sentences = [sentence(dictionary, length) for length in range(1, longest + 1)]
            sides.append((sentences, [len(words) for words in sentences], dictionary))
        (sources, source_sizes, source), (targets, target_sizes, target) = sides
        dataset = LanguagePairDataset(
            *(sources, source_sizes, source, targets, target_sizes, target),
            left_pad_source=task.cfg.left_pad_source,
            left_pad_target=task.cfg.left_pad_target,
        )
        yield dataset.collater([dataset[index] for index in range(longest)])
