"""Which prompts are generated together. Pure.

CTranslate2 forwards the prompts of a batch at once only up to the shortest; the rest of the longer ones is fed token by token, one
decoding step of the whole batch each. Measured with the default model, INT8, one thread, 8 prompts of 50 tokens and 8 of N, replies
of 64 tokens, seconds together and apart: N = 100 6.1 / 4.9, 200 9.5 / 6.7, 400 24.5 / 10.8, 800 55 / 22.6; with replies of 128:
9.7 / 9.7, 13.6 / 11.7, 29 / 18, 61 / 31. Within a spread of a few tokens a larger batch wins: 32 prompts of 41 to 74 tokens in 2
batches gave 450 tokens/s, in 4 batches 365.
"""

from collections.abc import Sequence

#: Cost of one decoding step, of one sequence more in it, and of one prompt token forwarded at once, in milliseconds. Their ratios
#: decide; they are those of the measurements above and of 64, 300 and 481 tokens/s at batches of 1, 8 and 32.
_STEP = 14.0
_SEQUENCE = 1.65
_PREFILL = 0.87

#: A batch is halved for an idle replica only where each half keeps the batch efficient.
_LEAST_HALF = 8


def group(lengths: Sequence[int], *, reply: int, idle: int) -> list[list[int]]:
    """Positions of the prompts, by length, in the batches that cost least; at least `idle` of them where they are large enough.

    `reply` is the expected length of a reply in tokens, `idle` the number of replicas that wait for work.
    """
    if not lengths:
        return []
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    groups = _cheapest(order, lengths, reply)
    while len(groups) < idle:
        largest = max(groups, key=len)
        if len(largest) < 2 * _LEAST_HALF:
            break
        groups.remove(largest)
        groups += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    return groups


def _cheapest(order: Sequence[int], lengths: Sequence[int], reply: int) -> list[list[int]]:
    """Splits the sorted prompts at the borders of least total cost; a border stands only between different lengths."""
    borders = [0, *(i for i in range(1, len(order)) if lengths[order[i]] != lengths[order[i - 1]]), len(order)]
    totals = [0]
    for position in order:
        totals.append(totals[-1] + lengths[position])
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(borders)):
        choices = []
        for start in range(end):
            first, last = borders[start], borders[end]
            least, most = lengths[order[first]], lengths[order[last - 1]]
            choices.append((best[start][0] + _cost(last - first, totals[last] - totals[first], least, most, reply), start))
        best.append(min(choices))
    groups = []
    end = len(borders) - 1
    while end:
        start = best[end][1]
        groups.append(list(order[borders[start] : borders[end]]))
        end = start
    return groups[::-1]


def _cost(count: int, total: int, least: int, most: int, reply: int) -> float:
    fed_singly = total - count * least
    return _STEP * (most - least + reply) + _SEQUENCE * (fed_singly + count * reply) + _PREFILL * count * least
