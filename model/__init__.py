"""ModernBERT, its attention kernels, initialisation, and the bridge to transformers."""

from model.config import ModernBertConfig
from model.errors import ModelError
from model.modernbert import MaskedLMOutput, ModernBert, ModernBertForMaskedLM

__all__ = ["MaskedLMOutput", "ModelError", "ModernBert", "ModernBertConfig", "ModernBertForMaskedLM"]
