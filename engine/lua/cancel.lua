-- Drops a message not yet answered. a: ref, digest, id, ttl of the tombstone, record_ttl. Returns cancelled, answered, unseen, or
-- elsewhere (it is a message of another conversation).

local id, known_ref = known(a.digest)
local ref = a.ref
if known_ref and known_ref ~= ref then
  return 'elsewhere'
end
local queue = lane('in', ref)
for _, raw in ipairs(call('LRANGE', queue, 0, -1)) do
  if header(raw).id == (id or a.id) then
    local place, due = lift('in', ref)
    call('LREM', queue, 1, raw)
    count('in', ref, -1)
    put_back('in', ref, place, due)
    local record = P .. 'm:' .. (id or a.id)
    call('HSET', record, 'state', 'cancelled', 'received_at', header(raw).received)
    call('PEXPIRE', record, a.record_ttl)
    return 'cancelled'
  end
end
if known_ref then
  return 'answered'
end
call('SET', P .. 'x:' .. a.digest, '', 'PX', a.ttl)
return 'unseen'
