"""Makes data_files.py importable, which importlib mode does not, and forgets readers that a test registers."""

import sys
from pathlib import Path

import pytest

from striate.data.registry import _READERS

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def restored_readers():
    before = list(_READERS)
    yield
    _READERS[:] = before
