-- Leases up to a.items ready lanes within a.tokens, tenants in turn (deficit round robin, Shreedhar and Varghese 1996), inside a
-- tenant by earliest deadline. a: dir, items, tokens, take (entries per lane, 0 for all), quantum, lease, nonce, attempts (limit),
-- alone (a lane on its last attempt is taken alone, by an empty worker), empty (the worker holds nothing).
-- Returns {now, next due time or 0, suspects left behind, {ref, token, attempts, owner, intent, history, entries}...}.

promote(a.dir)

local picked = {}
local tokens = 0
local suspects = 0
local done = false

local function cost_of(entries)
  local cost = 0
  for _, raw in ipairs(entries) do
    cost = cost + header(raw).cost
  end
  return cost
end

local function take(ref, attempts, entries)
  local token = call('INCR', P .. 'fence') .. ':' .. a.nonce
  local ends = now + a.lease
  unready(a.dir, ref)
  call('HSET', lease(a.dir, ref), 't', token, 'x', ends, 'c', now)
  local deadline = header(entries[1]).deadline
  call('ZADD', key(a.dir, 'leased'), deadline > now and math.min(ends, deadline) or ends, ref)
  local owner = call('GET', P .. 'o:' .. ref) or 'bot'
  local intent = call('HGET', lease(a.dir, ref), 'i') or ''
  local history = a.dir == 'in' and call('LRANGE', P .. 'h:' .. ref, 0, -1) or {}
  picked[#picked + 1] = { ref, token, attempts, owner, intent, history, entries }
end

-- One turn of one tenant: lanes while its deficit lasts.
local function serve(tenant)
  local ready = key(a.dir, 'ready:' .. tenant)
  local deficit = call('HINCRBY', key(a.dir, 'deficit'), tenant, a.quantum)
  local skipped = 0
  while not done do
    local ref = call('ZRANGE', ready, skipped, skipped)[1]
    if not ref then
      break
    end
    local attempts = tonumber(call('HGET', lease(a.dir, ref), 'a') or 0)
    local last = a.alone and attempts > 0 and attempts >= a.attempts - 1
    if attempts >= a.attempts or (last and (#picked > 0 or not a.empty)) then
      skipped = skipped + 1
      if attempts < a.attempts then
        suspects = 1
      end
    else
      local entries = call('LRANGE', lane(a.dir, ref), 0, a.take - 1)
      local cost = cost_of(entries)
      if #picked > 0 and tokens + cost > a.tokens then
        done = true
        break
      end
      if cost > deficit then
        break
      end
      take(ref, attempts, entries)
      tokens = tokens + cost
      deficit = deficit - cost
      done = last or #picked >= a.items or tokens >= a.tokens
    end
  end
  local left = call('ZCARD', ready)
  if left > 0 then
    call('HSET', key(a.dir, 'deficit'), tenant, math.min(deficit, a.quantum + a.tokens))
  end
  return left > skipped
end

-- Turns of tenants until the claim is full or a whole round finds nothing that may be taken.
local barren = 0
while not done and barren < call('LLEN', key(a.dir, 'ring')) do
  local tenant = call('LINDEX', key(a.dir, 'ring'), 0)
  if serve(tenant) then
    barren = 0
  else
    barren = barren + 1
  end
  if call('LINDEX', key(a.dir, 'ring'), 0) == tenant then
    call('RPUSH', key(a.dir, 'ring'), call('LPOP', key(a.dir, 'ring')))
  end
end

if #picked == 0 then
  call('DEL', key(a.dir, 'bell'))
end
local due = call('ZRANGE', key(a.dir, 'due'), 0, 0, 'WITHSCORES')[2]
return { now, tonumber(due or 0), suspects, picked }
