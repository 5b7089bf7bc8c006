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
    drop(ref, raw, id or a.id, a.record_ttl)
    return 'cancelled'
  end
end
if known_ref then
  return 'answered'
end
call('SET', P .. 'x:' .. a.digest, '', 'PX', a.ttl)
return 'unseen'
