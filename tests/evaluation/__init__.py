"""Figures of quality on public sets: `make eval`, one JSON line a row. They are no tests: the sets are not in the project."""
