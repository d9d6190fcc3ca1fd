"""ModernBERT on a GPU: equality with transformers, tokens/s, FLOP utilisation and peak memory of a packed training step.

    python -m benchmarks.gpu [--quick] [--size base|large] [--no-compile] [--minutes 8] [--profile FILE] [--out FILE]

Needs torch, numpy, transformers and our `model/` alone. For every attention kernel that is there, at base and large size, at
1024 and 8192 tokens, layers compiled; transformers with its best backend that is there (flash-attn 2, else sdpa) beside it on the
same weights and rows, as it comes: not compiled, and without the dropout that ours has. The reference trained at 312 k (base) and
142 k (large) tokens/s on one H100 at 1024 (from the hours in arXiv 2412.13663).

With sdpa transformers pads each segment to the longest, which may not fit into memory and is not its best. So it gets the same
segments sorted by length, in micro-batches, gradients accumulated: halved until they fit, and on for as long as that makes it
faster, since then it pads less. The row's name says how many there are. Utilisation counts the work on real tokens: ours and theirs
have the same to do.

The fastest kernel comes first, at 1024, where there are goals; then transformers there; then both at 8192; then the other kernels.
The file is written anew after each figure, so that a run that is killed keeps what it measured. A kernel is measured only if it
equals transformers; one that raises, or does not fit, or has no time left, is said and left out. Ends with 1 if a kernel does not
equal transformers or none could be measured.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.results_file import RESULTS, Peer, Row, show, versions, write
from model import ModernBertConfig, ModernBertForMaskedLM, flops
from model.attention import available
from model.bridge import to_transformers_config
from model.check import out_of_memory
from model.flops import encoder_flops, training_flops
from model.modernbert import compile_layers

# Utilisation promised on one H100 at 1024 tokens.
GOALS = {"base 1024": 0.40, "large 1024": 0.50}
# Largest relative error of logits: bf16 has 8 bits, and every layer rounds; on a CPU all is float32.
TOLERANCES = {"cuda": 2e-2, "cpu": 1e-4}
MODES = ("training", "inference")
PACKAGES = ("torch", "transformers", "numpy", "flash-attn", "triton")
TINY = ModernBertConfig(vocab_size=512, hidden_size=64, layers=3, heads=2, intermediate_size=96, window=16, max_length=256)


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def in_a_line(error: BaseException) -> str:
    """An error's type and first line."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def packed_rows(rows: int, length: int, seed: int) -> list[list[int]]:
    """Segment lengths of packed rows: heavy-tailed documents, cut to fill each row to its last token."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(rows):
        left, segments = length, []
        while left:
            size = min(left, max(16, int(torch.exp(torch.randn((), generator=generator) * 1.1 + 5.5))))
            segments.append(left if left - size < 16 else size)
            left -= segments[-1]
        found.append(segments)
    return found


def make_batch(config: ModernBertConfig, lengths: list[int], device: torch.device) -> dict[str, Any]:
    """Random ids with 30 % of them to predict."""
    generator = torch.Generator().manual_seed(0)
    tokens = sum(lengths)
    ids = torch.randint(0, config.vocab_size, (tokens,), generator=generator)
    positions = torch.randperm(tokens, generator=generator)[: int(0.3 * tokens)].sort().values
    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    return {
        "input_ids": ids.to(device),
        "cu_seqlens": edges.to(device),
        "max_seqlen": max(lengths),
        "positions": positions.to(device),
        "labels": ids[positions].to(device),
    }


def padded_batch(batch: dict[str, Any], segments: list[int]) -> dict[str, torch.Tensor]:
    """The same batch as transformers wants it: a row a segment, padded to the longest."""
    longest, device = max(segments), batch["input_ids"].device
    ids = torch.zeros(len(segments), longest, dtype=torch.int64, device=device)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    flat = torch.full((sum(segments),), -100, dtype=torch.int64, device=device)
    flat[batch["positions"]] = batch["labels"]
    at = 0
    for row, size in enumerate(segments):
        ids[row, :size], mask[row, :size], labels[row, :size] = batch["input_ids"][at : at + size], 1, flat[at : at + size]
        at += size
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(step: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of a step after two to warm up."""
    times = []
    for number in range(repeats + 2):
        synchronize(device)
        begin = time.perf_counter()
        step()
        synchronize(device)
        if number >= 2:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def free(device: torch.device) -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    if device.type == "cuda":
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:  # a kernel's fault can break the device for good; what was measured is still to be told
            say(f"{device}: {in_a_line(error)}")


