"""Held-out sets, scores an item, and the comparison of runs. Nothing in here trains a model, and nothing knows of a recipe."""
