-- Records that a delivery is about to be sent, if the lease is still ours, has time left, and the delivery still waits (a lease on one
-- that others settled ends). a: ref, token, delivery, lease. Returns {ours, delivery that an earlier lease intended or ''}.

local state = lease('out', a.ref)
local held = call('HMGET', state, 't', 'x', 'i', 'j')
if held[1] ~= a.token or tonumber(held[2]) <= now then
  return { 0, '' }
end
local head = head_of('out', a.ref)
if not head or head.id ~= a.delivery then
  unlease('out', a.ref)
  put('out', a.ref)
  return { 0, '' }
end
call('HSET', state, 'i', a.delivery, 'j', a.token, 'x', now + a.lease)
hold('out', a.ref, now + a.lease)
-- A repetition after a broken connection finds its own intent, which is no earlier attempt.
return { 1, held[4] ~= a.token and held[3] or '' }
