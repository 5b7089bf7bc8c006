-- Gives a dead letter another entry, if it still is the one that was read. a: id, ref, before, after, direction. Returns edited,
-- changed or gone.

local letter = P .. 'dead:' .. a.id
local kept = call('HGET', letter, 'entry')
if not kept then
  return 'gone'
end
if kept ~= blob(a.before) then
  return kept == blob(a.after) and 'edited' or 'changed'
end
call('HSET', letter, 'entry', blob(a.after), 'ref', a.ref)
tried(letter, 'tried', 'edited by a person')
note(a.ref, short(a.id), 'e')
return 'edited'
