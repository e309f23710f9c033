"""Durations and sizes as text, the same in plans, tables, reports and progress lines."""


def duration(seconds: float) -> str:
    """A duration in the unit that suits it: seconds below 10 minutes, minutes below 10 hours, else hours."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.0f} h"


def size(number_of_bytes: float) -> str:
    """A size in MiB, or in GiB from one GiB on."""
    mebibytes = number_of_bytes / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"
