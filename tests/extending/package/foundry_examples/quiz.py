"""An evaluation set: questions with their right answers, from a file of JSON Lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import Field

from pipeline.contamination.sets import EvaluationSet
from pipeline.readers import PassedOver, Record, Unreadable
from pipeline.workdir.dataset import fingerprint


class Quiz(EvaluationSet):
    """Questions with the answers that are right, each question and its answer one item."""

    path: str = Field(description="The file: one object a line, with `question`, `choices` (a list) and `answer` (a number, from 0).")

    def items(self) -> Iterator[Record | Unreadable | PassedOver]:
        with open(self.path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    item = json.loads(line)
                    text = f"{item['question']} {item['choices'][item['answer']]}"
                except (ValueError, LookupError, TypeError) as error:
                    yield Unreadable(f"{self.path}#{number}", f"no question: {error}")
                else:
                    yield Record(str(number), text)

    def resolved(self, base: Path) -> Self:
        return self.model_copy(update={"path": str(base / self.path)})

    def fingerprint(self) -> str:
        return fingerprint("quiz", hashlib.sha256(Path(self.path).read_bytes()).hexdigest())
