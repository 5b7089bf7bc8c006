-- Returns lanes whose lease ran out, and lists what needs an outcome now. a: dir, attempts (limit), limit, take (0 for all).
-- Returns {requeued, {reason, ref, attempts, owner, entries}...} with reason expired or exhausted.

promote(a.dir)

local found = {}
local requeued = 0

local function report(reason, ref, attempts)
  local entries = call('LRANGE', lane(a.dir, ref), 0, a.take - 1)
  if reason == 'expired' then
    local late = {}
    for _, raw in ipairs(entries) do
      if header(raw).deadline > now then
        break
      end
      late[#late + 1] = raw
    end
    entries = late
  end
  if #entries > 0 then
    found[#found + 1] = { reason, ref, attempts, call('GET', P .. 'o:' .. ref) or 'bot', entries }
  end
end

for _, ref in ipairs(call('ZRANGEBYSCORE', key(a.dir, 'leased'), 0, now, 'LIMIT', 0, a.limit)) do
  local state = lease(a.dir, ref)
  if tonumber(call('HGET', state, 'x') or 0) <= now then
    unlease(a.dir, ref)
    local attempts = 0
    if call('EXISTS', lane(a.dir, ref)) == 1 then
      attempts = call('HINCRBY', state, 'a', 1)
      requeued = requeued + 1
    end
    put(a.dir, ref, nil, attempts >= a.attempts and 0 or nil)
  else
    report('expired', ref, tonumber(call('HGET', state, 'a') or 0))
  end
end

for _, tenant in ipairs(call('LRANGE', key(a.dir, 'ring'), 0, -1)) do
  local ready = key(a.dir, 'ready:' .. tenant)
  for _, ref in ipairs(call('ZRANGEBYSCORE', ready, 0, now, 'LIMIT', 0, a.limit)) do
    local attempts = tonumber(call('HGET', lease(a.dir, ref), 'a') or 0)
    report(attempts >= a.attempts and 'exhausted' or 'expired', ref, attempts)
    if #found >= a.limit then
      return { requeued, found }
    end
  end
end
return { requeued, found }
