"""One thread: the models are so small that others only wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.trainer.tuning.small import write_model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Put back what was."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and its tokenizer."""
    folder = tmp_path_factory.mktemp("start")
    write_model(folder)
    return folder
