"""The engine: messages, lanes, the model and everything a reply is made of. Imports nothing of connectors or workers."""
