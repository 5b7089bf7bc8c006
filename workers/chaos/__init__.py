"""`replymill chaos`: a private Replymill under faults, and a ledger of what the platforms saw. Begin with `run`."""
