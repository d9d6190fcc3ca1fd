"""`foundry model`: look at a model before a long run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.console import console

if TYPE_CHECKING:
    from model import ModernBertConfig

app = typer.Typer(help="Look at a model before a long run.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at a model before a long run."""


@app.command()
def check(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe, whose model is checked; without one, --size.")] = None,
    size: Annotated[str, typer.Option(help="base or large, without a recipe.")] = "base",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; default: a GPU if there is one.")] = "",
    attention: Annotated[str, typer.Option(help="The attention kernel; auto: the fastest that can run.")] = "auto",
    length: Annotated[int, typer.Option(min=1, help="Tokens of the longest segment.")] = 512,
    batches: Annotated[str, typer.Option(help="Batch sizes to time, in segments.")] = "1,2,4,8",
    repeats: Annotated[int, typer.Option(min=1, help="Timed steps of each; the median counts.")] = 3,
) -> None:
    """The masks of the alternating pattern, what unpadding is worth, and throughput over batch sizes."""
    import torch

    from model import ModelError, ModernBertForMaskedLM
    from model.attention import choose
    from model.check import patterns, throughput, unpadding
    from model.cpu import prepare_process
    from model.flops import parameters

    config = _config(recipe, size)
    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        counts = [int(count) for count in batches.split(",")]
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"--device {device!r} or --batches {batches!r}: {str(error).splitlines()[0]}") from error
    if min(counts) < 1:
        raise ModelError(f"--batches {batches!r}: batch sizes must be at least 1")
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"--device {device}: no GPU that torch can use here; try --device cpu")
    if length > config.max_length:
        raise ModelError(f"--length {length}: longer than model.max_length {config.max_length}")
    if where.type == "cpu":
        prepare_process()
    kernel = choose(attention, where, torch.bfloat16 if where.type == "cuda" else torch.float32)
    console.print(
        f"{config.layers} layers of {config.hidden_size}, {config.heads} heads, {parameters(config) / 1e6:.1f} M parameters; "
        f"kernel {kernel} on {torch.cuda.get_device_name(where) if where.type == 'cuda' else where}"
    )
    wrong = False
    for pattern in patterns(config, where, attention=attention):
        kind = "global" if pattern.window is None else f"local, {pattern.window // 2} tokens to each side"
        verdict = "as promised" if pattern.right else "NOT as promised"
        wrong |= not pattern.right
        console.print(f"\n{kind}: layers {', '.join(map(str, pattern.layers))}")
        console.print(f"  segments of {', '.join(map(str, pattern.lengths))} tokens: {pattern.seen:,} pairs seen, {verdict}")
        for line in pattern.drawn:
            console.print(f"  {line}", markup=False, highlight=False)
    if wrong:
        raise ModelError(f"kernel {kernel} does not see the keys it should; choose another with --attention and report this")

    model = ModernBertForMaskedLM(config, attention=attention).to(where).train()
    found = unpadding(model, length, max(2, max(counts)), repeats=repeats)
    console.print(
        f"\nunpadding: {len(found.without.lengths)} segments of {min(found.without.lengths)} to {length} tokens, "
        f"{found.padding:.0%} padding if padded: {found.without.tokens_per_second:,.0f} real tokens/s without, "
        f"{found.padded.tokens_per_second:,.0f} with padding; worth {found.worth:.2f} times"
    )
    console.print(f"\ntraining step, segments of {length} tokens\n  segments    tokens/s   GFLOP/s   peak memory")
    for count, timing in zip(counts, throughput(model, length, counts, repeats=repeats), strict=True):
        if timing is None:
            console.print(f"  {count:>8}   out of memory")
            continue
        memory = f"{timing.peak_bytes / 1e9:.2f} GB" if timing.peak_bytes is not None else "not told by a CPU"
        console.print(
            f"  {count:>8}  {timing.tokens_per_second:>10,.0f}  {timing.flops_per_second / 1e9:>8,.0f}   {memory}", highlight=False
        )


def _config(recipe: Path | None, size: str) -> ModernBertConfig:
    from model import ModelError
    from model import ModernBertConfig as Config

    if recipe is not None:
        from jobs.recipe import load_recipe

        config = load_recipe(recipe, None).model
        if not isinstance(config, Config):
            raise ModelError(f"{recipe}: model.architecture is {config.architecture}; `model check` looks at ModernBERT alone")
        return config
    sizes = {"base": Config.base, "large": Config.large}
    if size not in sizes:
        raise ModelError(f"--size {size}: there are {', '.join(sizes)}; or give a recipe")
    return sizes[size]()
