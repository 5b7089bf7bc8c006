-- Leases up to a.items ready lanes within a.tokens: the tenant that has taken the fewest tokens first, inside a tenant the earliest
-- deadline; the first lane whatever it costs. A lane on its last attempt is handed out alone, to a worker that holds nothing, in turns
-- with the others. a: dir, items, tokens, take (entries per lane, 0 for all), lease, nonce, alone (there are such lanes), empty (the
-- worker holds nothing).
-- Returns {now, next due time or 0, suspects left behind, {ref, token, attempts, owner, intent, history, entries}...}.

promote(a.dir)

local picked = {}
local tokens = 0

local function waiting_entries(ref)
  local entries = call('LRANGE', lane(a.dir, ref), 0, a.take - 1)
  local cost = 0
  for _, raw in ipairs(entries) do
    cost = cost + header(raw).cost
  end
  return entries, cost
end

local function take(ref, entries)
  local state = lease(a.dir, ref)
  local token = call('INCR', P .. 'fence') .. ':' .. a.nonce
  local before = call('HMGET', state, 'a', 'i')
  call('HSET', state, 't', token, 'x', now + a.lease)
  hold(a.dir, ref, now + a.lease, header(entries[1]))
  local owner = call('GET', P .. 'o:' .. ref) or 'bot'
  local history = a.dir == 'in' and call('LRANGE', P .. 'h:' .. ref, 0, -1) or {}
  picked[#picked + 1] = { ref, token, tonumber(before[1] or 0), owner, before[2] or '', history, entries }
end

-- `rest` in the figures: it is the turn of the other lanes.
local function take_suspect()
  local stats, suspects = key(a.dir, 'stats'), key(a.dir, 'suspect')
  local ref = a.items > 0 and call('ZRANGE', suspects, 0, 0)[1]
  if not ref then
    return
  end
  local rest = call('HDEL', stats, 'rest') == 1 and call('EXISTS', key(a.dir, 'ring')) == 1
  if not rest then
    call('ZREM', suspects, ref)
    take(ref, (waiting_entries(ref)))
    if call('EXISTS', suspects) == 1 then
      call('HSET', stats, 'rest', 1)
    end
  end
end

local function take_ready()
  local ring = key(a.dir, 'ring')
  local clock
  while #picked < a.items and (#picked == 0 or tokens < a.tokens) do
    local tenant, taken = unpack(call('ZRANGE', ring, 0, 0, 'WITHSCORES'))
    if not tenant then
      break
    end
    local ref = call('ZRANGE', key(a.dir, 'ready:' .. tenant), 0, 0)[1]
    local entries, cost = waiting_entries(ref)
    if #picked > 0 and tokens + cost > a.tokens then
      break
    end
    clock = taken
    call('ZINCRBY', ring, cost, tenant)
    unready(a.dir, ref)
    take(ref, entries)
    tokens = tokens + cost
  end
  if clock and call('EXISTS', ring) == 1 then
    call('HSET', key(a.dir, 'stats'), 'clock', clock)
    call('ZREMRANGEBYSCORE', key(a.dir, 'paid'), 0, clock)
  end
end

if a.alone and a.empty then
  take_suspect()
end
if #picked == 0 then
  take_ready()
end
if #picked == 0 then
  call('DEL', key(a.dir, 'bell'))
end
local due = call('ZRANGE', key(a.dir, 'due'), 0, 0, 'WITHSCORES')[2]
return { now, tonumber(due or 0), call('EXISTS', key(a.dir, 'suspect')), picked }
