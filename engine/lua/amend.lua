-- Replaces a message not yet answered. a: ref, digest, id, cost, body, ttl of the tombstone. Returns amended, answered or unseen.

local queue = lane('in', a.ref)
for position, raw in ipairs(call('LRANGE', queue, 0, -1)) do
  local head = header(raw)
  if head.id == a.id then
    local changed = entry(head.id, head.revision + 1, head.received, head.deadline, a.cost, blob(a.body))
    call('LSET', queue, position - 1, changed)
    return 'amended'
  end
end
if call('EXISTS', P .. 'd:' .. a.digest) == 1 then
  return 'answered'
end
call('SET', P .. 'x:' .. a.digest, a.cost .. '\n' .. blob(a.body), 'PX', a.ttl)
return 'unseen'
