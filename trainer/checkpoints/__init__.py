"""Checkpoints of our own: every parameter's weight and moments whole, under its own name, so that any world and ZeRO stage goes on.

A checkpoint is a folder `checkpoints/step-N` with a manifest and safetensors files of bounded size. It is written aside as
`step-N.tmp` and renamed when it is whole and on disk; what is damaged afterwards is found by its checksums.
"""

from trainer.checkpoints.finding import newest, origin
from trainer.checkpoints.manifest import WEIGHT, Damaged, File, Manifest, write_durably
from trainer.checkpoints.reading import Found, check, load_state, mean_weights, seeing, weights
from trainer.checkpoints.retention import Retention
from trainer.checkpoints.state import scalars
from trainer.checkpoints.store import Store, Uploads
from trainer.checkpoints.writing import Outcome, Writer

__all__ = [
    "WEIGHT",
    "Damaged",
    "File",
    "Found",
    "Manifest",
    "Outcome",
    "Retention",
    "Store",
    "Uploads",
    "Writer",
    "check",
    "load_state",
    "mean_weights",
    "newest",
    "origin",
    "scalars",
    "seeing",
    "weights",
    "write_durably",
]
