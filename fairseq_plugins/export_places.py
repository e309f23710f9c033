"""Where an export may write: nothing that it reads is overwritten, and no model of another checkpoint is replaced.

Every form records the checkpoint that it was exported from. An export replaces an older one of the same checkpoint, so
that a command can be repeated; anything else that exists is refused, unless the user insists.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from weightdistill import checkpoint, files, places
from weightdistill.errors import DistillationError

RECORD = "weightdistill"
"""Key of the record of the source: in a checkpoint's `extra_state`, in a folder's config.json, in safetensors."""


SAFETENSORS = "--safetensors"
"""The option that names the file of the weights alone; all other files are checkpoints."""


@dataclass(frozen=True)
class Folder:
    """A form of export that fills a folder.

    Attributes:
        option: The option that names the folder.
        model: The file of the weights. A folder without it holds no model, only what an interrupted workflow left.
        files: Matches the names of all files that such a folder may hold.
    """

    option: str
    model: str
    files: re.Pattern[str]


CTRANSLATE2 = Folder(
    "--ctranslate2", "model.bin", re.compile(r"model\.bin|config\.json|\w*vocabulary\.(json|txt)|vmap\.txt")
)
HUGGINGFACE = Folder(
    "--huggingface",
    "model.safetensors",
    re.compile(
        r"model\.safetensors|(generation_|tokenizer_)?config\.json|(source|target)\.spm"
        r"|(target_)?vocab\.json|vocab-(src|tgt)\.json|merges\.txt"
    ),
)


def require_separate(
    source: Path, inputs: Mapping[str, places.Place], paths: dict[str, Path | None], folders: dict[Folder, Path | None]
) -> None:
    """Refuse paths that cannot be written, or where something would be lost, before any work is done.

    Args:
        source: The checkpoint to export.
        inputs: What else is read, by option.
        paths: The files to write, by option.
        folders: The folders to write.

    Raises:
        DistillationError: A file's path is a folder, two paths are the same, a folder would hold another path, or
            holds files of another kind.
    """
    written = {option: path for option, path in paths.items() if path is not None}
    for path in written.values():
        if path.is_dir():
            raise DistillationError(f"{path} must name a file to write, but is a folder; give a file in it")
    written_anew = {kind.option: folder for kind, folder in folders.items()}
    places.require_separate({**paths, **written_anew}, {"the checkpoint": source, **inputs})
    for kind, folder in folders.items():
        if folder is None:
            continue
        elsewhere = [path for other, path in folders.items() if other != kind and path is not None]
        for path in (source, *written.values(), *elsewhere):
            if folder.resolve() in (path.resolve(), *path.resolve().parents):
                raise DistillationError(
                    f"{kind.option} must name a folder for that model alone, but {folder} is to hold {path} too; give "
                    "another"
                )
        older = folder.is_dir() and all(kind.files.fullmatch(path.name) for path in folder.iterdir())
        if folder.exists() and not older:
            raise DistillationError(
                f"{kind.option} must name a new folder or an older model of that form to replace, but {folder} holds "
                "something else; give another"
            )


def require_replaceable(
    source: Path, fingerprint: str, paths: dict[str, Path | None], folders: dict[Folder, Path | None]
) -> None:
    """Refuse to replace what was not exported from this very checkpoint.

    Args:
        source: The checkpoint to export, which errors name.
        fingerprint: Its SHA-256.
        paths: The files to write, by option.
        folders: The folders to write.

    Raises:
        DistillationError: A file or a model exists, and says that it comes from another checkpoint, or nothing.
    """
    existing: list[tuple[Path, Callable[[Path], Any]]] = []
    for option, path in paths.items():
        if path is not None and path.exists():
            existing.append((path, _safetensors_record if option == SAFETENSORS else _checkpoint_record))
    for kind, folder in folders.items():
        if folder is not None and (folder / kind.model).exists():
            existing.append((folder, _folder_record))
    for path, read_record in existing:
        record = read_record(path)
        origin = record.get("source_sha256") if isinstance(record, dict) else None
        if origin != fingerprint:
            described = (
                f"was exported from another checkpoint (SHA-256 {origin[:12]}...)"
                if origin
                else "does not say which checkpoint it was exported from"
            )
            raise DistillationError(
                f"{path} may only be replaced by another export of its checkpoint, but it {described}, and {source} "
                f"has SHA-256 {fingerprint[:12]}...; give another path, or replace it with --force"
            )


def replace_folder(converted: Path, folder: Path) -> None:
    """Move a finished folder to its place. The older one moves beside where it was, into a temporary folder."""
    if folder.exists():
        folder.replace(converted.with_name("replaced"))
    converted.replace(folder)


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Add the record of the source to the config.json of a folder that is not yet in its place."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, RECORD: record}, indent=2) + "\n", encoding="utf-8")


def _checkpoint_record(path: Path) -> Any:
    try:
        return (checkpoint.read(path, lazily=True).get("extra_state") or {}).get(RECORD)
    except DistillationError:
        return None


def _safetensors_record(path: Path) -> Any:
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get(RECORD, "null"))
    except (SafetensorError, OSError, ValueError):
        return None


def _folder_record(path: Path) -> Any:
    try:
        config = files.read_json(path / "config.json")
    except DistillationError:
        return None
    return config.get(RECORD) if isinstance(config, dict) else None
