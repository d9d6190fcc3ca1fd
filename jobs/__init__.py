"""The command line, recipes, and how a run reaches a cluster."""
