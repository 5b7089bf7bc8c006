-- Commits one outcome if what it answers still stands at the head of the lane. a: dir, ref, token, pairs {{id, revision}...}, owner
-- ('bot': only while the bot owns it; 'person': only while it does not; '': always), turns, history {turns, ttl}, out (items for
-- the outbound lane), record {field, value...}, record_ttl, records (ids to write), dead {reason, ttl, tried (the attempt that
-- ended it, or '')} or nil, note (what the trace is told, or ''), hand (see `hand_on`, or nil). Either way a lease under that token
-- ends. Returns committed, gone, changed or owned.

local queue, state = lane(a.dir, a.ref), lease(a.dir, a.ref)
local n = #a.pairs
local entries = n > 0 and call('LRANGE', queue, 0, n - 1) or {}
local held = call('HMGET', state, 't', 'a', 'q', 'w')
local ours = held[1] == a.token

local function verdict()
  local owned = call('EXISTS', P .. 'o:' .. a.ref) == 1
  if (a.owner == 'bot' and owned) or (a.owner == 'person' and not owned) then
    return 'owned'
  end
  for position, pair in ipairs(a.pairs) do
    local head = entries[position] and header(entries[position])
    if not head or head.id ~= pair[1] then
      return 'gone'
    end
    if head.revision ~= pair[2] then
      return 'changed'
    end
  end
end

local refused = verdict()
if ours then
  unlease(a.dir, a.ref)
end
if refused then
  if ours then
    put(a.dir, a.ref)
  end
  return refused
end

if n > 0 then
  local place = not ours and lift(a.dir, a.ref)
  call('LTRIM', queue, n, -1)
  count(a.dir, a.ref, -n)
  call('HDEL', state, 'a', 'p', 'i', 'j', 'd', 'w')
  put_back(a.dir, a.ref, place, ours and tonumber(held[3]) or nil)
elseif ours then
  put(a.dir, a.ref)
end

remember_turns(a.ref, a.turns, a.history)
if a.owner == 'bot' and #a.out > 0 then
  for window, life in pairs({ ['b:'] = MINUTE, ['y:'] = 60 * MINUTE }) do
    if call('INCR', P .. window .. a.ref) == 1 then
      call('PEXPIRE', P .. window .. a.ref, life)
    end
  end
end
local beside = a.owner == 'person' and not is_bridged(a.ref)
for _, item in ipairs(a.out) do
  if not (item.ref and beside) then
    post(a.ref, item)
  end
end
if a.hand then
  hand_on(a.hand)
end

for position, id in ipairs(#a.record > 0 and a.records or {}) do
  local record = P .. 'm:' .. id
  if a.dir == 'in' then
    if position == 1 then
      call('HSET', record, unpack(a.record))
      belongs(a.ref, id, a.record_ttl)
    else
      call('HSET', record, 'see', a.records[1])
    end
    call('PEXPIRE', record, a.record_ttl)
  elseif call('EXISTS', record) == 1 and call('HEXISTS', record, 'see') == 0 then
    call('HSET', record, unpack(a.record))
  end
end

local named = {}
for position, raw in ipairs(entries) do
  local head = header(raw)
  named[position] = short(head.id) .. (a.dir == 'in' and ':' .. base36(math.max(0, now - head.received)) or '')
end
if a.note ~= '' and n > 0 then
  note(a.ref, table.concat(named, ','), a.note)
end

if a.dead then
  local attempts, past = tonumber(held[2] or 0), held[4] or ''
  if a.dead.tried ~= '' then
    attempts, past = attempts + 1, past .. now .. ' ' .. one_line(a.dead.tried) .. '\n'
  end
  for position, raw in ipairs(entries) do
    local fields = { 'reason', a.dead.reason, 'at', now, 'direction', a.dir, 'ref', a.ref, 'attempts', attempts, 'entry', raw }
    if past ~= '' then
      fields[#fields + 1] = 'tried'
      fields[#fields + 1] = past
    end
    bury(a.pairs[position][1], fields, a.dead.ttl)
    belongs(a.ref, a.pairs[position][1], a.dead.ttl)
  end
  if n > 0 then
    note(a.ref, table.concat(named, ','), 'd ' .. one_line(a.dead.reason) .. ' (' .. a.dir .. 'bound)')
  end
end
return 'committed'
