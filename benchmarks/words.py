"""Words of scripts without spaces, beside ICU's: learns the table of `kernel.boundaries`, and says how near it comes.

    python -m benchmarks.words FOLDER            # boundaries and counts beside ICU's
    python -m benchmarks.words FOLDER --learn    # learns the table from the same texts, and writes it

FOLDER has texts as `LANGUAGE.txt` (UTF-8), such as `th.txt`; of each, every twentieth line is held out and judged by. PyICU is needed
(the package `pyicu-wheels` has it compiled). The table that is committed was learnt, with ICU 77, from the runs of Chinese, Japanese,
Thai, Khmer and Burmese in the translations and manuals of Firefox, LibreOffice, Debian's iso-codes, reference and manual pages; from
Lao and Thai of Hunspell's and LaoNLP's lists; and from words drawn by their frequencies out of wordfreq (Chinese in both scripts,
Japanese), PyThaiNLP (Thai) and LaoNLP, set side by side.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from kernel import boundaries
from kernel.boundaries import BITS, features
from kernel.compile import kernel
from kernel.utf8 import UNSPACED, tables

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MOST = 700_000  # places of one language that are learnt from
FEW = 300_000  # languages with fewer places are seen three times as often
HELD_OUT = 20  # every so many lines are judged by
SCALE = 16  # of the weights, before they are rounded to whole numbers of 8 bits
ROUNDS, RATE, DECAY = 6, 0.3, 1e-5


def runs(text: str) -> Iterator[str]:
    """The runs of at least two characters of scripts without spaces."""
    classes = tables()[0]
    begin = 0
    for at in range(len(text) + 1):
        if at == len(text) or classes[ord(text[at])] != UNSPACED:
            if at - begin > 1:
                yield text[begin:at]
            begin = at + 1


def places(lines: list[str], language: str, most: int) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """The four characters around each place inside the runs of some lines, int64 (places, 4), and whether ICU has a boundary there."""
    import icu

    breaks = icu.BreakIterator.createWordInstance(icu.Locale(language))
    around: list[list[int]] = []
    is_break: list[bool] = []
    for line in lines:
        for run in runs(line):
            breaks.setText(run)
            found = set(breaks)
            codes = [0, *map(ord, run), 0]
            around += [codes[at - 1 : at + 3] for at in range(1, len(run))]
            is_break += [at in found for at in range(1, len(run))]
        if len(is_break) >= most:
            break
    return np.array(around, np.int64).reshape(-1, 4), np.array(is_break, bool)


@kernel
def _places_in_table(around: Integers, out: npt.NDArray[np.uint16]) -> None:  # pragma: no cover - compiled
    for place in range(len(around)):
        found = features(around[place, 0], around[place, 1], around[place, 2], around[place, 3])
        for index in range(7):
            out[place, index] = found[index]


def in_table(around: Integers) -> npt.NDArray[np.uint16]:
    """The seven features of each place: uint16 (places, 7)."""
    out = np.empty((len(around), 7), np.uint16)
    _places_in_table(around, out)
    return out


@kernel
def _descend(
    found: npt.NDArray[np.uint16], truth: npt.NDArray[np.bool_], order: Integers, weights: Floats, squares: Floats, rate: float
) -> None:  # pragma: no cover - compiled
    """One round of Adagrad on the logistic loss."""
    for place in order:
        total = 0.0
        for index in range(7):
            total += weights[found[place, index]]
        slope = 1 / (1 + np.exp(-total)) - truth[place]
        for index in range(7):
            feature = found[place, index]
            step = slope + DECAY * weights[feature]
            squares[feature] += step * step
            weights[feature] -= rate * step / np.sqrt(squares[feature] + 1e-8)


def learn(parts: list[tuple[Integers, npt.NDArray[np.bool_]]]) -> npt.NDArray[np.int8]:
    """The table, int8 (2^BITS,), from the places of each language and their truths. The same places give the same table."""
    again = [part for part in parts for _ in range(1 if len(part[1]) > FEW else 3)]
    found, truth = in_table(np.concatenate([part[0] for part in again])), np.concatenate([part[1] for part in again])
    weights, squares = np.zeros(1 << BITS), np.zeros(1 << BITS)
    generator = np.random.default_rng(0)
    for number in range(ROUNDS):
        _descend(found, truth, generator.permutation(len(truth)), weights, squares, RATE / (1 + number / 2))
    return np.clip(np.round(weights * SCALE), -127, 127).astype(np.int8)


def judged(around: Integers, truth: npt.NDArray[np.bool_], table: npt.NDArray[np.int8]) -> dict[str, Any]:
    """Precision, recall and F1 of the boundaries, and our words for each of ICU's."""
    ours = table[in_table(around)].sum(1, dtype=np.int64) > 0
    right = int((ours & truth).sum())
    precision, recall = right / max(1, int(ours.sum())), right / max(1, int(truth.sum()))
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return {"precision": precision, "recall": recall, "f1": f1, "ratio": int(ours.sum()) / max(1, int(truth.sum()))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="texts, as LANGUAGE.txt")
    parser.add_argument("--learn", action="store_true", help="learn the table and write it")
    options = parser.parse_args()
    learnt, held_out = {}, {}
    for path in sorted(options.folder.glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        learnt[path.stem] = places([line for number, line in enumerate(lines) if number % HELD_OUT], path.stem, MOST)
        held_out[path.stem] = places(lines[::HELD_OUT], path.stem, MOST // 10)
    table = np.frombuffer(boundaries.TABLE.read_bytes(), np.int8)
    if options.learn:
        table = learn([part for part in learnt.values() if len(part[1])])
        Path(str(boundaries.TABLE)).write_bytes(table.tobytes())
        source = Path(boundaries.__file__)
        line = f'CHECKSUM = "{xxhash.xxh3_128_hexdigest(table.tobytes())}"'
        source.write_text(re.sub(r'^CHECKSUM = ".*"', line, source.read_text(encoding="utf-8"), flags=re.M), encoding="utf-8")
        print(line)
    for language, (around, truth) in held_out.items():
        result = judged(around, truth, table)
        print(f"{language}: {len(truth)} places, " + ", ".join(f"{name} {value:.3f}" for name, value in result.items()))


if __name__ == "__main__":
    main()
