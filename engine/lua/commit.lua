-- Commits one outcome if what it answers still stands at the head of the lane. a: dir, ref, token, pairs {{id, revision}...},
-- owner ('bot': only while the bot owns it; 'person': only while it does not; '': always), turns, history {turns, ttl},
-- out (items for the outbound lane), record {field, value...}, record_ttl, records (ids to write), dead {reason, ttl} or nil.
-- Returns committed, gone, changed or owned.

local queue = lane(a.dir, a.ref)
local n = #a.pairs
local entries = call('LRANGE', queue, 0, n - 1)
for position, pair in ipairs(a.pairs) do
  local head = entries[position] and header(entries[position])
  if not head or head.id ~= pair[1] then
    return 'gone'
  end
  if head.revision ~= pair[2] then
    return 'changed'
  end
end
local owned = call('EXISTS', P .. 'o:' .. a.ref) == 1
if (a.owner == 'bot' and owned) or (a.owner == 'person' and not owned) then
  return 'owned'
end

local attempts = tonumber(call('HGET', lease(a.dir, a.ref), 'a') or 0)
if call('HGET', lease(a.dir, a.ref), 't') == a.token then
  unlease(a.dir, a.ref)
  unready(a.dir, a.ref)
end
local place, due = lift(a.dir, a.ref)
call('LTRIM', queue, n, -1)
count(a.dir, a.ref, -n)
call('HDEL', lease(a.dir, a.ref), 'a', 'i', 'd')
put_back(a.dir, a.ref, place, nil)

if #a.turns > 0 and a.history.turns > 0 then
  for _, turn in ipairs(a.turns) do
    call('RPUSH', P .. 'h:' .. a.ref, blob(turn))
  end
  call('LTRIM', P .. 'h:' .. a.ref, -a.history.turns, -1)
  call('PEXPIRE', P .. 'h:' .. a.ref, a.history.ttl)
end
for _, item in ipairs(a.out) do
  append('out', a.ref, item, 0, 0)
end

for position, id in ipairs(a.records) do
  local record = P .. 'm:' .. id
  if a.dir == 'in' then
    if position == 1 then
      call('HSET', record, unpack(a.record))
    else
      call('HSET', record, 'see', a.records[1])
    end
    call('PEXPIRE', record, a.record_ttl)
  elseif call('EXISTS', record) == 1 then
    call('HSET', record, unpack(a.record))
  end
end

if a.dead then
  for position, raw in ipairs(entries) do
    local id = a.pairs[position][1]
    bury(id, { 'reason', a.dead.reason, 'at', now, 'direction', a.dir, 'ref', a.ref, 'attempts', attempts, 'entry', raw }, a.dead.ttl)
  end
end
return 'committed'
