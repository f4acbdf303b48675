"""BM25 word by word (Robertson, in the form of Lucene), for texts of whole words without stems."""

import math


def scores(query, texts, k1, b):
    """The score of each text, a list of words, for a query, a list of words."""
    average = sum(map(len, texts)) / len(texts)
    found = []
    for text in texts:
        score = 0.0
        for word in query:
            frequency = sum(word in other for other in texts)
            rarity = math.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
            count = text.count(word)
            score += rarity * count / (count + k1 * (1 - b + b * len(text) / average))
        found.append(score)
    return found
