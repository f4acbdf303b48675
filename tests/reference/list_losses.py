"""NumPy oracles of the losses over lists, with loops on purpose.

`present[i][j]` says whether entry j of list i is filled; None means that all are.
"""

import math


def _present_entries(row, present, i):
    return [j for j in range(len(row)) if present is None or present[i][j]]


def _softmax(values):
    exponentials = [math.exp(v - max(values)) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def binary_cross_entropy(logits, labels, present=None):
    """-(y log p + (1 - y) log(1 - p)), p = 1 / (1 + exp(-z)), mean over the list."""
    losses = []
    for i, row in enumerate(logits):
        terms = []
        for j in _present_entries(row, present, i):
            p = 1 / (1 + math.exp(-float(row[j])))
            y = float(labels[i][j])
            terms.append(-(y * math.log(p) + (1 - y) * math.log(1 - p)))
        losses.append(sum(terms) / len(terms) if terms else 0.0)
    return losses


def listwise_kl(student, teacher, *, teacher_temperature, student_temperature, present=None):
    """sum p_t log(p_t / p_s) over the list."""
    losses = []
    for i, row in enumerate(student):
        entries = _present_entries(row, present, i)
        if not entries:
            losses.append(0.0)
            continue
        teacher_shares = _softmax([float(teacher[i][j]) / teacher_temperature for j in entries])
        student_shares = _softmax([float(row[j]) / student_temperature for j in entries])
        losses.append(
            sum(t * math.log(t / s) for t, s in zip(teacher_shares, student_shares, strict=True))
        )
    return losses


def margin_mse(student, teacher, present=None):
    """Mean of ((s_0 - s_j) - (t_0 - t_j))^2 over the negatives of the list."""
    losses = []
    for i, (s, t) in enumerate(zip(student, teacher, strict=True)):
        entries = _present_entries(s, present, i)
        squares = [
            (float(s[0] - s[j]) - float(t[0] - t[j])) ** 2
            for j in entries
            if j > 0 and 0 in entries
        ]
        losses.append(sum(squares) / len(squares) if squares else 0.0)
    return losses