def bf16_peak(device: torch.device) -> float | None:
    """FLOP/s that the device promises; None where it is not known."""
    return flops.bf16_peak(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


def best_backend(device: torch.device) -> str:
    """The fastest attention that transformers can run here."""
    if device.type == "cuda" and find_spec("flash_attn") is not None:
        return "flash_attention_2"
    return "sdpa"


def transformers_twin(model: ModernBertForMaskedLM, device: torch.device, backend: str = "sdpa") -> Any:
    """transformers' model of the same weights, predicting masked positions alone."""
    from transformers import ModernBertConfig as TheirConfig
    from transformers import ModernBertForMaskedLM as TheirModel

    body = {name: value for name, value in to_transformers_config(model.config).items() if name not in ("architectures", "model_type")}
    config = TheirConfig(**{**body, "pad_token_id": 0, "sparse_prediction": True})
    config._attn_implementation = backend
    with device:  # where its first weights are drawn, which takes seconds on a CPU
        theirs = TheirModel(config)
    theirs.load_state_dict(model.state_dict(), strict=False)
    theirs.tie_weights()
    return theirs.to(device)


def check_equality(kernel: str, device: torch.device) -> float:
    """Largest relative error of our bf16 logits against transformers' in float32, on ragged segments; infinite where one is not finite."""
    torch.manual_seed(0)
    config = replace(TINY, hidden_size=256, heads=4, window=128, max_length=1024, vocab_size=1024)
    model = ModernBertForMaskedLM(config, attention=kernel).to(device).eval()
    theirs = transformers_twin(model, device).eval()
    lengths = [1, 129, 700, 64, 333]
    batch = make_batch(config, lengths, device)
    half = device.type == "cuda"
    worst = 0.0
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        logits = model(batch["input_ids"], batch["cu_seqlens"], batch["max_seqlen"]).logits.float().split(lengths)
    with torch.no_grad():
        for ids, ours in zip(batch["input_ids"].split(lengths), logits, strict=True):
            other = theirs(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]).logits[0]
            error = float((ours - other).norm() / other.norm())
            worst = max(worst, error if math.isfinite(error) else math.inf)  # max() would pass over NaN
    return worst


def training_step(model: torch.nn.Module, losses: Sequence[Callable[[], torch.Tensor]], device: torch.device) -> Callable[[], torch.Tensor]:
    """Forward and backward of every micro-batch under bf16 autocast, gradients accumulated; returns the sum of the losses."""

    def step() -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        for run in losses:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = run()
            loss.backward()
            total += loss.detach()
        return total

    return step


