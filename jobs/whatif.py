"""`foundry whatif`: what other limits would keep and drop, in seconds, without writing to the workdir."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.table import Table

from jobs.console import console, number, size, warn
from jobs.recipe import Recipe, load_recipe, resolve_workdir
from jobs.summary import in_a_line, titled
from jobs.yaml_file import parse_yaml
from kernel.sections import hint
from pipeline.measure.labels import Found, find, read_labels
from pipeline.report.agreement import Agreement
from pipeline.report.figures import standalone
from pipeline.report.sweep import Sweep, draw, page, sweep
from pipeline.report.whatif import DROPPED_WRONGLY, GOES, KEPT_WRONGLY, STAYS, Change, Tried, WhatIf, what_if
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from storage.errors import why

MOST_VALUES = 1000  # of a sweep
BAR = 32  # characters of a full one
SHOWN = 12  # languages, sources or rules of a table; the rest is counted


@dataclass(frozen=True)
class Setting:
    """A key of the recipe with another value than the recipe has."""

    key: str
    before: Any
    after: Any


# --- what is asked -----------------------------------------------------------------------------------------------------


def _pair(option: str, text: str, example: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"{option} {text}: is no KEY=VALUE; write {option} {example}")
    return key.strip(), value


def _check_key(option: str, key: str, recipe: Recipe) -> None:
    """Raises `UserError` where a key is none of the filter's."""
    first, *rest = key.split(".")
    if first != "filter" and first not in Recipe.model_fields:
        raise UserError(f"{option} {key}: the recipe has no key `{first}`; {hint(first, Recipe.model_fields)}")
    domains = sorted({source.domain for source in recipe.sources})
    if first != "filter" or not rest:
        tried = ", ".join(f"filter.{name}" for name in domains)
        raise UserError(f"{option} {key}: the filter does not read this key; what can be tried lies under {tried}, or filter.SOURCE")


def settings(recipe: Recipe, path: Path, texts: Sequence[str]) -> tuple[Recipe, list[Setting]]:
    """The recipe with some keys set, and what was set. Raises `UserError`, as for any recipe, where it cannot be so."""
    values: dict[str, Any] = {}
    for text in texts:
        key, value = _pair("--set", text, "filter.web.gopher_quality.min_words=30")
        _check_key("--set", key, recipe)
        values[key] = parse_yaml(value, f"--set {key}")
    changed = load_recipe(path, {**values, "workdir": recipe.workdir}, told_as="--set") if values else recipe
    return changed, [Setting(key, value_at(recipe, key), value_at(changed, key)) for key in values]


def value_at(recipe: Recipe, key: str) -> Any:
    """What the recipe says at a place, in full; None where a section on the way is missing."""
    found: Any = recipe
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else getattr(found, part, None)
    return found.model_dump(mode="json", exclude_none=True) if isinstance(found, BaseModel) else found


def sweep_values(option: str, text: str) -> list[float | None]:
    """The values of `BEGIN:END:STEP`, with its end, or of a list. Raises `UserError`."""
    try:
        if ":" not in text:
            return [None if part.strip() in ("null", "") else _plain(Decimal(part)) for part in text.split(",")]
        begin, end, step = map(Decimal, text.split(":"))
        if not all(each.is_finite() for each in (begin, end, step)) or step <= 0 or end < begin:
            raise ValueError
    except (InvalidOperation, ValueError) as error:
        raise UserError(f"{option}: {text!r} is neither BEGIN:END:STEP nor a list of numbers; write 10:100:5, or 10,20,50") from error
    count = int((end - begin) / step) + 1
    if count > MOST_VALUES:
        raise UserError(f"{option}: {text} are {count:,} values, over {MOST_VALUES:,}; take a larger step")
    return [_plain(begin + step * place) for place in range(count)]


def _plain(value: Decimal) -> float:
    if not value.is_finite():
        raise ValueError
    return int(value) if value == value.to_integral_value() else float(value)


