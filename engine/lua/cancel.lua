-- Drops a message not yet answered. a: ref, digest, id, ttl of the tombstone. Returns cancelled, answered or unseen.

local queue = lane('in', a.ref)
for _, raw in ipairs(call('LRANGE', queue, 0, -1)) do
  if header(raw).id == a.id then
    local place, due = lift('in', a.ref)
    call('LREM', queue, 1, raw)
    count('in', a.ref, -1)
    put_back('in', a.ref, place, due)
    return 'cancelled'
  end
end
if call('EXISTS', P .. 'd:' .. a.digest) == 1 then
  return 'answered'
end
call('SET', P .. 'x:' .. a.digest, '', 'PX', a.ttl)
return 'unseen'
