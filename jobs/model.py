"""`foundry model`: look at a model before a long run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from jobs.console import console, number

if TYPE_CHECKING:
    from model import ModernBertConfig
    from model.check import Pattern, Timing, Unpadding
    from trainer.config import TrainingConfig

app = typer.Typer(help="Look at a model before a long run.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at a model before a long run."""


@app.command()
def check(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe, whose model is checked; without one, --size.")] = None,
    size: Annotated[str, typer.Option(help="base or large, without a recipe.")] = "base",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; default: a GPU if there is one.")] = "",
    attention: Annotated[str, typer.Option(help="The attention kernel; default: the recipe's, or auto, the fastest that can run.")] = "",
    precision: Annotated[
        str, typer.Option(help="float32 or bfloat16; default: the recipe's, or bfloat16 on a GPU and float32 on a CPU.")
    ] = "",
    length: Annotated[int, typer.Option(min=1, help="Tokens of the longest segment.")] = 512,
    batches: Annotated[str, typer.Option(help="Batch sizes to time, in segments.")] = "1,2,4,8",
    repeats: Annotated[int, typer.Option(min=1, help="Timed steps of each; the median counts.")] = 3,
) -> None:
    """The masks of the alternating pattern, what unpadding is worth, and throughput over batch sizes."""
    begin = time.perf_counter()
    import torch

    from model import ModelError, ModernBertForMaskedLM
    from model.attention import choose
    from model.check import out_of_memory, patterns, throughput, unpadding
    from model.cpu import prepare_process
    from model.flops import parameters
    from trainer.config import Precision

    config, settings = _wanted(recipe, size)
    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        counts = [int(count) for count in batches.split(",")]
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"--device {device!r} or --batches {batches!r}: {str(error).splitlines()[0]}") from error
    if min(counts) < 1:
        raise ModelError(f"--batches {batches!r}: batch sizes must be at least 1")
    if where.type not in ("cpu", "cuda"):
        raise ModelError(f"--device {device}: give cpu, cuda or cuda:N")
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"--device {device}: no GPU that torch can use here; try --device cpu")
    if where.type == "cuda" and (where.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"--device {device}: the last GPU here is cuda:{torch.cuda.device_count() - 1}")
    if length > config.max_length:
        raise ModelError(f"--length {length}: longer than model.max_length {config.max_length}")
    if where.type == "cpu":
        prepare_process()
    attention = attention or (settings.attention if settings else "auto")
    precision = precision or (settings.precision if settings else "bfloat16" if where.type == "cuda" else "float32")
    if precision not in (names := get_args(Precision)):
        raise ModelError(f"--precision {precision}: there are {', '.join(names)}")
    dtype: torch.dtype = getattr(torch, precision)
    kernel = choose(attention, where, dtype, config.head_size)
    console.print(
        f"{config.layers} layers of {config.hidden_size}, {config.heads} heads, {parameters(config) / 1e6:.1f} M parameters; "
        f"{precision}, kernel {kernel} on {torch.cuda.get_device_name(where) if where.type == 'cuda' else where}"
    )
    try:
        found = patterns(config, where, attention=attention, dtype=dtype)
        _show_patterns(found)
        if not all(pattern.right for pattern in found):
            raise ModelError(f"kernel {kernel} does not see the keys it should; choose another with --attention and report this")
        model = ModernBertForMaskedLM(config, attention=attention).to(where).train()
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise ModelError(f"the model does not fit into the memory of {where}; free some, or check a smaller one") from error
    _show_throughput(throughput(model, length, counts, repeats=repeats, dtype=dtype), length, counts, tells_memory=where.type == "cuda")
    most = max(2, *counts)  # last, since a system that ends a process for its memory ends it here
    _show_unpadding(unpadding(model, length, most, repeats=repeats, dtype=dtype), length, most)
    console.print(f"\nchecked in {time.perf_counter() - begin:.0f} s")


def _show_patterns(found: list[Pattern]) -> None:
    """Each kind of layer in a line or two, then the masks beside one another."""
    console.print(f"\nWhich keys (across) each query (down) sees, read off the kernel; segments of {_listed(found[0].lengths)} tokens")
    for pattern in found:
        kind = "global" if pattern.window is None else f"local, {pattern.window // 2} tokens to each side"
        console.print(f"  {kind}: layers {_listed(pattern.layers)}", soft_wrap=True)
        console.print(f"    {pattern.seen:,} pairs seen, {'as promised' if pattern.right else 'NOT as promised'}")
    console.print()
    names = ["global" if pattern.window is None else "local" for pattern in found]
    width = len(found[0].drawn[0])
    for line in zip(*([name.ljust(width), *pattern.drawn] for name, pattern in zip(names, found, strict=True)), strict=True):
        console.print(f"  {'   '.join(line).rstrip()}", markup=False)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _show_unpadding(found: Unpadding | None, length: int, count: int) -> None:
    if found is None:
        console.print(f"\nUnpadding: {count} segments of up to {length} tokens do not fit into memory; try a smaller --length or --batches")
        return
    without, padded = (f"{timing.tokens_per_second:,.0f}" for timing in (found.without, found.padded))
    console.print(
        f"\nUnpadding: a training step over {count} segments of {min(found.without.lengths)} to {length} tokens\n"
        f"  without padding              {without:>10} real tokens/s\n"
        f"  {f'filled up, {found.padding:.0%} padding':<27}  {padded:>10} real tokens/s\n"
        f"  worth                        {found.worth:>10.2f} times the real tokens/s"
    )


def _show_throughput(found: Iterable[Timing | None], length: int, counts: list[int], *, tells_memory: bool) -> None:
    """A line for each batch size, as soon as it is timed."""
    memory = "   peak memory" if tells_memory else ""
    console.print(f"\nA training step over segments of {length} tokens, all real")
    console.print(f"  segments      tokens   seconds    tokens/s    FLOP/s{memory}")
    for count, timing in zip(counts, found, strict=True):
        line = f"  {count:>8}  {count * length:>10,}"
        if timing is None:
            console.print(f"{line}   out of memory")
            continue
        peak = f"  {f'{timing.peak_bytes / 1e9:.2f} GB':>12}" if timing.peak_bytes is not None else ""
        speed = f"{timing.tokens_per_second:>10,.0f}  {number(timing.flops_per_second):>8}"
        console.print(f"{line}  {timing.seconds:>8.3f}  {speed}{peak}")


def _wanted(recipe: Path | None, size: str) -> tuple[ModernBertConfig, TrainingConfig | None]:
    """The model to look at, and how its recipe trains it where one is given."""
    from model import ModelError
    from model import ModernBertConfig as Config

    if recipe is not None:
        from jobs.packaged import find_recipe
        from jobs.recipe import load_recipe

        read = load_recipe(find_recipe(recipe), None)
        config = read.model
        if not isinstance(config, Config):
            raise ModelError(f"{recipe}: model.architecture is {config.architecture}; `model check` looks at ModernBERT alone")
        return config, read.training
    sizes = {"base": Config.base, "large": Config.large}
    if size not in sizes:
        raise ModelError(f"--size {size}: there are {', '.join(sizes)}; or give a recipe")
    return sizes[size](), None
