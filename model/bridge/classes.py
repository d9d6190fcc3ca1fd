"""Which of transformers' classes each of ours is."""

from __future__ import annotations

from torch import nn

from model.bert import ClassicBertForMaskedLM
from model.heads import (
    Embedding,
    LateInteraction,
    MultipleChoice,
    QuestionAnswering,
    SequenceClassification,
    TokenClassification,
)
from model.modernbert import ModernBert, ModernBertForMaskedLM

# transformers' class for each of ours; the bare encoder is also what embeddings and late interaction are made of.
ARCHITECTURES: dict[type[nn.Module], str] = {
    ModernBertForMaskedLM: "ModernBertForMaskedLM",
    SequenceClassification: "ModernBertForSequenceClassification",
    TokenClassification: "ModernBertForTokenClassification",
    QuestionAnswering: "ModernBertForQuestionAnswering",
    MultipleChoice: "ModernBertForMultipleChoice",
    ModernBert: "ModernBertModel",
    Embedding: "ModernBertModel",
    LateInteraction: "ModernBertModel",
    ClassicBertForMaskedLM: "BertForMaskedLM",
}
BARE = (ModernBert, Embedding, LateInteraction)
MASKED = (ModernBertForMaskedLM, ClassicBertForMaskedLM)
