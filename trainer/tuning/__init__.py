"""Fine-tuning: tasks by key, a grid of trials over packed micro-batches, and texts to vectors.

`tune.tune` and `encode.encode` are the entries; `config` has tasks and settings as recipes write them, without torch.
"""
