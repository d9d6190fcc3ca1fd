"""ModernBERT, its heads, its attention kernels, initialisation, the bridge to transformers, and a classic BERT to compare with."""

from model.bert import ClassicBertConfig, ClassicBertForMaskedLM
from model.config import ModernBertConfig
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
    "MaskedLMOutput",
    "ModelError",
    "ModernBert",
    "ModernBertConfig",
    "ModernBertForMaskedLM",
    "MultipleChoice",
    "QuestionAnswering",
    "SequenceClassification",
    "TokenClassification",
]
