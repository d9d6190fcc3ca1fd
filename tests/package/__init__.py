"""The package as a user installs it."""