@dataclass(frozen=True)
class Work:
    """One size and length: packed segments, 30 % of whose tokens are predicted."""

    size: str
    config: ModernBertConfig
    length: int
    segments: tuple[int, ...]

    @classmethod
    def of(cls, size: str, config: ModernBertConfig, length: int, tokens: int) -> Work:
        rows = packed_rows(max(1, tokens // length), length, seed=0)
        return cls(size, config, length, tuple(size for row in rows for size in row))

    @property
    def name(self) -> str:
        return f"{self.size} {self.length}"

    @property
    def tokens(self) -> int:
        return sum(self.segments)

    def flops(self, mode: str) -> int:
        """Operations on real tokens; inference is the encoder alone."""
        if mode == "inference":
            return encoder_flops(self.config, self.segments)
        return training_flops(self.config, self.segments, int(0.3 * self.tokens))


@dataclass(frozen=True)
class Figure:
    """What was measured of one model at one work: median seconds, and peak memory where the device tells."""

    seconds: float
    gigabytes: float | None
    micro_batches: int = 1


Figures = Generator[Figure, None, None]  # one a mode


@dataclass
class Results:
    """All that was measured, and its file, which is written after each figure; `peer` is the one whose figures stand beside ours."""

    path: Path
    device: torch.device
    peer: str
    errors: dict[str, float] = field(default_factory=dict)
    figures: dict[tuple[Work, str], dict[str, Figure]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.peak = bf16_peak(self.device)
        self.gpu = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None
        self.tolerance = TOLERANCES[self.device.type]

    def add_error(self, kernel: str, error: float) -> bool:
        """Keep a kernel's error against transformers; whether it is small enough."""
        self.errors[kernel] = error
        self.save()
        return error <= self.tolerance

    def add(self, work: Work, who: str, mode: str, figure: Figure) -> None:
        self.figures.setdefault((work, who), {})[mode] = figure
        self.save()
        print(f"{self.label(work, who, figure)}: {mode} {work.tokens / figure.seconds:,.0f} tokens/s", flush=True)

    def save(self) -> None:
        """All in one step: who kills the run finds the file before or after it."""
        part = self.path.with_name(self.path.name + ".part")
        write("gpu", self.rows(), PACKAGES, gpu=self.gpu, path=part)
        os.replace(part, self.path)

    def label(self, work: Work, who: str, figure: Figure) -> str:
        return f"{work.name} {self.named(who, figure)}"

    def named(self, who: str, figure: Figure) -> str:
        return who if figure.micro_batches == 1 else f"{who} in {figure.micro_batches} micro-batches"

    def rows(self) -> list[Row]:
        """Errors first, then the works in the order in which they were begun."""
        found = [
            # JSON has no infinity
            Row(f"error against transformers: {kernel}", "relative", min(error, 1e9), None, self.tolerance, at_most=True)
            for kernel, error in self.errors.items()
        ]
        for work in dict.fromkeys(work for work, _ in self.figures):
            kernels = [who for other, who in self.figures if other == work]
            first = next((who for who in kernels if who != self.peer), None)
            for who in kernels:
                for mode, figure in self.figures[work, who].items():
                    found += self._rows(work, who, mode, figure, GOALS.get(work.name) if who == first and mode == "training" else None)
        return found

    def _rows(self, work: Work, who: str, mode: str, figure: Figure, goal: float | None) -> Iterator[Row]:
        theirs = self.figures.get((work, self.peer), {}).get(mode) if who != self.peer else None

        def peer(value: float | None) -> Peer | None:
            if theirs is None or value is None:
                return None
            return Peer(self.named(self.peer, theirs), versions("transformers")["transformers"], value)

        label, more = self.label(work, who, figure), "" if mode == "training" else f"{mode} "
        yield Row(f"{label}: {mode}", "tokens/s", work.tokens / figure.seconds, peer(work.tokens / theirs.seconds if theirs else None))
        if self.peak:
            share = work.flops(mode) / self.peak
            # A goal is of the share itself, and a row with a peer would be judged by the ratio: theirs is in its own row.
            beside = None if goal is not None else peer(share / theirs.seconds if theirs else None)
            yield Row(f"{label}: {more}utilisation", "share of bf16 peak", share / figure.seconds, beside, goal)
        if figure.gigabytes is not None:
            yield Row(f"{label}: {more}peak memory", "GB", figure.gigabytes, peer(theirs.gigabytes if theirs else None), at_most=True)


def timed(step: Callable[[], object], device: torch.device, repeats: int) -> Figure:
    """Median seconds and peak memory of a step, after the first, which compiles."""
    step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = median_seconds(step, device, repeats)
    return Figure(seconds, torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None)


def fresh(work: Work, kernel: str, device: torch.device) -> ModernBertForMaskedLM:
    """A model in training, of the same weights each time."""
    torch.manual_seed(0)
    with device:
        return ModernBertForMaskedLM(work.config, attention=kernel).train()


def ours(work: Work, kernel: str, device: torch.device, repeats: int, compiled: bool, profile: Path | None) -> Figures:
    """Training, then inference, of one kernel; in between, training's profile."""
    batch = make_batch(work.config, list(work.segments), device)
    model = fresh(work, kernel, device)
    if compiled and kernel != "matmul":  # whose inside is not compiled anyway
        torch._dynamo.reset()  # the graphs of the kernel before
        compile_layers(model.model.layers)

    def loss() -> torch.Tensor:
        found: torch.Tensor = model(**batch).loss / len(batch["labels"])
        return found

    @torch.no_grad()
    def infer() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            model.model(batch["input_ids"], batch["cu_seqlens"], batch["max_seqlen"])

    step = training_step(model, [loss], device)
    figure = timed(step, device, repeats)
    yield figure
    if profile is not None:
        try:
            profile.write_text(profiled(f"{work.name} {kernel}", step, figure.seconds, device), encoding="utf-8")
            print(f"written: {profile}", flush=True)
        except Exception as error:
            say(f"{profile}: no profile, {in_a_line(error)}")
    model.zero_grad(set_to_none=True)
    model.eval()
    yield timed(infer, device, repeats)


def profiled(label: str, step: Callable[[], object], seconds: float, device: torch.device, most: int = 25) -> str:
    """The `most` kernels of one step that take the device longest, as a table; on a CPU, operators."""
    from torch.profiler import ProfilerActivity, profile

    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as found:
        step()
        synchronize(device)
    events = [
        (event.self_device_time_total if cuda else event.self_cpu_time_total, event.count, event.key)
        for event in found.key_averages()
        # Operators repeat their kernels' time, and so do annotations, which span kernels.
        if not cuda or (event.device_type.name == "CUDA" and not getattr(event, "is_user_annotation", False))
    ]
    events.sort(reverse=True)
    total = sum(microseconds for microseconds, _, _ in events)
    lines = [
        f"{label}: a training step takes {seconds * 1e3:.2f} ms, without the profiler; kernels {total / 1e3:.2f} ms in all, under it",
        f"{'ms':>10}  {'share':>6}  {'calls':>6}  kernel",
        *(f"{time / 1e3:>10.3f}  {time / max(total, 1e-9):>6.1%}  {count:>6}  {key[:160]}" for time, count, key in events[:most]),
    ]
    return "\n".join(lines) + "\n"


def split(segments: Sequence[int], most: int, *, padded: bool) -> list[list[int]]:
    """Places of segments, longest first, in parts of at most `most` tokens each (or of one segment); `padded`: with padding counted."""
    parts: list[list[int]] = [[]]
    for place in sorted(range(len(segments)), key=segments.__getitem__, reverse=True):
        part = [*parts[-1], place]
        cost = len(part) * segments[part[0]] if padded else sum(segments[each] for each in part)
        if parts[-1] and cost > most:
            parts.append([place])
        else:
            parts[-1].append(place)
    return parts


def their_batches(batch: dict[str, Any], segments: Sequence[int], most: int, backend: str) -> list[dict[str, torch.Tensor]]:
    """A batch as transformers wants it, in micro-batches of at most `most` tokens.

    For sdpa each is padded to its longest segment; for flash-attn it is one row, whose restarting positions tell the segments.
    """
    whole = padded_batch(batch, list(segments))
    found = []
    for part in split(segments, most, padded=backend == "sdpa"):
        given = {name: value[part, : segments[part[0]]] for name, value in whole.items()}
        if backend != "sdpa":
            real = given.pop("attention_mask").bool()
            given["position_ids"] = torch.arange(real.shape[1], device=real.device).expand_as(real)
            given = {name: value[real][None] for name, value in given.items()}
        found.append(given)
    return found


def their_losses(model: Any, parts: list[dict[str, torch.Tensor]]) -> list[Callable[[], torch.Tensor]]:
    """Each micro-batch's share of the loss, whose sum is the mean over all predicted tokens."""
    counts = [int((part["labels"] != -100).sum()) for part in parts]

    def loss_of(part: dict[str, torch.Tensor], share: float) -> Callable[[], torch.Tensor]:
        return lambda: model(**part).loss * share

    # A part without labels has no gradients, and transformers' mean over none is NaN.
    return [loss_of(part, count / sum(counts)) for part, count in zip(parts, counts, strict=True) if count]


def theirs(work: Work, device: torch.device, repeats: int) -> Figures:
    """Training, then inference, of transformers on the same segments, in the micro-batches that suit it best.

    Raises: `RuntimeError` where not even one segment at a time fits.
    """
    backend = best_backend(device)
    batch = make_batch(work.config, list(work.segments), device)
    model = transformers_twin(fresh(work, "auto", device), device, backend)
    for mode in MODES:
        model.zero_grad(set_to_none=True)
        model.train(mode == "training")
        parts = _best_parts(model, batch, work.segments, mode, backend, device)
        yield replace(timed(_their_step(model, parts, mode, device), device, repeats), micro_batches=len(parts))


def _best_parts(
    model: Any, batch: dict[str, Any], segments: Sequence[int], mode: str, backend: str, device: torch.device
) -> list[dict[str, torch.Tensor]]:
    """Micro-batches, from a single one on, halved until they fit and then as long as a step gets faster."""
    best, least = None, math.inf
    most = len(segments) * max(segments) if backend == "sdpa" else sum(segments)
    while True:
        parts = their_batches(batch, segments, most, backend)
        seconds = _seconds_if_it_fits(_their_step(model, parts, mode, device), device)
        if seconds is not None:
            if seconds >= least:
                break
            best, least = parts, seconds
        if len(parts) == len(segments):
            break
        most //= 2
    if best is None:
        raise RuntimeError(f"{mode}: out of memory, one segment at a time")
    return best


def _their_step(model: Any, parts: list[dict[str, torch.Tensor]], mode: str, device: torch.device) -> Callable[[], object]:
    if mode == "training":
        return training_step(model, their_losses(model, parts), device)

    @torch.no_grad()
    def infer() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            for part in parts:
                model.model(**{name: value for name, value in part.items() if name != "labels"})

    return infer


def _seconds_if_it_fits(step: Callable[[], object], device: torch.device) -> float | None:
    """Time of one step after one to warm up; None where memory does not suffice."""
    try:
        step()
        synchronize(device)
        begin = time.perf_counter()
        step()
        synchronize(device)
        return time.perf_counter() - begin
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    free(device)  # past the error, which held the step's tensors
    return None


def equal(kernel: str, results: Results) -> bool:
    """Whether a kernel may be measured: it runs, and equals transformers. Else it is said."""
    try:
        found = check_equality(kernel, results.device)
    except Exception as error:
        say(f"{kernel}: left out, equality with transformers could not be checked, {in_a_line(error)}")
        return False
    finally:
        free(results.device)
    if not results.add_error(kernel, found):
        say(f"{kernel}: NOT EQUAL to transformers, relative error {found:.3g}, at most {results.tolerance:g} allowed; not measured")
        return False
    return True


def collect(work: Work, who: str, figures: Figures, results: Results, until: float) -> None:
    """Take figures, one a mode, as long as there is time; what fails is said and left out."""
    try:
        for mode in MODES:
            if time.perf_counter() > until:
                say(f"{work.name} {who}: {mode} left out, no time")
                return
            results.add(work, who, mode, next(figures))
    except Exception as error:
        say(f"{work.name} {who}: left out, {in_a_line(error)}")
    finally:
        figures.close()
        free(results.device)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1024 tokens alone, few repeats; base alone, unless --size")
    parser.add_argument("--size", choices=["base", "large"], help="one size alone")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a dry run of a tiny model")
    parser.add_argument("--no-compile", action="store_true", help="layers as they are, uncompiled")
    parser.add_argument("--minutes", type=float, default=8.0, help="what would begin later than 0.9 of this is left out")
    parser.add_argument("--profile", type=Path, help="where to write the longest kernels of the first size's training step, as text")
    parser.add_argument("--out", type=Path, help="where to write the JSON (default: benchmarks/results/gpu.json)")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type not in TOLERANCES:
        parser.error(f"--device {options.device}: give cuda or cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu: no GPU that torch can use here; `--device cpu --quick` tries the code with a tiny model", file=sys.stderr)
        return 2
    until = time.perf_counter() + 60 * options.minutes * 0.9
    results = Results(options.out or RESULTS / "gpu.json", device, f"transformers {best_backend(device)}")
    if results.peak is None:
        say(f"{results.gpu or device}: bf16 peak not known, utilisation left out")
    repeats = 3 if options.quick else 5
    near, far = works(device, options.size, options.quick)

    def measure_ours(some: list[Work], kernel: str, profile: Path | None = None) -> None:
        for number, work in enumerate(some):
            wanted = profile if number == 0 else None
            figures = ours(work, kernel, device, repeats, not options.no_compile and device.type == "cuda", wanted)
            collect(work, kernel, figures, results, until)

    def measure_theirs(some: list[Work]) -> None:
        for work in some:
            collect(work, results.peer, theirs(work, device, repeats), results, until)

    kernels = iter(available(device))
    fastest = next((kernel for kernel in kernels if equal(kernel, results)), None)
    if fastest is not None:
        measure_ours(near, fastest, options.profile)
        measure_theirs(near)
        measure_ours(far, fastest)
        measure_theirs(far)
    for kernel in kernels:
        if time.perf_counter() > until:
            say(f"{kernel}: left out, no time")
        elif equal(kernel, results):
            measure_ours([*near, *far], kernel)
    if rows := results.rows():  # else an earlier file stays
        show(rows)
        print(f"written: {results.path}", flush=True)
    wrong = [kernel for kernel, error in results.errors.items() if not error <= results.tolerance]
    if wrong:
        say(f"benchmarks.gpu: NOT EQUAL to transformers: {', '.join(wrong)}")
    if not any(who != results.peer for _, who in results.figures):
        say("benchmarks.gpu: no kernel could be measured")
        return 1
    return 1 if wrong else 0


def works(device: torch.device, size: str | None, quick: bool) -> tuple[list[Work], list[Work]]:
    """What is measured: at 1024 tokens, and at 8192."""
    if device.type == "cpu":
        return [Work.of("tiny", TINY, 256, 1024)], []
    configs = {"base": (ModernBertConfig.base(), 65_536), "large": (ModernBertConfig.large(), 32_768)}
    sizes = [size] if size else ["base"] if quick else list(configs)
    near, far = ([Work.of(name, configs[name][0], length, configs[name][1]) for name in sizes] for length in (1024, 8192))
    return near, [] if quick else far


if __name__ == "__main__":
    sys.exit(main())
