-- Sets who answers a conversation. a: ref, hand (see `hand_on`). Returns how many messages wait.

hand_on(a.hand)
return call('LLEN', lane('in', a.ref))
