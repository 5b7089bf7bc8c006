-- What every script of the lanes shares; prepended to each. KEYS[1] is the prefix of the shard, ARGV[1] the arguments in MessagePack.
-- Redis 6.2 unpacks no binary strings, so opaque bytes follow as further ARGV, and the arguments hold their positions: see `blob`.
-- A lane is in exactly one place: nowhere (empty), ready, due, or leased. `lift` takes it out of ready or due, `put` sets it down again.
-- The legend of the keys is in engine/keys.py. Time is Redis's own, in milliseconds.

local P = KEYS[1]
local a = cmsgpack.unpack(ARGV[1])
local call = redis.call

local BELLS = 64

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

local function ring_bell(dir)
  local bell = key(dir, 'bell')
  if call('LLEN', bell) < BELLS then
    call('RPUSH', bell, 1)
  end
end

local function count(dir, ref, n)
  if n == 0 then
    return
  end
  call('HINCRBY', key(dir, 'stats'), 'messages', n)
  if call('HINCRBY', key(dir, 'tenants'), tenant_of(ref), n) <= 0 then
    call('HDEL', key(dir, 'tenants'), tenant_of(ref))
  end
end

local function unready(dir, ref)
  local tenant = tenant_of(ref)
  local ready = key(dir, 'ready:' .. tenant)
  if call('ZREM', ready, ref) == 1 and call('EXISTS', ready) == 0 then
    call('LREM', key(dir, 'ring'), 0, tenant)
    call('HDEL', key(dir, 'deficit'), tenant)
  end
end

local function mark_ready(dir, ref, head, score)
  local tenant = tenant_of(ref)
  local ready = key(dir, 'ready:' .. tenant)
  if call('EXISTS', ready) == 0 then
    call('RPUSH', key(dir, 'ring'), tenant)
  end
  call('ZADD', ready, score or head.deadline, ref)
  call('ZADD', key(dir, 'heads'), head.received, ref)
  ring_bell(dir)
end

-- Takes a lane out of ready or due. Returns the place and, for due, its time. A leased lane stays where it is.
local function lift(dir, ref)
  local due = call('ZSCORE', key(dir, 'due'), ref)
  if due then
    call('ZREM', key(dir, 'due'), ref)
    call('HINCRBY', key(dir, 'stats'), 'deferred', -call('LLEN', lane(dir, ref)))
    return 'due', tonumber(due)
  end
  if call('ZSCORE', key(dir, 'leased'), ref) then
    return 'leased'
  end
  unready(dir, ref)
  return 'ready'
end

-- Sets a lane down that is in no place: forgotten if empty, due if `due` is ahead (never past the head's deadline), else ready.
local function put(dir, ref, due, score)
  local first = call('LINDEX', lane(dir, ref), 0)
  if not first then
    call('ZREM', key(dir, 'heads'), ref)
    call('DEL', lease(dir, ref))
    return
  end
  local head = header(first)
  if due and math.min(due, head.deadline) > now then
    call('ZADD', key(dir, 'due'), math.min(due, head.deadline), ref)
    call('HINCRBY', key(dir, 'stats'), 'deferred', call('LLEN', lane(dir, ref)))
    call('ZREM', key(dir, 'heads'), ref)
  else
    mark_ready(dir, ref, head, score)
  end
end

-- After the content of a lane changed: a leased one keeps its lease, any other is set down again.
local function put_back(dir, ref, place, due)
  if place ~= 'leased' then
    return put(dir, ref, due)
  end
  local first = call('LINDEX', lane(dir, ref), 0)
  if first then
    call('ZADD', key(dir, 'heads'), header(first).received, ref)
  else
    call('ZREM', key(dir, 'heads'), ref)
  end
end

local function unlease(dir, ref)
  call('ZREM', key(dir, 'leased'), ref)
  call('HDEL', lease(dir, ref), 't', 'x', 'c')
end

local function promote(dir)
  for _, ref in ipairs(call('ZRANGEBYSCORE', key(dir, 'due'), 0, now, 'LIMIT', 0, 256)) do
    lift(dir, ref)
    call('HDEL', lease(dir, ref), 'd')
    put(dir, ref)
  end
end

-- Appends one entry; the lane is made ready, or due after the quiet period, unless it is leased or deferred already.
local function append(dir, ref, item, quiet, quiet_max)
  local raw = entry(item.id, 0, now, now + item.deadline, item.cost, blob(item.body))
  local place, due = lift(dir, ref)
  call('RPUSH', lane(dir, ref), raw)
  count(dir, ref, 1)
  if quiet > 0 and call('EXISTS', lease(dir, ref)) == 0 then
    local first = header(call('LINDEX', lane(dir, ref), 0))
    due = math.min(now + quiet, first.received + quiet_max)
  end
  put_back(dir, ref, place, due)
end

local function bury(id, fields, ttl)
  call('ZADD', P .. 'dead', now, id)
  call('ZREMRANGEBYSCORE', P .. 'dead', 0, now - ttl)
  call('HSET', P .. 'dead:' .. id, unpack(fields))
  call('PEXPIRE', P .. 'dead:' .. id, ttl)
end
