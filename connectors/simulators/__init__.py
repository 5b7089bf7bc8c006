"""Platform servers that misbehave on request: for tests, for chaos, and for trying a bot without tokens."""
