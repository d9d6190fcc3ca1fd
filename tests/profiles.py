"""How hard property tests try: profiles of hypothesis, of which one is chosen for a run, and each test's share of its examples.

`quick` is for the loop of writing code, `ci` for every change, `thorough` for a change of what is proved, and for a release. The first two
try the same examples in every run, so that a change that passes here passes elsewhere; `thorough` draws new ones. Choose by the
environment variable `HYPOTHESIS_PROFILE` or by pytest's `--hypothesis-profile`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Examples of a property test that asks for no share of its own.
EXAMPLES = {"quick": 10, "ci": 100, "thorough": 1000}
CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]  # the first is about speed, which no test here is


def register() -> None:
    """Register the profiles, without a deadline in any (a machine may be slow), and load the one that is asked for."""
    for name, examples in EXAMPLES.items():
        settings.register_profile(name, max_examples=examples, deadline=None, suppress_health_check=CHECKS, derandomize=name != "thorough")
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def quick() -> bool:
    """Whether the profile is that of the loop of writing code, under which tests do without what takes long."""
    return settings().max_examples <= EXAMPLES["quick"]


def thorough() -> bool:
    """Whether the profile is that of the long proofs, under which tests are at full size."""
    return settings().max_examples >= EXAMPLES["thorough"]


def share(factor: float) -> int:
    """`factor` times the examples of the profile that is loaded, at least 3: for `@settings(max_examples=share(0.4))`.

    A test whose examples are dear takes less than 1, one whose faults are rare takes more.
    """
    return max(3, round(factor * settings().max_examples))
