"""One trained tokenizer folder for each pre-tokenizer, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.once import made_once
from tests.tokenizer.texts import SAMPLES, shipped
from tokenizer import Encoder, TokenizerConfig, train, write

KINDS = ("modernbert", "modern")


@pytest.fixture(scope="session", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TokenizerConfig(vocab_size=4096, pretokenizer=request.param)

    def make(target: Path) -> None:
        write(train([*shipped(), *SAMPLES * 3], config), config, target / request.param, {"texts": "what installed packages ship"})

    name: str = request.param
    return made_once(tmp_path_factory, f"tokenizer-{name}", make) / name


@pytest.fixture(scope="session")
def encoder(folder: Path) -> Encoder:
    return Encoder(folder)
