"""ModernBERT, its heads, its attention kernels, initialisation, the bridge to transformers, and a classic BERT to compare with."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.bert import ClassicBertForMaskedLM, MaskedLM, masked_lm
    from model.config import ClassicBertConfig, ModernBertConfig
    from model.errors import ModelError
    from model.heads import (
        Embedding,
        HeadConfig,
        LateInteraction,
        MultipleChoice,
        QuestionAnswering,
        SequenceClassification,
        TokenClassification,
    )
    from model.modernbert import MaskedLMOutput, ModernBert, ModernBertForMaskedLM

__all__ = [
    "ClassicBertConfig",
    "ClassicBertForMaskedLM",
    "Embedding",
    "HeadConfig",
    "LateInteraction",
    "MaskedLM",
    "MaskedLMOutput",
    "ModelError",
    "ModernBert",
    "ModernBertConfig",
    "ModernBertForMaskedLM",
    "MultipleChoice",
    "QuestionAnswering",
    "SequenceClassification",
    "TokenClassification",
    "masked_lm",
]

_HOME = {
    "ClassicBertConfig": "config",
    "ClassicBertForMaskedLM": "bert",
    "Embedding": "heads",
    "HeadConfig": "heads",
    "LateInteraction": "heads",
    "MaskedLM": "bert",
    "MaskedLMOutput": "modernbert",
    "ModelError": "errors",
    "ModernBert": "modernbert",
    "ModernBertConfig": "config",
    "ModernBertForMaskedLM": "modernbert",
    "MultipleChoice": "heads",
    "QuestionAnswering": "heads",
    "SequenceClassification": "heads",
    "TokenClassification": "heads",
    "masked_lm": "bert",
}


def __getattr__(name: str) -> Any:
    """The module that has it is imported when it is first asked for: most who read a recipe need no torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value
