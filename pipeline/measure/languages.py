"""The natural languages that can be told apart: the labels of fastText's lid.176, and what else the same languages are called.

Labels are ISO 639-1 codes where there is one, else 639-3 (Norwegian Bokmål is `no`, Alemannic `als`). The other codes are those of ISO
639-2 and 639-3, those of a macrolanguage's largest member among them; names are as in ISO 639 or in common English.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from kernel.sections import check_name
from pipeline.readers.languages import KNOWN

UNKNOWN = "und"  # what `language.detect` calls a text in which it knows nothing


@cache
def labels() -> dict[str, tuple[str, ...]]:
    """By label, the language's English name and its other codes."""
    table = (files("pipeline.measure") / "data" / "languages.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in table.split("\n") if line and not line.startswith("#")]
    return {label: (name, *codes.split()) for label, name, codes in rows}


def label_of(name: str) -> str | None:
    """The label that is meant by a name or code of a language in another spelling (`EN`, `zh-cn`, `english`, `eng_Latn`); else None."""
    whole = name.strip().lower().replace("_", "-")
    for given in (whole, whole.split("-")[0]):
        for label, others in labels().items():
            if given == label or given in map(str.lower, others):
                return label
    return None


def check_language(name: str) -> None:
    """Raises `ValueError`, in one line with the label that is meant or near, where a name is no label."""
    check_name(name, {*labels(), UNKNOWN}, "language", meant=label_of(name), listed="docs/filters.md")


def check_code_language(name: str) -> None:
    """Raises `ValueError`, in one line with the right one, where a name is a programming language's in another spelling than linguist's.

    Names of languages that the readers do not know pass: a source may declare them.
    """
    meant = KNOWN.get(name.strip().lower())
    if meant is not None:
        check_name(name, (meant,), "programming language", meant=meant)
