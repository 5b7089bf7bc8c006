-- What every script of the lanes shares; prepended to each. KEYS[1] is the prefix of the shard, ARGV[1] the arguments in MessagePack.
-- Redis 6.2 unpacks no binary strings, so opaque bytes follow as further ARGV, and the arguments hold their positions: see `blob`.
-- A lane is in exactly one place: nowhere (empty), ready, due, or leased; a ready one that failed too often is aside, as a `suspect`
-- (on its last attempt) or `spent` (none left). `lift` takes it out of ready or due, `put` sets it down again.
-- No move touches more than one batch of lanes, however many wait. The legend of the keys is in engine/keys.py.
-- Time is Redis's own, in milliseconds. A script that raises half-way is not rolled back: check before the first write.

local P = KEYS[1]
local a = cmsgpack.unpack(ARGV[1])
local call = redis.call

local BELLS = 64
-- In ms; replies of one conversation are counted over it.
local MINUTE = 60000
local DEAD_LETTERS = 10000
-- Lanes one claim or sweep moves from due to ready: twice a large batch, well under a millisecond.
local PROMOTED = 64
-- Records and dead letters of one conversation that can be forgotten with it.
local FORGETTABLE = 1000
-- Expired dead letters one burial takes out of the index.
local UNINDEXED = 16
-- Failed attempts that a lane remembers, and characters of the reason for each.
local TRIED = 20
local REASON = 200
-- Bytes of a trace: a small one is rewritten, which costs no spare room, a longer one appended to, and the longest loses its older half.
local TRACE_SMALL = 400
local TRACE_MOST = 16384

local function blob(position)
  return ARGV[position]
end

local function now_ms()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local now = now_ms()

local function key(dir, name)
  return P .. dir .. ':' .. name
end

local function lane(dir, ref)
  return P .. dir .. ':q:' .. ref
end

local function lease(dir, ref)
  return P .. dir .. ':l:' .. ref
end

local function tenant_of(ref)
  return string.match(ref, '^[^.]+')
end

-- The id under which a logical id was first taken (nil: its own) and its lane; nothing for one that is not known.
local function known(digest)
  local value = call('GET', P .. 'd:' .. digest)
  if value then
    return string.match(value, '^(%S+) '), string.match(value, '(%S+)$')
  end
end

-- An entry is "id revision received_at deadline cost\nbody".
local function entry(id, revision, received, deadline, cost, body)
  return id .. ' ' .. revision .. ' ' .. received .. ' ' .. deadline .. ' ' .. cost .. '\n' .. body
end

local function header(raw)
  local id, revision, received, deadline, cost = string.match(raw, '^(%S+) (%d+) (%d+) (%d+) (%d+)\n')
  return {
    id = id,
    revision = tonumber(revision),
    received = tonumber(received),
    deadline = tonumber(deadline),
    cost = tonumber(cost),
  }
end

local function head_of(dir, ref)
  local first = call('LINDEX', lane(dir, ref), 0)
  return first and header(first)
end

local function base36(number)
  local text = ''
  repeat
    local digit = number % 36
    text = string.char(digit + (digit < 10 and 48 or 87)) .. text
    number = (number - digit) / 36
  until number == 0
  return text
end

-- One line of text: a reason, as it is kept.
local function one_line(text)
  return string.sub(string.gsub(text, '%s+', ' '), 1, REASON)
end

-- Half of a conversation's digest, 65 bits, names its trace: there are many of them.
local function trace_of(ref)
  return P .. 't:' .. string.sub(string.match(ref, '[^.]+$'), 1, 13)
end

-- How a trace names a message or a delivery of it: the first characters of its digest, unique within a conversation.
local function short(id)
  return string.match(id, '(%w%w%w%w%w%w%w)%w%w%w+%-%d') or string.match(id, '^%S+')
end

