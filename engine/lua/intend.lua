-- Records that a delivery is about to be sent, if the lease is still ours and has time left. a: ref, token, delivery, lease.
-- Returns {ours, delivery intended before or ''}.

local state = lease('out', a.ref)
if call('HGET', state, 't') ~= a.token or tonumber(call('HGET', state, 'x')) <= now then
  return { 0, '' }
end
local before = call('HGET', state, 'i') or ''
local ends = now + a.lease
call('HSET', state, 'i', a.delivery, 'x', ends)
call('ZADD', key('out', 'leased'), ends, a.ref)
return { 1, before }
