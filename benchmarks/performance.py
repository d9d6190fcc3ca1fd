"""`docs/performance.md`, from the committed results: `python -m benchmarks.performance`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.results_file import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

# The benchmarks, in the order of the page: what each is about, in words.
ABOUT = {
    "filters": (
        "Filters",
        "English pages of the demo corpus (crawled pages, and documentation full of code), on one core. Ours measures everything that the "
        "rules of Gopher (quality, repetition), C4 and FineWeb look at in one pass, then decides; datatrove's four filters each see the "
        "document as it is. Decisions are compared for equal rules and limits, on pages and on articles of English Wikipedia, repaired as "
        "ingest repairs them; docs/filters.md lists what differs. Languages: fastText's own code with the same model.",
        None,
        None,
    ),
    "reading": (
        "What readers lose",
        "53 papers as JATS (PLOS, samples of PubMed Central) beside a plain walk of the same XML. Glued: words of the document that the "
        "source has as two. Absent: letters of text nodes that the document has nowhere; formulas are not counted. What is left out on "
        "purpose are references, acknowledgements, metadata and other abstracts.",
        None,
        None,
    ),
    "whatif": (
        "What other limits would keep",
        "English Wikipedia, its statistics and verdicts repeated until they are of a million documents; `foundry whatif` with the rules "
        "of Gopher (quality, repetition), C4 and FineWeb, of which C4's look at lines. Processor time of all threads. No peer "
        "keeps what its rules look at: each has to read and measure the text again.",
        None,
        None,
    ),
    "warc": (
        "Web archives",
        "250 real crawled pages in many languages, as gzip members of a WARC. The bare loop beside ours iterates FastWARC, finds the "
        "charset and calls resiliparse's extraction: no limits, no resynchronisation, no titles, and lists near the top of a page are "
        "lost. The two take turns. Two workers are measured through Ray, started and warm, from archives to documents and their "
        "statistics. Articles: 60 news pages with their text, scored as the benchmark of their makers does.",
        None,
        None,
    ),
    "dedup": (
        "Near deduplication",
        "Real documents (English Wikipedia, 29,000 articles) and corpora planted from them: 60 % originals, 36 % copies of which 0, "
        "1, 5, 10, 20 or 40 % of the words are exchanged, 4 % strangers that share boilerplate. 5-grams of words, 14 bands of 8, "
        "threshold 0.75, every pair verified. A whole run goes from `documents/` to `verdicts/near`, Ray's start included, on two "
        "workers; the peers' runs from JSON Lines to the documents that stay, with two processes. datatrove and text-dedup do not "
        "verify pairs. A peer that runs for minutes was run once.",
        "dedup-quality.svg",
        "Left: the share of planted pairs that become candidates, against the LSH curve. Right: how similar what is dropped is to "
        "the copy that stays, with and without verification.",
    ),
    "copies": (
        "Copies that are written otherwise",
        "Documents of 300 words of each language, drawn from texts of our own, and copies in which words are replaced, at the same places "
        "in all languages. The goal is English's figure less 2 points. Items of evaluation sets: in decomposed characters, "
        "with entities, mojibake, soft hyphens, zero-width spaces, contacts, ligatures, letters of full width, in capitals and with other "
        "marks.",
        None,
        None,
    ),
    "licences": (
        "Licences of source files and packages",
        "Real files whose heads speak of licences, and packages with their licence and metadata files, from PyPI, npm and Debian, "
        "drawn by the hash of their names, beside ScanCode's detections of the same files. An answer is right where both name the same "
        "licences; ScanCode reads whole files, ours their heads. The results' file has every answer, and why one permits more.",
        None,
        None,
    ),
    "packing": (
        "Packing",
        "Documents of the demo corpus (web, papers and code) and of English Wikipedia, which has few short texts. Beside ours, the "
        "on-line packer of ModernBERT's training, restated: a buffer of five sequences for each row of a micro-batch, each into the "
        "fullest row that has room; filled up again until nothing fits. Documents to shards: reading, tokenising, packing, checksums "
        "and writing, on one core.",
        None,
        None,
    ),
    "loader": (
        "Loading",
        "Packed rows of the demo corpus, memory-mapped and warm, read in a shuffled order by one process and laid end to end as a "
        "micro-batch of int64 ids; every row is checked against its checksum. The peers hold the same rows in their own formats and "
        "collate to the same. The fairness of the order is in standard deviations of a fair one.",
        None,
        None,
    ),
    "tokenizer": (
        "Tokenizer",
        "Code, abstracts, articles, the demo corpus and the sources of installed packages; past those, the same again with one word in "
        "twenty changed, so that there are ever more different ones. Training goes from `documents/` to the tokenizer folder, Ray's start "
        "and the proof of the fast engine included; the peer reads the same texts and trains in one process of as many threads. "
        "Encoding is from Arrow strings to ids, on one core each; every document's ids are compared.",
        None,
        None,
    ),
    "scheduling": (
        "Scheduling, simulated",
        "The pipeline's own schedule over the tasks of one stage, with a Ray that pretends: the clock, the nodes and the tasks are the "
        "simulation's, the driver's code, CPU and memory are real. Tasks take log-normal times, one in a thousand twenty times as long; a "
        "node that is lost is back after five minutes, and what ran on it is done again.",
        None,
        None,
    ),
    "contamination": (
        "Contamination",
        "Documents of English Wikipedia, every fiftieth with a planted evaluation item, searched for 13-grams.",
        None,
        None,
    ),
    "equality": (
        "Model: equality",
        "Random weights, float32, ragged segments from 1 token up; transformers' sdpa beside ours. A gradient's difference is that "
        "of the parameter with the largest, relative to its norm.",
        None,
        None,
    ),
    "model": (
        "The model on a CPU",
        "A training step (forward, loss, backward) with two threads, vocabulary 50,368, 30 % of the tokens to predict: in "
        "float32, which the goals are for, and by autocast to bfloat16. Same "
        "weights and same ragged batch for ours and for transformers, which pads it and runs at its best there: sdpa, "
        "`sparse_prediction=True`, denormals flushed. Small: 6 layers of 384; base: 22 of 768. Memory is what a step adds to that of "
        "its process. The share is of this machine's own rate for a product of two 2048 x 2048 matrices of that precision, taken beside "
        "every step.",
        None,
        None,
    ),
    "trainer": (
        "Training on a CPU",
        "A model of 6 layers of 384, rows of 1024 tokens, float32, StableAdamW. The bare step is forward, backward and the optimizer over "
        "the same micro-batches in a plain loop; ours has the loader, the control word, the guard, metrics every 10 steps and checkpoints "
        "every 10. DDP is torch's own, in two processes of one thread, with the same optimizer. The checkpoint is that of ModernBERT-base "
        "with two moments, 1.8 GB, by two processes under ZeRO 1. Processes take turns; figures are medians after the first five steps.",
        None,
        None,
    ),
    "trainer-memory": (
        "Memory of training",
        "The bytes of weights, gradients and moments of ModernBERT-base, all float32, that one of two processes holds under each stage of "
        "ZeRO: distinct storages of float32 that are reachable after any micro-batch of its second step, the most of them, beside what "
        "`foundry plan` says. DeepSpeed's buckets and activations are not counted.",
        None,
        None,
    ),
}

# What the committed figures were measured with, beside the demo corpus: without these files some rows are missing.
ARGUMENTS = {
    "filters": "--wikipedia FILE.jsonl.zst",
    "licences": "--material FOLDER --scancode PROGRAM",
    "warc": "--warc FILE.warc.gz --articles FILE.tar.zst",
    "reading": "FILE ...",
    "dedup": "--texts FILE.jsonl.zst --text-dedup PYTHON",
    "packing": "--texts FILE.jsonl.zst",
    "loader": "--peers PYTHON",
    "tokenizer": "--texts FILE.jsonl.zst ...",
    "contamination": "--texts FILE.jsonl.zst",
}


def _number(value: float, unit: str = "") -> str:
    if unit == "%":
        return f"{value:.2f}"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _line(row: dict[str, Any]) -> str:
    peer, ratio, goal = "", "", ""
    if row["peer"]:
        peer = f"{row['peer']['name']} {row['peer']['version']}: {_number(row['peer']['value'])}"
        ratio = f"{_number(row['ratio'])} x"
    if row["goal"] is not None:
        lower = row.get("at_most") and not row["peer"]
        sense, unit, judged = "at most" if lower else "at least", " x" if row["peer"] else "", "met" if row["met"] else "**not met**"
        goal = f"{sense} {_number(row['goal'])}{unit}: {judged}"
    return f"| {row['name'].strip()} | {_number(row['value'], row['unit'])} {row['unit']} | {peer} | {ratio} | {goal} |"


def page() -> str:
    """The page's text. A benchmark without committed results is left out."""
    parts = [
        "# Performance\n",
        "Every figure is measured beside the peer in one run, on the same data, and written by the benchmark itself "
        "(`benchmarks/results/*.json`); this page is made from those files by `python -m benchmarks.performance`. Figures are "
        "medians. A ratio says how many times better ours is. Files that a command names are JSON Lines with `text`, a web archive, "
        "articles with their text; a PYTHON is one that has the peers.\n",
    ]
    for name, (title, about, plot, caption) in ABOUT.items():
        path = RESULTS / f"{name}.json"
        if not path.is_file():
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        machine = result["machine"]
        versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
        parts.append(f"## {title}\n\n{about}\n")
        where = f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB"
        command = " ".join(["python -m benchmarks." + name.replace("-", " --only "), *([ARGUMENTS[name]] if name in ARGUMENTS else [])])
        parts.append(f"`{command}` on {where}; {versions}.\n")
        parts.append("| | ours | peer | ratio | goal |\n|---|---|---|---|---|\n" + "\n".join(_line(row) for row in result["rows"]) + "\n")
        if plot:
            parts.append(f"![{title}](../benchmarks/results/{plot})\n\n{caption}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
