"""Words that a query may use although the corpus has only other forms of them.

A served graph cannot stem; it looks up words. Forms are made by English suffixes and kept only if
the Snowball stemmer (Porter 2001) maps them to a stem that the corpus has.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import Stemmer

MOST_FORMS = 500_000
"""Forms that are added; those of frequent terms come first."""

_SUFFIXES = (
    *("", "s", "es", "ed", "ing", "ings", "er", "ers", "e", "y", "ies", "ied", "ly", "al", "ally"),
    *("able", "ation", "ations", "ion", "ions", "or", "ors", "ive", "ity", "ment", "ments", "ness"),
)
_DOUBLED = ("ed", "ing", "er", "ers")
_AT_ONCE = 1 << 12


def inflections(
    terms: Sequence[str], words: Mapping[str, str], left_out: Collection[str]
) -> dict[str, str]:
    """Further words of the terms of a corpus, each with its term.

    Args:
        terms: stems, the most important first.
        words: words of the corpus, with their stems.
        left_out: words that may not stand for a term.

    Returns:
        At most `MOST_FORMS` words that `words` does not have.
    """
    known = set(terms)
    spellings: dict[str, set[str]] = {term: {term} for term in terms if _is_plain(term)}
    for word, term in words.items():
        if term in spellings and _is_plain(word):
            spellings[term].add(word)
    stem = Stemmer.Stemmer("english").stemWords
    added: dict[str, str] = {}
    order = list(spellings)
    for start in range(0, len(order), _AT_ONCE):
        bases = (spellings[term] for term in order[start : start + _AT_ONCE])
        forms = {form: None for own in bases for base in sorted(own) for form in _forms(base)}
        fresh = [form for form in forms if form not in words and form not in added]
        for form, term in zip(fresh, stem(fresh), strict=True):
            if term in known and form not in left_out:
                added[form] = term
                if len(added) == MOST_FORMS:
                    return added
    return added


def _is_plain(word: str) -> bool:
    return word.isalpha() and len(word) > 1


def _forms(base: str) -> Iterator[str]:
    last = base[-1]
    for suffix in _SUFFIXES:
        yield base + suffix
        if last in "ey":
            yield base[:-1] + suffix
        if last == "y":
            yield f"{base[:-1]}i{suffix}"
        if last == "i":
            yield f"{base[:-1]}y{suffix}"
    if last not in "aeiouy":
        for suffix in _DOUBLED:
            yield base + last + suffix
