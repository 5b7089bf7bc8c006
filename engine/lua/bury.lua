-- Keeps bytes that were verified but are no message. a: id, reason, body, ref, ttl. Returns 1 if it was not there yet.

local fresh = call('EXISTS', P .. 'dead:' .. a.id) == 0
if fresh then
  note(a.ref, short(a.id), 'b ' .. one_line(a.reason))
  bury(a.id, { 'reason', a.reason, 'at', now, 'direction', 'in', 'ref', a.ref, 'attempts', 0, 'entry', blob(a.body) }, a.ttl)
end
return fresh and 1 or 0
