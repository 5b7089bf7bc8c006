-- Replaces the first delivery of an outbound lane by its parts, if the lease is still ours. a: ref, token, delivery, whole (its body),
-- parts {{id, body}...}. Returns 1, or 0 if the lease is lost or the delivery is gone. A repeat finds the first part, and does nothing.

local queue = lane('out', a.ref)
local raw = call('LINDEX', queue, 0)
if call('HGET', lease('out', a.ref), 't') ~= a.token or not raw or header(raw).id ~= a.delivery then
  return 0
end
local head = header(raw)
if string.sub(raw, string.find(raw, '\n', 1, true) + 1) ~= blob(a.whole) then
  return 1
end
call('LPOP', queue)
for position = #a.parts, 1, -1 do
  local part = a.parts[position]
  call('LPUSH', queue, entry(part[1], 0, head.received, head.deadline, head.cost, blob(part[2])))
end
count('out', a.ref, #a.parts - 1)
return 1
