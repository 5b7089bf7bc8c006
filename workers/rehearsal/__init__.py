"""`replymill test`: conversations as they ought to go, played through a private copy of everything."""
