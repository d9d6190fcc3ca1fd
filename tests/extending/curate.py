"""`python -m tests.extending.curate RECIPE`: curate without Ray, and print what came of it as JSON. For test_extending.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from jobs.recipe import load_recipe
from jobs.reference import reference
from jobs.run import curate
from pipeline.report.histograms import histograms
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.engine import Engine, in_process


def main() -> None:
    """Curate, and say what each document was found to be."""
    recipe = load_recipe(Path(sys.argv[1]))
    workdir = Workdir(recipe.workdir)
    curate(recipe, Engine(workdir, executor=in_process))
    columns = {
        "documents": ["id", "title", "text"],
        "statistics": ["compression", "links"],
        "verdicts/filter": ["rule", "value"],
        "verdicts/contamination": ["rule"],
        "quarantine": ["location", "error"],
    }
    found: dict[str, Any] = {
        name: [row for _, table in workdir.tables(name, wanted) for row in table.to_pylist()] for name, wanted in columns.items()
    }
    found["drawn"] = {drawn.statistic: [drawn.description, list(drawn.limits)] for drawn in histograms(workdir)}
    found["reference"] = reference()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
