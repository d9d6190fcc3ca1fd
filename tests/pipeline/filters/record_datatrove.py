"""Record what datatrove's four filters decide on our small set of texts, for the test that compares ours with it.

    python tests/pipeline/filters/record_datatrove.py

Needs datatrove and spacy alone (`pip install datatrove==0.10.1 orjson spacy nltk`), in any environment; reads `data/texts.jsonl`
beside it, texts that were written for this (`id`, `text`), and writes `data/datatrove.json`: the versions, and for each text the
reason for which each filter drops it, or null. Filters see a text as it is, with their published defaults.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

DATA = Path(__file__).with_name("data")
FILTERS = ("GopherQualityFilter", "GopherRepetitionFilter", "C4QualityFilter", "FineWebQualityFilter")


def main() -> None:
    """Record the decisions."""
    from datatrove.data import Document
    from datatrove.pipeline import filters
    from loguru import logger

    logger.remove()
    lines = (DATA / "texts.jsonl").read_text(encoding="utf-8").splitlines()
    decisions: dict[str, dict[str, str | None]] = {}
    for line in lines:
        row = json.loads(line)
        found = decisions[row["id"]] = {}
        for name in FILTERS:
            try:
                verdict = getattr(filters, name)().filter(Document(text=row["text"], id=row["id"]))
            except ZeroDivisionError:  # it has no words, or no lines
                found[name] = "no words"
                continue
            found[name] = None if verdict is True else str(verdict[1])
    body = {"versions": {name: version(name) for name in ("datatrove", "spacy")}, "decisions": decisions}
    (DATA / "datatrove.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
