-- Sets who answers a conversation. a: ref, owner, ttl. Returns how many messages wait.

set_owner(a.ref, a.owner, a.ttl)
return call('LLEN', lane('in', a.ref))
