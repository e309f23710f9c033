"""Cleaning counts every pair, leaves out what the settings say, and names the line of unusable input."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from weightdistill.errors import DistillationError
from weightdistill.text.corpus import CleanSettings, clean, write_pairs

PAIRS = [
    ("a dog", "ein Hund"),
    ("a  dog\t", "ein Hund"),  # differs only in blanks
    ("a dog", "der Hund"),
    ("one two three four five", "eins zwei drei vier fünf"),
    ("yes", "ja ja ja ja"),
    ("", "nichts"),
    ("line\u2028separator", "Zeilen\xa0trenner"),
]


def write(folder: Path, pairs: list[tuple[str, str]]) -> tuple[Path, Path]:
    paths = folder / "raw.en", folder / "raw.de"
    for side, path in enumerate(paths):
        path.write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")
    return paths


def cleaned(folder: Path, source: Path, target: Path, **settings: Any) -> tuple[dict[str, int], list[str], list[str]]:
    outputs = folder / "clean.en", folder / "clean.de"
    counts = clean(source, target, *outputs, CleanSettings(**settings))
    source_lines, target_lines = (path.read_text(encoding="utf-8").split("\n")[:-1] for path in outputs)
    return counts.as_dict(), source_lines, target_lines


def test_every_pair_is_kept_or_counted(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_length": 4, "max_ratio": 3, "deduplicate": True, "drop_empty": True}
    counts, source, target = cleaned(tmp_path, *write(tmp_path, PAIRS), **settings)
    assert counts == {"pairs": 7, "empty": 1, "too_long": 1, "ratio": 1, "duplicate": 1, "kept": 3}
    assert source == ["a dog", "a dog", "line separator"]
    assert target == ["ein Hund", "der Hund", "Zeilen trenner"]


def test_without_limits_nothing_is_left_out(tmp_path: Path) -> None:
    counts, source, _ = cleaned(tmp_path, *write(tmp_path, PAIRS[:5]))
    assert counts["kept"] == counts["pairs"] == len(source) == 5


def test_a_byte_order_mark_is_not_text(tmp_path: Path) -> None:
    paths = write(tmp_path, PAIRS[:1])
    paths[0].write_bytes(b"\xef\xbb\xbf" + paths[0].read_bytes())
    assert cleaned(tmp_path, *paths)[1] == ["a dog"]


def test_gzip_is_read(tmp_path: Path) -> None:
    paths = write(tmp_path, PAIRS[:1])
    zipped = tmp_path / "raw.en.gz"
    zipped.write_bytes(gzip.compress(paths[0].read_bytes()))
    assert cleaned(tmp_path, zipped, paths[1])[1] == ["a dog"]
    whole = zipped.read_bytes()
    for damaged in (whole[:-12], whole[:10] + bytes(byte ^ 0xFF for byte in whole[10:])):
        zipped.write_bytes(damaged)
        with pytest.raises(DistillationError, match=r"raw\.en\.gz cannot be read"):
            cleaned(tmp_path, zipped, paths[1])


def test_unusable_input_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    paths = write(tmp_path, PAIRS)
    with pytest.raises(
        DistillationError, match=r"raw\.en: line 6 is empty; fix it, or leave out such pairs \(--drop-empty\)"
    ):
        cleaned(tmp_path, *paths)
    paths[1].write_bytes(b"gut\nschlecht \xe4\n")
    with pytest.raises(DistillationError, match=r"raw\.de: line 2 is not UTF-8"):
        cleaned(tmp_path, *paths)
    paths[1].write_text("nur\nzwei\n")
    with pytest.raises(DistillationError, match=r"raw\.de ends after 2 and .*raw\.en does not"):
        cleaned(tmp_path, *paths)
    with pytest.raises(
        DistillationError, match=r"at least one pair .*, but .* gave 7 pairs, 1 empty, .* 0 kept; relax"
    ):
        cleaned(tmp_path, *write(tmp_path, PAIRS), max_length=1, max_ratio=1, drop_empty=True)
    with pytest.raises(DistillationError, match=r"lost cannot be read"):
        cleaned(tmp_path, tmp_path / "lost", paths[1])
    assert not list(tmp_path.glob("*clean*"))


@pytest.mark.parametrize("settings", [{"max_length": -1}, {"max_ratio": 0.5}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(DistillationError, match=r"must be 0 or"):
        CleanSettings(**settings)  # type: ignore[arg-type]


def test_both_sides_are_written_or_neither(tmp_path: Path) -> None:
    paths = tmp_path / "text.en", tmp_path / "text.de"
    assert write_pairs(PAIRS[:1] * 2, *paths) == 2
    assert [path.read_text(encoding="utf-8") for path in paths] == ["a dog\n" * 2, "ein Hund\n" * 2]
    (tmp_path / "file").touch()
    with pytest.raises(DistillationError, match=r"cannot write .*text\.de"):
        write_pairs(PAIRS, tmp_path / "other.en", tmp_path / "file" / "text.de")
    assert not (tmp_path / "other.en").exists()
