"""What tests of training share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where base models are unpacked: once, for it takes most of a minute."""
    return tmp_path_factory.mktemp("work")
