"""Room `losses`: functions of tensors that return one number per query, and what corrects logits.

Scores come first in every signature, everything optional is keyword-only, and no function here
takes a mean: `tfrs_twotower.tasks.objective` does.
"""
