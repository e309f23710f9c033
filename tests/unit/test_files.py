"""Files are written whole or not at all; text is read line by line; errors name the file."""

import errno
import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from weightdistill import files
from weightdistill.errors import DistillationError

ROOT = Path(__file__).parents[2]


def test_a_failure_while_writing_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "student"
    path.write_bytes(b"the previous file")
    with pytest.raises(KeyboardInterrupt), files.writing(path) as temporary:
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"the previous file"
        raise KeyboardInterrupt
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"the previous file"]


def test_an_error_about_another_file_passes_through_unchanged(tmp_path: Path) -> None:
    missing = tmp_path / "input"
    with pytest.raises(FileNotFoundError) as caught, files.writing(tmp_path / "output") as temporary:
        temporary.write_bytes(b"half")
        missing.read_bytes()
    assert caught.value.filename == str(missing)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_write_error_without_a_file_name_becomes_a_clear_one(tmp_path: Path, code: int) -> None:
    path = tmp_path / "output"
    reason = os.strerror(code)
    with pytest.raises(DistillationError, match=rf"cannot write .*output: {reason}; check that"), files.writing(path):
        raise OSError(code, reason)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_does_not_fit_becomes_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(10000))
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, allowed[1]))  # a write beyond this fails like one to a full disk
    message = r"cannot write .*output: File too large; check that the folder is writable and the disk not full"
    try:
        with pytest.raises(DistillationError, match=message), files.writing(tmp_path / "output") as temporary:
            shutil.copyfile(tmp_path / "source", temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert [file.name for file in tmp_path.iterdir()] == ["source"]


def test_a_read_only_folder_becomes_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "output"
    message = r"cannot write .*output: Permission denied; check that the folder is writable and the disk not full"
    with pytest.raises(DistillationError, match=message), files.writing(path) as temporary:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(temporary))  # what open() raises there


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(DistillationError, match=r"cannot write .*output: No such file"),
        files.writing(tmp_path / "output"),
    ):
        pass


def test_two_writers_of_one_path_do_not_collide(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with files.writing(path) as first, files.writing(path) as second:
        assert first != second
        first.write_text("first", encoding="utf-8")
        second.write_text("second", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "first"  # its block ends last
    assert [file.name for file in tmp_path.iterdir()] == ["output"]


def test_a_fixed_temporary_name_overwrites_what_a_killed_writer_left(tmp_path: Path) -> None:
    path, temporary = tmp_path / "output", tmp_path / "output.writing"
    temporary.write_text("left by a killed process", encoding="utf-8")
    with files.writing(path, temporary) as given:
        assert given == temporary
        given.write_text("whole", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "whole"
    assert [file.name for file in tmp_path.iterdir()] == ["output"]


def killed_while(write: str, folder: Path) -> None:
    """Run a line of Python in a process that is killed in the middle of its writing."""
    code = f"import os, pathlib; from weightdistill import files\n{write} os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert killed.returncode == -signal.SIGKILL
    assert list(folder.iterdir())


def test_what_a_killed_writer_left_disappears_with_the_next_writing(tmp_path: Path) -> None:
    killed_while("with files.writing('output') as file: file.write_text('half');", tmp_path)
    killed_while("with files.scratch_folder('model') as folder: (folder / 'file').touch();", tmp_path)
    (tmp_path / ".hidden.tmp").touch()  # of something else
    files.write_json(tmp_path / "other", {})
    assert {file.name for file in tmp_path.iterdir()} == {".hidden.tmp", "other"}


def test_a_writer_leaves_what_another_is_writing(tmp_path: Path) -> None:
    with files.writing(tmp_path / "first") as temporary, files.scratch_folder(tmp_path / "model") as folder:
        temporary.write_text("first", encoding="utf-8")
        code = "from weightdistill import files; files.write_json('second', {})"
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True
        )
        assert folder.is_dir()
    assert {file.name for file in tmp_path.iterdir()} == {"first", "second"}


def test_json_is_indented_and_keeps_letters_of_any_alphabet(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    files.write_json(path, {"name": "Größe"})
    assert path.read_text(encoding="utf-8") == '{\n  "name": "Größe"\n}\n'
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Größe"}


def test_a_writable_path_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "result.json"
    files.require_writable(path)
    assert path.parent.is_dir() and not list(path.parent.iterdir())
    path.write_text("previous", encoding="utf-8")
    files.require_writable(path)
    assert path.read_text(encoding="utf-8") == "previous"


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DistillationError, match=r"cannot write .*result\.json: "):
        files.require_writable(tmp_path / "file" / "result.json")
    with pytest.raises(DistillationError, match=r"cannot write .*: .* is a folder, not a file"):
        files.require_writable(tmp_path)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_devices_are_not_replaced(tmp_path: Path, path: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    path = str(tmp_path / path)
    code = f"from weightdistill import files; files.write_json({path!r}, {{}})"
    with (tmp_path / "log").open("w") as log:  # so that /dev/stdout leads to a file
        written = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=log, stderr=subprocess.PIPE, text=True)
    assert "DistillationError: cannot write" in written.stderr and "is a device, not a file" in written.stderr
    assert (tmp_path / "link").is_symlink() and Path("/dev/stdout").is_symlink()


@pytest.mark.parametrize("letter", ["a", "\U0001f600"])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path, letter: str) -> None:
    longest = letter * (255 // len(letter.encode()))
    files.write_json(tmp_path / longest, {})
    assert [path.name for path in tmp_path.iterdir()] == [longest]
    with pytest.raises(DistillationError, match=r"cannot write .*: File name too long"):
        files.write_json(tmp_path / (longest + letter), {})


def test_the_file_behind_a_symbolic_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    files.write_json(tmp_path / "link", 1)
    files.write_json(tmp_path / "link", 2)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "folder/file").read_text(encoding="utf-8") == "2\n"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


def test_the_fingerprint_is_the_sha256_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(1).randbytes(3 * 2**20 + 7))
    assert files.fingerprint(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DistillationError, match="absent cannot be read"):
        files.fingerprint(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"", "is empty"), (b"\n\n", "is empty"), (b"good\nb\xe4d\n", "line 2 is not UTF-8")],
)
def test_an_unusable_text_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "hyp.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DistillationError, match=rf"hyp\.txt.* {message}"):
        files.read_lines(path)


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("\ufeffone\u2028still one\r\n\nthree\x0bstill three".encode())  # after a byte-order mark
    assert files.read_lines(path) == ["one\u2028still one", "", "three\x0bstill three"]


def test_gzipped_text_is_read(tmp_path: Path) -> None:
    path, content = tmp_path / "text.gz", gzip.compress(b"one\n\nthree\n")
    path.write_bytes(content)
    assert files.read_lines(path) == ["one", "", "three"]
    for damaged in (b"no archive", content[:-9]):
        path.write_bytes(damaged)
        with pytest.raises(DistillationError, match=r"text\.gz cannot be read: .*; give the path of a text file"):
            files.read_lines(path)


def test_the_first_line_with_one_of_the_words_is_chosen() -> None:
    text = "\nWeightsUnpickler error\n  Unsupported global: x\nsee the documentation\n"
    assert files.first_line(text, "Unsupported", "GLOBAL") == "Unsupported global: x"
    assert files.first_line(text, "absent") == files.first_line(text) == "WeightsUnpickler error"
    assert files.first_line("\n") == "no reason given"
