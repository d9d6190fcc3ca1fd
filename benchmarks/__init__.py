"""Side by side with the peers, in one run each: `python -m benchmarks.NAME [--quick]`."""
