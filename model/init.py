"""Initial weights: "full megatron" (arXiv 2412.13663, appendix A.2; Shoeybi et al. 2019).

Normal, cut at two standard deviations: `init_std` for the embedding and for projections into a block, init_std / sqrt(2 L)
for projections out of one. Norms are ones, biases zeros. The head's dense layer has `init_std`, as in the reference's own code
(transformers takes the smaller one). A classifier has 1 / sqrt(hidden size), as in transformers.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from model.config import ModernBertConfig


@torch.no_grad()
def initialise(model: nn.Module, config: ModernBertConfig) -> None:
    """Set all parameters of a model, in the order of their names, from torch's global generator."""
    out_std = config.init_std / math.sqrt(2 * config.layers)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
        else:
            std = config.init_std
            if name.endswith((".attn.Wo.weight", ".mlp.Wo.weight")):
                std = out_std
            elif name == "classifier.weight":
                std = config.hidden_size**-0.5
            nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