-- The event of a failed attempt: of a delivery with its part, where that is not the first.
local function failed_as(dir, id)
  local part = tonumber(string.match(id, '%-(%d+)$') or 0)
  return dir == 'in' and 'f' or (part > 0 and 'tK' .. base36(part) or 't')
end

-- Adds an event to the trace of a conversation: `time ids what`, see engine/trace.py. Lines past their time go with the next event.
local function note(ref, ids, what)
  local ttl = a.trace or 0
  if ttl == 0 then
    return
  end
  local kept = trace_of(ref)
  local line = base36(now) .. ' ' .. ids .. ' ' .. what .. '\n'
  local lines = call('GETRANGE', kept, 0, TRACE_SMALL)
  local function late(from)
    return (tonumber(string.match(lines, '^%w+', from) or '', 36) or 0) < now - ttl
  end
  local from = 1
  if #lines > TRACE_SMALL then
    local size = call('STRLEN', kept)
    if size < TRACE_MOST and not late(1) then
      call('APPEND', kept, line)
      call('PEXPIRE', kept, ttl)
      return
    end
    lines = call('GET', kept)
    from = size < TRACE_MOST and 1 or (string.find(lines, '\n', size / 2, true) + 1)
  end
  while from <= #lines and late(from) do
    from = string.find(lines, '\n', from, true) + 1
  end
  call('SET', kept, string.sub(lines, from) .. line, 'PX', ttl)
end

local function ring_bell(dir)
  local bell = key(dir, 'bell')
  if call('LLEN', bell) < BELLS then
    call('RPUSH', bell, 1)
  end
end

local function count(dir, ref, n)
  call('HINCRBY', key(dir, 'stats'), 'messages', n)
  if call('HINCRBY', key(dir, 'tenants'), tenant_of(ref), n) <= 0 then
    call('HDEL', key(dir, 'tenants'), tenant_of(ref))
  end
end

-- Tenants are served by the tokens they have taken, least first (start-time fair queueing, Goyal, Vin and Cheng 1996: deficit round
-- robin without rounds, so that a claim costs the same however many tenants stand in the ring). Who comes in starts at the clock,
-- which is what the tenant served last had taken, or where it left if that is ahead.
local function join_ring(dir, tenant)
  local clock = tonumber(call('HGET', key(dir, 'stats'), 'clock') or 0)
  local taken = tonumber(call('ZSCORE', key(dir, 'paid'), tenant) or 0)
  call('ZREM', key(dir, 'paid'), tenant)
  call('ZADD', key(dir, 'ring'), math.max(clock, taken), tenant)
end

local function leave_ring(dir, tenant)
  local taken = call('ZSCORE', key(dir, 'ring'), tenant)
  call('ZREM', key(dir, 'ring'), tenant)
  call('ZREM', key(dir, 'soonest'), tenant)
  if call('EXISTS', key(dir, 'ring')) == 1 then
    call('ZADD', key(dir, 'paid'), taken, tenant)
  else
    call('UNLINK', key(dir, 'paid'))
    call('HDEL', key(dir, 'stats'), 'clock')
  end
end

local function unready(dir, ref)
  local tenant = tenant_of(ref)
  local ready = key(dir, 'ready:' .. tenant)
  if call('ZREM', ready, ref) == 1 and call('EXISTS', ready) == 0 then
    leave_ring(dir, tenant)
  end
end

local function mark_ready(dir, ref, head)
  local tenant = tenant_of(ref)
  local ready = key(dir, 'ready:' .. tenant)
  if call('EXISTS', ready) == 0 then
    join_ring(dir, tenant)
  end
  call('ZADD', ready, head.deadline, ref)
  call('ZADD', key(dir, 'soonest'), 'LT', head.deadline, tenant)
  ring_bell(dir)
end

