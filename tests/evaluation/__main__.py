"""Run the rows: `python -m tests.evaluation [ROW]`. Exits 1 if a row misses its goal, 2 if a row or its data is not there."""

import json
import sys

from tests.evaluation import cache_rows, confidence_rows, grounding_rows, retrieval_rows, sample_rows, stream_rows
from tests.evaluation.data import NoData

ROWS = {
    **retrieval_rows.ROWS,
    **confidence_rows.ROWS,
    **cache_rows.ROWS,
    **grounding_rows.ROWS,
    **stream_rows.ROWS,
    **sample_rows.ROWS,
}


def main() -> int:
    names = sys.argv[1:] or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        print(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    missed = 0
    for name in names:
        try:
            row = ROWS[name]()
        except NoData as error:
            print(error, file=sys.stderr)
            return 2
        print(json.dumps({"row": name, "value": row.value, "goal": row.goal, "ok": row.ok, "detail": row.detail}), flush=True)
        missed += not row.ok
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
