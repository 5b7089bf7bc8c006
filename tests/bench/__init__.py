"""Figures of this machine, one JSON line a row: `make bench`, or `make bench ONLY=accept-rate` for one."""
