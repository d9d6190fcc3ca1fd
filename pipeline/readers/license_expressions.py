"""Licences as SPDX expressions, normalised by license-expression, from what people write for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from boolean import ParseError
from license_expression import ExpressionError, get_spdx_licensing

from pipeline.readers.creative_commons import license_named
from pipeline.readers.data import rows

PROPRIETARY = "LicenseRef-proprietary"  # said to be nobody's but its owner's
UNKNOWN = "LicenseRef-unknown"  # words of a licence that no table knows: never permissive

# Names that people write for licences, in small letters, where they are no SPDX names.
_COMMON = {name: license for license, name in rows("license-names.tsv")}
_SPELLINGS = {key.lower(): key for key in get_spdx_licensing().known_symbols}
# Where licences are explained: the name is the last part of the address.
_ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:opensource\.org/licenses?|spdx\.org/licenses|(?:gnu|apache)\.org/licenses(?:/old-licenses)?|"
    r"choosealicense\.com/licenses)/(?:license-)?([a-z0-9.+-]{1,40}?)(?:\.html|\.txt|-standalone\.html|\.php)?/?"
)


@lru_cache(1 << 12)
def normalise(expression: str) -> str | None:
    """An SPDX expression in its canonical form (`mit or apache-2.0` is `MIT OR Apache-2.0`, `GPL-2.0+` is `GPL-2.0-or-later`), or
    what a common name stands for; None where it is neither. `LicenseRef-` names are kept as they are."""
    text = " ".join(expression.split())[:300].strip(" .,;")
    if not text:
        return None
    if common := _COMMON.get(text.lower()):
        return common
    licensing = get_spdx_licensing()
    for attempt in (text, text.replace("/", " OR ").replace(",", " OR ").replace("|", " OR ").replace("&", " AND ")):
        try:
            parsed = licensing.parse(attempt)
        except (ExpressionError, ParseError, RecursionError):
            continue
        if parsed is None:
            return None
        unknown = licensing.unknown_license_keys(parsed)
        if all(key.startswith("LicenseRef-") for key in unknown):
            return str(parsed)
    if found := _ADDRESS.fullmatch(text.lower()):
        name = f"apache-{found[1]}" if "apache.org" in text.lower() else found[1]
        return _COMMON.get(name) or _SPELLINGS.get(name) or _SPELLINGS.get(name + "-only")
    return license_named(text)


def combine(expressions: Iterable[str], operator: str) -> str | None:
    """Several expressions as one, each once; None of none."""
    distinct = list(dict.fromkeys(expressions))
    if len(distinct) <= 1:
        return distinct[0] if distinct else None
    return f" {operator} ".join(f"({item})" if " AND " in item or " OR " in item else item for item in distinct)
