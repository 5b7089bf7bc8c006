-- Replaces a message not yet answered. a: ref, digest, id, cost, body and turn (the same as kept in a history), ttl of the tombstone.
-- Returns amended, answered, unseen, or elsewhere (it is a message of another conversation); a deletion that came before stays.

local id, ref = known(a.digest)
if ref and ref ~= a.ref then
  return 'elsewhere'
end
local queue = lane('in', a.ref)
for position, raw in ipairs(call('LRANGE', queue, 0, -1)) do
  local head = header(raw)
  if head.id == (id or a.id) then
    local changed = entry(head.id, head.revision + 1, head.received, head.deadline, a.cost, blob(a.body))
    call('LSET', queue, position - 1, changed)
    note(a.ref, short(head.id), 'e')
    return 'amended'
  end
end
if ref then
  return 'answered'
end
local tombstone = P .. 'x:' .. a.digest
if call('GET', tombstone) ~= '' then
  call('SET', tombstone, a.ref .. ' ' .. a.cost .. ' ' .. #blob(a.turn) .. '\n' .. blob(a.turn) .. blob(a.body), 'PX', a.ttl)
end
return 'unseen'
