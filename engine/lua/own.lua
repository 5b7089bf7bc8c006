-- Sets who answers a conversation. a: ref, owner, ttl. Waiting messages stay in the lane: whoever claims them moves them to history.
-- A change of owner is a new revision of each, so that no answer that is being made can be committed, not even after a change back.

local owner = P .. 'o:' .. a.ref
local queue = lane('in', a.ref)
if (call('GET', owner) or 'bot') ~= a.owner then
  for position, raw in ipairs(call('LRANGE', queue, 0, -1)) do
    local head = header(raw)
    local body = string.sub(raw, string.find(raw, '\n', 1, true) + 1)
    call('LSET', queue, position - 1, entry(head.id, head.revision + 1, head.received, head.deadline, head.cost, body))
  end
end
if a.owner == 'bot' then
  call('DEL', owner)
else
  call('SET', owner, a.owner, 'PX', a.ttl)
end
return call('LLEN', queue)
