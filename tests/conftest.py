"""The order of the tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the whole runs first: they take minutes, and would run alone if they came last."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/system/"))
