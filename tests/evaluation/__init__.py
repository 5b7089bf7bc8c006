"""Figures of quality on real data: `make eval`."""
