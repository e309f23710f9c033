"""Folders whose disk can be full or read-only. Needs root on Linux: it mounts file systems.

A full disk is a small tmpfs. A disk that becomes read-only is an ext4 image on a loop device that is told to stop as
after an error of the disk (`remount,abort`), because Linux refuses `remount,ro` while a file is open for writing. It is
mounted `sync`, so that what was written before is on the disk.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOMY = 256 << 20
"""Bytes of a disk with space."""


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a disk of so many bytes on a folder."""
    _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", str(folder))


def give_space(folder: Path) -> None:
    """Enlarge the disk of `small_disk`."""
    _run("mount", "-o", f"remount,size={ROOMY}", str(folder))


@contextlib.contextmanager
def failing_disk(folder: Path, image: Path) -> Iterator[None]:
    """Mount a disk that `make_read_only` stops; `image` is a file that does not exist yet."""
    with image.open("wb") as file:
        file.truncate(ROOMY)
    try:
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        _mount(folder, image)
        (folder / "lost+found").rmdir()
        try:
            yield
        finally:
            _run("umount", str(folder))
    finally:
        image.unlink()


def make_read_only(folder: Path) -> None:
    """Stop the disk of `failing_disk`: from now on nothing can be written."""
    _run("mount", "-o", "remount,abort", str(folder))


def repair(folder: Path, image: Path) -> None:
    """Make the disk writable again, with what it holds."""
    _run("umount", str(folder))
    _run("e2fsck", "-p", str(image), accepted=(0, 1))
    _mount(folder, image)


def _mount(folder: Path, image: Path) -> None:
    _run("mount", "-o", "loop,sync", str(image), str(folder))


def _run(*command: str, accepted: tuple[int, ...] = (0,)) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode not in accepted:
        raise OSError(f"{' '.join(command)}: {result.stderr.strip()} (full and read-only disks need root on Linux)")
