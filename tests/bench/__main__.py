"""Run the rows: `python -m tests.bench [ROW]`. Exits 1 if a row misses its goal."""

import json
import sys

from tests.bench import backlog_rows, cache_rows, chaos_rows, durability_rows, platform_rows, rows

ROWS = {**rows.ROWS, **cache_rows.ROWS, **platform_rows.ROWS, **backlog_rows.ROWS, **chaos_rows.ROWS, **durability_rows.ROWS}


def main() -> int:
    names = sys.argv[1:] or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        print(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    missed = 0
    for name in names:
        row = ROWS[name]()
        print(json.dumps({"row": name, "value": row.value, "goal": row.goal, "ok": row.ok, "detail": row.detail}), flush=True)
        missed += not row.ok
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
