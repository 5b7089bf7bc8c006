-- Takes one message. a: dir, ref, digests (of all its logical ids), suffix of ids, dedupe_ttl, item {id, cost, deadline, body, quiet,
-- quiet_max}, lane_messages, lane_bytes, tenant_messages, turn and history {turns, ttl} for a conversation a person owns, notice (an
-- item), sent once in `notice_every` when the lane is full, pause {turns, notice} or nil: beyond so many replies within a minute
-- there is no further one, record_ttl, tell (an item or nil), sent once in `notice_every` beside what waits, person (a hand, see
-- `hand_on`, or nil): the conversation goes to a person at once, relay (an item or nil): the same for the people behind the bridge.
-- Returns {verdict, id}: accepted, repeat, cancelled, owned, paused, full (the lane), crowded (the tenant).

local first = repeated(a.digests, a.suffix, a.dedupe_ttl)
if first then
  note_repeat(a.ref, first)
  return { 'repeat', first }
end

local function remember()
  remember_ids(a.digests, a.item.id, a.ref, a.dedupe_ttl)
end

local function full()
  local queue = lane(a.dir, a.ref)
  local length = call('LLEN', queue)
  if length == 0 or length >= a.lane_messages then
    return length > 0
  end
  local bytes = #blob(a.item.body)
  for _, raw in ipairs(call('LRANGE', queue, 0, -1)) do
    bytes = bytes + #raw
  end
  return bytes > a.lane_bytes
end

for _, digest in ipairs(a.digests) do
  local tombstone = call('GET', P .. 'x:' .. digest)
  if tombstone == '' then
    remember()
    note(a.ref, short(a.item.id), 'x')
    return { 'cancelled', a.item.id }
  elseif tombstone then
    local ref, cost, size, rest = string.match(tombstone, '^(%S+) (%d+) (%d+)\n(.*)$')
    if ref == a.ref then
      a.item.cost = tonumber(cost)
      ARGV[a.turn] = string.sub(rest, 1, tonumber(size))
      ARGV[a.item.body] = string.sub(rest, tonumber(size) + 1)
    end
  end
end

local owner = P .. 'o:' .. a.ref

-- A person has the conversation.
local function owned()
  remember()
  note(a.ref, short(a.item.id), 'h')
  if call('GET', owner) == 'human' then
    call('PEXPIRE', owner, math.max(a.history.ttl, call('PTTL', owner)))
    call('PEXPIRE', P .. 'g:' .. a.ref, math.max(a.history.ttl, call('PTTL', owner)))
  end
  local before = call('LLEN', lane(a.dir, a.ref))
  if before > 0 and before < a.lane_messages then
    -- What came before it has not gone to history yet: whoever claims that takes this along.
    a.item.quiet = 0
    append(a.dir, a.ref, a.item)
    return { 'owned', a.item.id }
  end
  remember_turns(a.ref, { a.turn }, a.history)
  if a.relay and is_bridged(a.ref) then
    post(a.ref, a.relay)
  end
  return { 'owned', a.item.id }
end

if call('EXISTS', owner) == 1 then
  return owned()
end

local function settle(state)
  local record = P .. 'm:' .. a.item.id
  call('HSET', record, 'state', state, 'received_at', now)
  call('PEXPIRE', record, a.record_ttl)
end

-- Two bots that answer each other stop here, however slow they are; `hourly` is missing where an older version asks.
local function spent(window, most)
  return most and most > 0 and tonumber(call('GET', P .. window .. a.ref) or 0) >= most
end

if a.pause and (spent('b:', a.pause.turns) or spent('y:', a.pause.hourly)) then
  remember()
  remember_turns(a.ref, { a.turn }, a.history)
  note(a.ref, short(a.item.id), 'q')
  settle('paused')
  local over = call('PTTL', P .. (spent('y:', a.pause.hourly) and 'y:' or 'b:') .. a.ref)
  if call('SET', P .. 'p:' .. a.ref, 1, 'NX', 'PX', math.max(1, over)) then
    append('out', a.ref, a.pause.notice)
  end
  return { 'paused', a.item.id }
end

-- So much waits that a person is the faster way.
if a.person then
  hand_on(a.person)
  settle('handed-over')
  return owned()
end

local waiting = tonumber(call('HGET', key(a.dir, 'tenants'), tenant_of(a.ref)) or 0)
if waiting >= a.tenant_messages then
  note_full(a.ref)
  return { 'crowded', a.item.id }
end
if full() then
  note_full(a.ref)
  if call('SET', P .. 'n:' .. a.ref, 1, 'NX', 'PX', a.notice_every) then
    append('out', a.ref, a.notice)
  end
  return { 'full', a.item.id }
end

remember()
append(a.dir, a.ref, a.item)
if a.tell and call('SET', P .. 'w:' .. a.ref, 1, 'NX', 'PX', a.notice_every) then
  append('out', a.ref, a.tell)
end
return { 'accepted', a.item.id }