-- Takes a lane out of ready or due. Returns the place and, for due, its time. A leased lane stays where it is.
local function lift(dir, ref)
  local state = call('HMGET', lease(dir, ref), 't', 'p')
  if state[1] then
    return 'leased'
  end
  local due = call('ZSCORE', key(dir, 'due'), ref)
  if due then
    call('ZREM', key(dir, 'due'), ref)
    call('HINCRBY', key(dir, 'stats'), 'deferred', -call('LLEN', lane(dir, ref)))
    return 'due', tonumber(due)
  end
  if state[2] then
    call('ZREM', key(dir, state[2]), ref)
  else
    unready(dir, ref)
  end
  return 'ready'
end

-- Sets a lane down that is in no place: forgotten if empty, due if `due` is ahead (never past the head's deadline), else ready or aside.
local function put(dir, ref, due)
  local head = head_of(dir, ref)
  if not head then
    call('ZREM', key(dir, 'heads'), ref)
    call('DEL', lease(dir, ref))
    return
  end
  if due and math.min(due, head.deadline) > now then
    call('ZADD', key(dir, 'due'), math.min(due, head.deadline), ref)
    call('HINCRBY', key(dir, 'stats'), 'deferred', call('LLEN', lane(dir, ref)))
    call('ZREM', key(dir, 'heads'), ref)
    if call('ZRANK', key(dir, 'due'), ref) == 0 then
      ring_bell(dir) -- A worker that waits for a later time must learn of this one.
    end
    return
  end
  call('ZADD', key(dir, 'heads'), head.received, ref)
  local aside = call('HGET', lease(dir, ref), 'p')
  if aside then
    call('ZADD', key(dir, aside), head.deadline, ref)
    ring_bell(dir)
  else
    mark_ready(dir, ref, head)
  end
end

-- After the content of a lane changed: a leased one keeps its lease, any other is set down again.
local function put_back(dir, ref, place, due)
  if place ~= 'leased' then
    return put(dir, ref, due)
  end
  local head = head_of(dir, ref)
  if head then
    call('ZADD', key(dir, 'heads'), head.received, ref)
  else
    call('ZREM', key(dir, 'heads'), ref)
  end
end

-- A leased inbound lane needs attention when its lease ends or its head is due, a delivery that may be on its way only at the former.
local function hold(dir, ref, ends, head)
  call('ZADD', key(dir, 'leased'), dir == 'in' and head and math.min(ends, head.deadline) or ends, ref)
end

-- Ends a lease; the lane is in no place then.
local function unlease(dir, ref)
  call('ZREM', key(dir, 'leased'), ref)
  call('HDEL', lease(dir, ref), 't', 'x', 'q', 'f')
end

-- Remembers why an attempt failed, `time reason` a line, for the dead letter that may come of it.
local function tried(kept, field, reason)
  local lines = (call('HGET', kept, field) or '') .. now .. ' ' .. one_line(reason) .. '\n'
  local _, count = string.gsub(lines, '\n', '')
  if count > TRIED then
    lines = string.sub(lines, string.find(lines, '\n', 1, true) + 1)
  end
  call('HSET', kept, field, lines)
end

-- Counts a failed attempt of a lane that is in no place; says whether any is left.
local function fail(dir, ref)
  local failed = call('HINCRBY', lease(dir, ref), 'a', 1)
  if failed >= a.attempts then
    call('HSET', lease(dir, ref), 'p', 'spent')
  elseif a.alone and failed >= a.attempts - 1 then
    call('HSET', lease(dir, ref), 'p', 'suspect')
  end
  return failed < a.attempts
end

local function promote(dir)
  for _, ref in ipairs(call('ZRANGEBYSCORE', key(dir, 'due'), 0, now, 'LIMIT', 0, PROMOTED)) do
    lift(dir, ref)
    call('HDEL', lease(dir, ref), 'd')
    put(dir, ref)
  end
end

-- The end of the quiet period after one more fragment; `first` is when the turn began.
local function quiet_end(item, first)
  return math.min(now + item.quiet, first + item.quiet_max)
end

-- Appends one entry. A leased lane stays with its holder, a deferred or ready one where it is, unless a quiet period begins anew.
local function append(dir, ref, item)
  local queue, state = lane(dir, ref), lease(dir, ref)
  local length = call('RPUSH', queue, entry(item.id, item.revision or 0, now, now + item.deadline, item.cost, blob(item.body)))
  count(dir, ref, 1)
  local quiet = (item.quiet or 0) > 0
  if call('HEXISTS', state, 't') == 1 then
    if length == 1 then
      call('ZADD', key(dir, 'heads'), now, ref)
    end
    if quiet then
      local first = tonumber(call('HGET', state, 'f') or now)
      call('HSET', state, 'f', first, 'q', quiet_end(item, first))
    end
  elseif length == 1 then
    put(dir, ref, quiet and quiet_end(item, now) or nil)
  elseif quiet and call('EXISTS', state) == 0 then
    if lift(dir, ref) == 'due' then
      call('HINCRBY', key(dir, 'stats'), 'deferred', 1) -- The new entry, which `lift` took off too.
    end
    put(dir, ref, quiet_end(item, head_of(dir, ref).received))
  elseif call('ZSCORE', key(dir, 'due'), ref) then
    call('HINCRBY', key(dir, 'stats'), 'deferred', 1)
  end
end

-- Turns of the conversation, at positions of ARGV.
local function remember_turns(ref, turns, history)
  if #turns == 0 or history.turns == 0 then
    return
  end
  local kept = P .. 'h:' .. ref
  for _, turn in ipairs(turns) do
    call('RPUSH', kept, blob(turn))
  end
  call('LTRIM', kept, -history.turns, -1)
  call('PEXPIRE', kept, history.ttl)
end

-- Takes one entry that will not be answered out of an inbound lane.
local function drop(ref, raw, id, ttl)
  local place, due = lift('in', ref)
  call('LREM', lane('in', ref), 1, raw)
  count('in', ref, -1)
  put_back('in', ref, place, due)
  local record = P .. 'm:' .. id
  note(ref, short(id), 'x')
  call('HSET', record, 'state', 'cancelled', 'received_at', header(raw).received)
  call('PEXPIRE', record, ttl)
end

-- Makes each waiting message a new revision, so that no answer to it that is being made can be committed.
local function revise(ref)
  local queue = lane('in', ref)
  for position, raw in ipairs(call('LRANGE', queue, 0, -1)) do
    local head = header(raw)
    local body = string.sub(raw, string.find(raw, '\n', 1, true) + 1)
    call('LSET', queue, position - 1, entry(head.id, head.revision + 1, head.received, head.deadline, head.cost, body))
  end
end

-- Sets who answers. No answer that is being made can be committed after a change, not even after a change back. Waiting messages stay
-- in the lane: whoever claims them moves them to history. Who waits for a person goes on waiting since when it began.
local function set_owner(hand, before)
  local kept, about = P .. 'o:' .. hand.ref, P .. 'g:' .. hand.ref
  local changed = before ~= hand.owner
  if changed then
    revise(hand.ref)
    note(hand.ref, '-', 'o' .. hand.owner .. ' ' .. hand.reason)
  end
  if hand.owner == 'bot' then
    call('DEL', kept, about)
    call('ZREM', P .. 'handed', hand.ref)
    return
  end
  call('SET', kept, hand.owner, 'PX', hand.ttl)
  if changed then
    local fields = { 'address', blob(hand.address), 'reason', hand.reason, 'since', now, 'calls', 0, 'language', hand.language or '' }
    call('HSET', about, 'bridged', hand.bridged and 1 or 0, unpack(fields))
  end
  call('PEXPIRE', about, hand.ttl)
  if hand.watch == 0 then
    call('ZREM', P .. 'handed', hand.ref)
  elseif changed or hand.owner == 'human' then
    call('ZADD', P .. 'handed', now + hand.watch, hand.ref)
  end
end

-- Puts a delivery on the lane it belongs to: what goes to the people behind the bridge has a lane of its own, in the same shard.
local function post(ref, item)
  append('out', item.ref or ref, item)
end

local function is_bridged(ref)
  return call('HGET', P .. 'g:' .. ref, 'bridged') == '1'
end

-- Moves a conversation to another owner, unless the one it has is not in `from`; then nothing is said either. hand: ref, owner, from,
-- reason, address, bridged, language of the user or '', ttl of the owner, watch (ms until it is looked at, or 0), out (items).
-- Returns the owner before.
local function hand_on(hand)
  local before = call('GET', P .. 'o:' .. hand.ref) or 'bot'
  if string.find(hand.from, before, 1, true) then
    local bridged = hand.bridged or is_bridged(hand.ref)
    set_owner(hand, before)
    for _, item in ipairs(hand.out) do
      if bridged or not item.ref then
        post(hand.ref, item)
      end
    end
  end
  return before
end

-- Recognises a repeat: the id under which the first of some logical ids was taken, or nil. All of them are known from then on.
local function repeated(digests, suffix, ttl)
  for _, digest in ipairs(digests) do
    local first, ref = known(digest)
    if ref then
      first = first or (digest .. suffix)
      for _, other in ipairs(digests) do
        call('SET', P .. 'd:' .. other, first .. ' ' .. ref, 'NX', 'PX', ttl)
      end
      return first
    end
  end
end

-- Repeats of one message in a row are one line with their number: whoever repeats a thousand times pushes nothing else out.
local function note_repeat(ref, id)
  local kept = trace_of(ref)
  local last = call('GETRANGE', kept, -40, -1)
  local tail, count = string.match(last, '\n?(%w+ ' .. short(id) .. ' n(%d+)\n)$')
  if (a.trace or 0) > 0 and tail then
    local longer = base36(now) .. ' ' .. short(id) .. ' n' .. (count + 1) .. '\n'
    call('SETRANGE', kept, call('STRLEN', kept) - #tail, longer)
    call('PEXPIRE', kept, a.trace)
  else
    note(ref, short(id), 'n1')
  end
end

-- A conversation that is full says so once a minute.
local function note_full(ref)
  local last = call('GETRANGE', trace_of(ref), -13, -1)
  local at = string.match(last, '\n?(%w+) %- u\n$')
  if not at or tonumber(at, 36) < now - MINUTE then
    note(ref, '-', 'u')
  end
end

local function remember_ids(digests, id, ref, ttl)
  for position, digest in ipairs(digests) do
    call('SET', P .. 'd:' .. digest, position > 1 and (id .. ' ' .. ref) or ref, 'NX', 'PX', ttl)
  end
end

-- Lets what is kept under an id for `ttl` be forgotten with its conversation.
local function belongs(ref, id, ttl)
  local kept = P .. 'r:' .. ref
  call('ZADD', kept, 'GT', now + ttl, id)
  call('ZREMRANGEBYSCORE', kept, 0, now)
  call('ZREMRANGEBYRANK', kept, 0, -FORGETTABLE - 1)
  call('PEXPIRE', kept, math.max(ttl, call('PTTL', kept)))
end

-- Beyond DEAD_LETTERS the oldest go: a flood of them must not fill the memory that messages need.
local function bury(id, fields, ttl)
  call('ZADD', P .. 'dead', now, id)
  for _, old in ipairs(call('ZRANGEBYSCORE', P .. 'dead', 0, now - ttl, 'LIMIT', 0, UNINDEXED)) do
    call('ZREM', P .. 'dead', old)
  end
  if call('ZCARD', P .. 'dead') > DEAD_LETTERS then
    call('DEL', P .. 'dead:' .. call('ZPOPMIN', P .. 'dead')[1])
  end
  call('HSET', P .. 'dead:' .. id, 'place', call('INCR', P .. 'fence'), unpack(fields))
  call('PEXPIRE', P .. 'dead:' .. id, ttl)
end