def _swept(recipe: Recipe, path: Path, set_: Sequence[str], text: str, tried: Tried, labels: Found | None) -> Sweep:
    key, given = _pair("--sweep", text, "filter.web.gopher_quality.min_words=10:100:5")
    _check_key("--sweep", key, recipe)
    if len(key.split(".")) < 4:
        raise UserError(f"--sweep {key}: is no limit; give one, such as filter.web.gopher_quality.min_words")
    values = sweep_values(f"--sweep {key}", given)
    others = [_pair("--set", each, "") for each in set_]
    known = {name: parse_yaml(value, name) for name, value in others}
    rules = []
    for value in values:
        loaded = load_recipe(path, {**known, key: value, "workdir": recipe.workdir}, told_as="--sweep")
        rules.append(loaded.filter[key.split(".")[1]])
    now = value_at(recipe, key)
    return sweep(tried, key, now if isinstance(now, int | float) else None, values, rules, labels)


def edited(tried: Tried, recipe: Recipe) -> list[str]:
    """Names of domains and sources whose rules in the recipe, without what is tried, are others than the workdir's."""
    names = sorted(tried.before.keys() | recipe.filter.keys())
    empty: dict[str, Any] = {}

    def dumped(rules: Any) -> dict[str, Any]:
        return rules.model_dump() if rules is not None else empty

    return [name for name in names if dumped(tried.before.get(name)) != dumped(recipe.filter.get(name))]


# --- the command -------------------------------------------------------------------------------------------------------


def whatif(
    path: Path,
    recipe: Recipe,
    base: Path,
    *,
    set_: Sequence[str] = (),
    sweep_: str | None = None,
    labels: Path | None = None,
    out: Path | None = None,
    examples: int = 3,
    as_json: bool = False,
) -> None:
    """Print what other limits would change. Raises `UserError` for settings that cannot be, and a workdir that was not filtered."""
    if out is not None and (sweep_ is None or out.suffix not in (".svg", ".html", ".json")):
        raise UserError(f"--out {out}: a plot is written of a --sweep, as .svg, .html or .json")
    workdir = Workdir(resolve_workdir(recipe.workdir))
    changed, tries = settings(recipe, path, set_)
    given = read_labels(labels) if labels is not None else None
    tried = Tried(workdir, changed.filter, base)
    found = find(workdir, given) if given is not None else None
    if sweep_ is not None:
        swept = _swept(changed, path, set_, sweep_, tried, found)
        if out is not None:
            _write(out, swept)
        if as_json:
            console.print_json(json.dumps({"sweep": asdict(swept), "labels": _told(found)}))
        else:
            _show_sweep(swept)
            _show_missing(found)
        return
    result = what_if(tried, examples, found)
    if as_json:
        body = {"set": [asdict(each) for each in tries], "edited": edited(tried, recipe), **asdict(result), "labels": _told(found)}
        body["agreement"] = [_measures(each) for each in result.agreement] if result.agreement else None
        body["tokens"] = _tokens(result)
        console.print_json(json.dumps(body))
        return
    _show_settings(tries, edited(tried, recipe))
    _show(result, examples)
    _show_missing(found)


def _write(out: Path, swept: Sweep) -> None:
    text = {
        ".svg": lambda: standalone(draw(swept)),
        ".html": lambda: page(swept, list(_sweep_rows(swept))),
        ".json": lambda: json.dumps(asdict(swept), indent=1) + "\n",
    }[out.suffix]()
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({why(error)}); give another place") from error


# --- what is shown -----------------------------------------------------------------------------------------------------


def _show_settings(tries: Sequence[Setting], others: Sequence[str]) -> None:
    for each in tries:
        console.print(f"{each.key}: {json.dumps(each.before)} -> {json.dumps(each.after)}", markup=False, soft_wrap=True)
    if others:
        warn(
            f"the recipe's own rules of {', '.join(others)} are others than those that the workdir was filtered by; before is the workdir, "
            "after is the recipe with what is tried"
        )


