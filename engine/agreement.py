"""How far raters agree beyond chance: kappa for two, alpha for any number, also where not everybody rated everything."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

#: What each rater said of each item: {rater: {item: category}}.
Ratings = Mapping[str, Mapping[str, Hashable]]


def kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Cohen's kappa (1960) of two raters who judged the same items; 1 is full agreement, 0 what chance gives.

    NaN where nothing was judged, and where both only ever said the same one thing: chance alone would agree as fully.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} judgements and {len(second)}: both raters must have judged the same items")
    cases = len(first)
    if not cases:
        return math.nan
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / cases
    ours, theirs = Counter(first), Counter(second)
    chance = sum(ours[category] * theirs[category] for category in ours) / cases**2
    return (agreed - chance) / (1 - chance) if chance < 1 else math.nan


def alpha(ratings: Ratings) -> float:
    """Krippendorff's alpha for categories (Content Analysis, 2004, chapter 11): items that only one judged tell nothing.

    NaN where no item was judged twice, or only one category was ever used.
    """
    items: dict[str, list[Hashable]] = {}
    for judged in ratings.values():
        for item, category in judged.items():
            items.setdefault(item, []).append(category)
    paired = [judgements for judgements in items.values() if len(judgements) > 1]
    totals = Counter(category for judgements in paired for category in judgements)
    count = sum(totals.values())
    expected = count * count - sum(n * n for n in totals.values())
    if not expected:
        return math.nan
    observed = sum(_disagreement(judgements) for judgements in paired)
    return 1 - (count - 1) * observed / expected


def _disagreement(judgements: Sequence[Hashable]) -> float:
    """Ordered pairs of judgements that differ, for each judgement of an item but one."""
    size = len(judgements)
    return (size * size - sum(n * n for n in Counter(judgements).values())) / (size - 1)
