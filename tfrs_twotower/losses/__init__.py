"""Room `losses`: functions of tensors, one number per query, and what enters their logits.

Scores come first in every signature, everything optional is keyword-only, and nothing here takes
a mean: `tfrs_twotower.tasks.objective` does.
"""