def _signed(count: float, shown: Any) -> str:
    return f"{'+' if count > 0 else '-' if count < 0 else ''}{shown(abs(count))}"


def _whole(count: float) -> str:
    return f"{count:,.0f}"


def _tokens(result: WhatIf) -> dict[str, int] | None:
    """Tokens before and after, by the tokens of a byte that each domain's documents had; None where none were tokenised."""
    if not result.tokens_per_byte:
        return None

    def kept(side: str) -> int:
        rates: dict[str, float] = result.tokens_per_byte
        total: float = sum(getattr(each, side).bytes * rates.get(each.name, 0.0) for each in result.axes["domain"])
        return round(total)

    return {"before": kept("before"), "after": kept("after")}


def _show(result: WhatIf, examples: int) -> None:
    rows = [
        ("documents kept", result.before.documents, result.after.documents, _whole),
        ("text kept", result.before.bytes, result.after.bytes, size),
    ]
    if tokens := _tokens(result):
        rows.append(("tokens kept, about", tokens["before"], tokens["after"], number))
    table = titled(
        f"What the filter keeps of {result.came.documents:,} documents, {size(result.came.bytes)}", "", "before", "after", "change"
    )
    for name, before, after, shown in rows:
        table.add_row(name, shown(before), shown(after), _signed(after - before, shown))
    console.print(table)
    if not (result.stays.documents or result.goes.documents):
        console.print("no document is kept or dropped that was not before")
    _changes("Dropped by rule", "rule", result.rules)
    for axis, changes in result.axes.items():
        _changes(f"Kept by {axis}", axis, changes, came=True)
    _show_later(result)
    if result.agreement is not None:
        _show_agreement(result.agreement)
    for kind, title in (
        (STAYS, f"Would newly stay: {result.stays.documents:,} documents, {size(result.stays.bytes)}; dropped now by"),
        (GOES, f"Would newly go: {result.goes.documents:,} documents, {size(result.goes.bytes)}; by"),
        (DROPPED_WRONGLY, "Labels keep, and these rules would drop"),
        (KEPT_WRONGLY, "Labels drop, and these rules would keep"),
    ):
        if result.samples[kind]:
            console.print(f"\n{title}", style="bold")
            for sample in result.samples[kind]:
                console.print(in_a_line(sample), markup=False, soft_wrap=True)


def _changes(title: str, what: str, changes: Sequence[Change], *, came: bool = False) -> None:
    """A table of what changes; what does not is counted."""
    moved = [each for each in changes if each.before != each.after]
    moved.sort(key=lambda each: (-abs(each.after.documents - each.before.documents), -abs(each.after.bytes - each.before.bytes), each.name))
    if not moved:
        return
    table = titled(title, what, *(["came in"] if came else []), "before", "after", "change", "text before", "after", "change")
    for each in moved[:SHOWN]:
        counts = (each.before.documents, each.after.documents)
        table.add_row(
            each.name,
            *([_whole(each.came.documents)] if came else []),
            *map(_whole, counts),
            _signed(counts[1] - counts[0], _whole),
            size(each.before.bytes),
            size(each.after.bytes),
            _signed(each.after.bytes - each.before.bytes, size),
        )
    console.print(table)
    rest = [f"{len(moved) - SHOWN:,} more change"] if len(moved) > SHOWN else []
    if same := len(changes) - len(moved):
        rest.append(f"{same:,} other{'s stay as they are' if same != 1 else ' stays as it is'}")
    if rest:
        console.print(f"  {'; '.join(rest)}", style="dim")


