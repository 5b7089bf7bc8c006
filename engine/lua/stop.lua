-- Drops every message of a conversation that is not answered yet, once. a: ref, digests, suffix, id, dedupe_ttl, record_ttl. Returns how
-- many; a repeat drops nothing, since what came after the first must be answered.

if #a.digests > 0 then
  if repeated(a.digests, a.suffix, a.dedupe_ttl) then
    return 0
  end
  remember_ids(a.digests, a.id, a.ref, a.dedupe_ttl)
  call('HSET', P .. 'm:' .. a.id, 'state', 'stopped', 'received_at', now)
  call('PEXPIRE', P .. 'm:' .. a.id, a.record_ttl)
end
local waiting = call('LRANGE', lane('in', a.ref), 0, -1)
for _, raw in ipairs(waiting) do
  drop(a.ref, raw, header(raw).id, a.record_ttl)
end
return #waiting
