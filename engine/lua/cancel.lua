-- Drops a message not yet answered. a: ref, digest, id, ttl of the tombstone. Returns cancelled, answered or unseen.

local id, known_ref = known(a.digest)
local ref = known_ref or a.ref
local queue = lane('in', ref)
for _, raw in ipairs(call('LRANGE', queue, 0, -1)) do
  if header(raw).id == (id or a.id) then
    local place, due = lift('in', ref)
    call('LREM', queue, 1, raw)
    count('in', ref, -1)
    put_back('in', ref, place, due)
    return 'cancelled'
  end
end
if known_ref then
  return 'answered'
end
call('SET', P .. 'x:' .. a.digest, '', 'PX', a.ttl)
return 'unseen'