def _show_later(result: WhatIf) -> None:
    later, told = result.later, ["The stages after the filter are not decided again."]
    if result.goes.documents:
        by = ", ".join(f"{stage} {count:,}" for stage, count in later.goes.items())
        dropped = f"{sum(later.goes.values()):,} anyway{f' ({by})' if by else ''}"
        told.append(f"Of {result.goes.documents:,} that would go, later stages had dropped {dropped}.")
    if later.freed:
        told.append(f"Duplicates that were dropped for a copy that would go: {later.freed:,}; they may stay in its place.")
    if result.stays.documents:
        same = f"{later.duplicates:,} repeat exactly what is kept; the other " if later.duplicates is not None else ""
        told.append(f"Of {result.stays.documents:,} that would stay, {same}{later.unjudged:,} no later stage has judged.")
    if len(told) > 1:
        console.print(" ".join(told), soft_wrap=True)


def _measures(agreement: Agreement) -> dict[str, Any]:
    return {**asdict(agreement), "precision": agreement.precision, "recall": agreement.recall, "kappa": agreement.kappa}


def _told(found: Found | None) -> dict[str, int] | None:
    if found is None:
        return None
    count = sum(len(rows) for rows, _ in found.rows.values())
    return {"documents": count, "missing": found.missing, "contradicted": found.contradicted}


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _show_agreement(agreements: tuple[Agreement, Agreement]) -> None:
    table = titled(f"Agreement with {agreements[0].documents:,} labelled documents", "", "before", "after")
    for name, field in (
        ("kept, as labelled", "kept_rightly"),
        ("kept, labelled to drop", "kept_wrongly"),
        ("dropped, labelled to keep", "dropped_wrongly"),
        ("dropped, as labelled", "dropped_rightly"),
    ):
        table.add_row(name, *(f"{getattr(each, field):,}" for each in agreements))
    for name in ("precision", "recall"):
        table.add_row(f"{name} of what is kept", *(_share(getattr(each, name)) for each in agreements))
    table.add_row("Cohen's kappa, 95 %", *(_kappa(each) for each in agreements))
    console.print(table)


def _kappa(agreement: Agreement) -> str:
    found = agreement.kappa
    return "" if found is None else f"{found[0]:.3f} ({found[1]:.3f} to {found[2]:.3f})"


def _show_missing(found: Found | None) -> None:
    if found is not None and found.missing:
        warn(f"of {found.missing:,} labels no document is in the workdir")
    if found is not None and found.contradicted:
        warn(f"{found.contradicted:,} documents are labelled both to keep and to drop, and are left out")


def _sweep_rows(swept: Sweep) -> Iterator[list[str]]:
    tokens = any(point.tokens is not None for point in swept.points)
    labelled = any(point.agreement is not None for point in swept.points)
    yield [
        swept.key.split(".")[-1],
        "documents",
        "share",
        "text",
        "share",
        *(["tokens, about"] if tokens else []),
        *(["precision", "recall", "kappa"] if labelled else []),
    ]
    for point in swept.points:
        row = [
            "none" if point.value is None else f"{point.value:g}",
            _whole(point.kept.documents),
            f"{point.kept.documents / max(1, swept.came.documents):.1%}",
            size(point.kept.bytes),
            f"{point.kept.bytes / max(1, swept.came.bytes):.1%}",
        ]
        if tokens:
            row.append(number(point.tokens or 0))
        if point.agreement is not None:
            row += [_share(point.agreement.precision), _share(point.agreement.recall), _kappa(point.agreement)]
        yield row


def _show_sweep(swept: Sweep) -> None:
    head, *rows = _sweep_rows(swept)
    now = "" if swept.now is None else f" ({swept.now:g} in the recipe)"
    table: Table = titled(f"{swept.key}{now}: what the filter keeps of {swept.came.documents:,} documents", *head, "documents kept")
    table.columns[-1].justify = "left"
    for point, row in zip(swept.points, rows, strict=True):
        eighths = round(8 * BAR * point.kept.documents / max(1, swept.came.documents))
        bar = "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
        here = " <- the recipe's" if point.value is not None and point.value == swept.now else ""
        table.add_row(*row, bar + here)
    console.print(table)
    console.print("Later stages are not decided again.", style="dim")
