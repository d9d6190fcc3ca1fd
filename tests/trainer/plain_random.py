"""Keyed draws in plain Python, by the paper's constants (Steele et al. 2014): the twins of kernel.random's."""

from __future__ import annotations

_BITS = (1 << 64) - 1


def plain_draw(key: int, index: int) -> int:
    """The index-th number of SplitMix64's stream `key`."""
    value = (key + (index + 1) * 0x9E3779B97F4A7C15) & _BITS
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _BITS
    return value ^ (value >> 31)


def plain_unit(bits: int) -> float:
    """64 random bits as a number in [0, 1)."""
    return (bits >> 11) / (1 << 53)
