"""Oracles of the losses in plain Python, with loops on purpose and equation numbers."""

import math


def in_batch_softmax(
    scores,
    *,
    temperature=1.0,
    sampling_probability=None,
    logq_strength=1.0,
    hidden=None,
    positive_columns=None,
):
    """Yi et al. (RecSys 2019), equations 3 (corrected logit) and 4 (batch softmax), per row."""
    losses = []
    for i, row in enumerate(scores):
        positive = i if positive_columns is None else positive_columns[i]
        logits = []
        for j, score in enumerate(row):
            logit = float(score) / temperature
            if sampling_probability is not None:
                logit -= logq_strength * math.log(float(sampling_probability[j]))
            if j == positive:
                positive_logit = logit
            elif hidden is not None and hidden[i][j]:
                continue
            logits.append(logit)
        largest = max(logits)
        total = sum(math.exp(logit - largest) for logit in logits)
        losses.append(largest + math.log(total) - positive_logit)
    return losses


def refined_parts(
    scores,
    *,
    temperature=1.0,
    sampling_probability=None,
    logq_strength=1.0,
    hidden=None,
    positive_columns=None,
):
    """Khrylchenko et al. (RecSys 2025): for each row 1 - pi and log sum_neg - s_pos.

    None for a row without a negative. The loss is their product; its gradient is that of the
    second, times the first.
    """
    parts = []
    for i, row in enumerate(scores):
        positive = i if positive_columns is None else positive_columns[i]
        terms = []
        for j, score in enumerate(row):
            if j == positive or (hidden is not None and hidden[i][j]):
                continue
            logit = float(score) / temperature
            if sampling_probability is not None:
                logit -= logq_strength * math.log(float(sampling_probability[j]))
            terms.append(logit)
        if not terms:
            parts.append(None)
            continue
        own = float(row[positive]) / temperature
        behind = max(terms) + math.log(sum(math.exp(z - max(terms)) for z in terms)) - own
        parts.append((1.0 - 1.0 / (1.0 + math.exp(behind)), behind))
    return parts


def refined_softmax(scores, **options):
    """The product of `refined_parts`."""
    return [0.0 if p is None else p[0] * p[1] for p in refined_parts(scores, **options)]


def same_tower_softmax(
    scores,
    same_tower_scores,
    *,
    temperature,
    sampling_probability=None,
    logq_strength=1.0,
    hidden=None,
    same_tower_hidden=None,
    positive_columns=None,
    same_tower_weight=1.0,
):
    """Moiseev et al. (2023): the denominator has the tower's other rows beside the candidates."""
    losses = []
    for i, (row, same) in enumerate(zip(scores, same_tower_scores, strict=True)):
        own = i if positive_columns is None else positive_columns[i]
        factors = [1.0] * len(row)
        if sampling_probability is not None:
            factors = [float(p) ** -logq_strength for p in sampling_probability]
        positive = factors[own] * math.exp(row[own] / temperature)
        total = positive
        for j, score in enumerate(row):
            if j != own and not (hidden is not None and hidden[i][j]):
                total += factors[j] * math.exp(score / temperature)
        for j, score in enumerate(same):
            if j != own and not (same_tower_hidden is not None and same_tower_hidden[i][j]):
                total += same_tower_weight * math.exp(score / temperature)
        losses.append(math.log(total / positive))
    return losses


def contrastive_interaction(
    query_heads, candidate_heads, *, temperature, labels=None, hidden=None, positive_columns=None
):
    """Li et al. (CIKM 2022), as described: InfoNCE of normalised flattened heads, y = 1 only."""

    def unit(heads):
        flat = [float(x) for head in heads for x in head]
        norm = math.sqrt(sum(x * x for x in flat))
        return [x / norm for x in flat]

    queries, candidates = [unit(q) for q in query_heads], [unit(c) for c in candidate_heads]
    scores = [[sum(a * b for a, b in zip(q, c, strict=True)) for c in candidates] for q in queries]
    losses = in_batch_softmax(
        scores, temperature=temperature, hidden=hidden, positive_columns=positive_columns
    )
    labels = [1] * len(losses) if labels is None else labels
    return [loss if y else 0.0 for loss, y in zip(losses, labels, strict=True)]


def keep_hardest(logits, num_hard_negatives, positive_columns):
    """The positive and the k largest negatives of each row; None elsewhere."""
    kept = []
    for row, positive in zip(logits, positive_columns, strict=True):
        negatives = sorted((float(z) for j, z in enumerate(row) if j != positive), reverse=True)
        k = min(num_hard_negatives, len(negatives))
        threshold = negatives[k - 1] if k else math.inf
        kept.append(
            [float(z) if j == positive or z >= threshold else None for j, z in enumerate(row)]
        )
    return kept


def accidental_hits(positive_rows, column_rows):
    """Whether a column holds the row's own positive."""
    return [[row == column for column in column_rows] for row in positive_rows]


def known_positives(pairs, query_rows, column_rows):
    """Whether (query, candidate) is one of the pairs."""
    pairs = {(int(q), int(c)) for q, c in pairs}
    return [[(int(q), int(c)) in pairs for c in column_rows] for q in query_rows]


def streaming_gaps(batches, num_candidates, *, learning_rate, initial_gap):
    """Yi et al. (RecSys 2019), algorithm 2: B[y] <- (1 - a) B[y] + a (t - A[y]); A[y] <- t."""
    last = [0] * num_candidates
    gap = [float(initial_gap)] * num_candidates
    for t, batch in enumerate(batches, 1):
        for y in set(batch):
            gap[y] = (1 - learning_rate) * gap[y] + learning_rate * (t - last[y])
            last[y] = t
    return gap


def mixed_expectation(in_batch, num_uniform, num_candidates):
    """Yang et al. (WWW 2020): Q* up to the factor B + B', B q_j + B' / N."""
    return [expected + num_uniform / num_candidates for expected in in_batch]


def weighted_mean(losses, weights):
    """sum w L / sum w."""
    return sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)


def full_softmax_gradient(scores, positive):
    """d/ds of -log softmax(s)[positive] over the whole corpus."""
    largest = max(scores)
    exponentials = [math.exp(s - largest) for s in scores]
    total = sum(exponentials)
    return [e / total - (1.0 if j == positive else 0.0) for j, e in enumerate(exponentials)]


def adamw(weights, gradients, *, rate, decay, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Loshchilov and Hutter (ICLR 2019), algorithm 2, for one scalar with a gradient in each step.

    A gradient of None changes neither the weight nor its momenta (a row that is not in the batch).
    """
    m = v = 0.0
    w = float(weights)
    for t, g in enumerate(gradients, 1):
        if g is None:
            continue
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g * g
        w -= rate * decay * w
        w -= rate * math.sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (math.sqrt(v) + epsilon)
    return w
