"""The probability from which a tenant's near matches are given: what the verifier says, corrected by comparisons.

Comparisons are counted by the probability they had. The verifier's own word counts as `PRIOR` comparisons of each class: a tenant
without any begins with the threshold that is set, and a few comparisons move it little.
"""

from bisect import bisect_right
from collections.abc import Mapping

#: Lower bounds of the classes of probability; what is below the first is never given.
CLASSES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.84, 0.87, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99)
#: Comparisons that the verifier's own word is worth in one class. Chosen, not fitted: 200 comparisons outweigh it.
PRIOR = 40.0
#: No threshold: nothing is given.
NEVER = 1.1
#: Comparisons in the classes that are given before a threshold may fall below the one that is set.
ENOUGH = 200


def class_of(p: float) -> int:
    """The class of a probability; -1 below all."""
    return bisect_right(CLASSES, p) - 1


def threshold(right: Mapping[int, int], wrong: Mapping[int, int], *, start: float, target: float) -> float:
    """The least class from which the share of wrong answers is expected to be at most `target`, by class the comparisons.

    Without comparisons it is `start`. It falls below that only with `ENOUGH` of them; it rises as soon as they call for it.
    """
    if not sum(right.values()) + sum(wrong.values()):
        return start
    from_here = NEVER
    expected = weight = seen = 0.0
    for place in reversed(range(len(CLASSES))):
        known = right.get(place, 0) + wrong.get(place, 0)
        expected += _wrong_share(place, right.get(place, 0), wrong.get(place, 0)) * (known + 1)
        weight += known + 1
        seen += known
        allowed = CLASSES[place] >= start or seen >= ENOUGH
        if allowed and expected / weight <= target:
            from_here = CLASSES[place]
    return max(from_here, start) if seen < ENOUGH else from_here


def _wrong_share(place: int, right: int, wrong: int) -> float:
    """Of one class: the verifier's word and the comparisons together."""
    upper = CLASSES[place + 1] if place + 1 < len(CLASSES) else 1.0
    said = (1 - (CLASSES[place] + upper) / 2) * _CAUTION
    return (wrong + said * PRIOR) / (right + wrong + PRIOR)


#: Of what the verifier says is wrong, this share is taken to be. Chosen, not fitted: with it, and without comparisons, the classes
#: from the shipped threshold on, each weighing the same, are expected to be wrong in 1.3 %, which is within the shipped target. The
#: streams of public sets in docs/cache.md had .2 to 1.3 % on the mean. A bot's own questions may differ, which comparisons show.
_CAUTION = 0.25
