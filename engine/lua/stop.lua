-- Drops every message of a conversation that is not answered yet. a: ref, record_ttl. Returns how many.

local waiting = call('LRANGE', lane('in', a.ref), 0, -1)
for _, raw in ipairs(waiting) do
  drop(a.ref, raw, header(raw).id, a.record_ttl)
end
return #waiting
