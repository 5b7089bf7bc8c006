-- Lists conversations that people have, the next to be looked at first. a: due (only those due by now, or all), limit.
-- Returns {now, {ref, at, owner, {field, value...} of the hand-over}...}.

local found = {}
local upto = a.due and now or '+inf'
local due = call('ZRANGEBYSCORE', P .. 'handed', 0, upto, 'WITHSCORES', 'LIMIT', 0, a.limit)
for i = 1, #due, 2 do
  local ref = due[i]
  local owner = call('GET', P .. 'o:' .. ref)
  if owner then
    found[#found + 1] = { ref, tonumber(due[i + 1]), owner, call('HGETALL', P .. 'g:' .. ref) }
  else
    call('ZREM', P .. 'handed', ref)
    call('DEL', P .. 'g:' .. ref)
  end
end
return { now, found }
