-- Returns lanes whose lease ran out, and lists what needs an outcome now. a: dir, attempts (limit), alone, limit, take (0 for all).
-- Returns {requeued, {reason, ref, attempts, owner, entries}...} with reason expired (the entries past their deadline) or exhausted.

local LOST = 'the worker did not come back: its lease ran out'

promote(a.dir)

local found = {}
local requeued = 0

local function report(reason, ref)
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
    local attempts = tonumber(call('HGET', lease(a.dir, ref), 'a') or 0)
    found[#found + 1] = { reason, ref, attempts, call('GET', P .. 'o:' .. ref) or 'bot', entries }
  end
end

local function first_of(name, upto)
  return call('ZRANGEBYSCORE', key(a.dir, name), 0, upto, 'LIMIT', 0, a.limit - #found)
end

for _, ref in ipairs(first_of('leased', now)) do
  if tonumber(call('HGET', lease(a.dir, ref), 'x') or 0) <= now then
    unlease(a.dir, ref)
    local head = head_of(a.dir, ref)
    if head then
      tried(lease(a.dir, ref), 'w', LOST)
      note(ref, short(head.id), failed_as(a.dir, head.id) .. ' ' .. LOST)
      fail(a.dir, ref)
      requeued = requeued + 1
    end
    put(a.dir, ref)
  else
    report('expired', ref)
  end
end

for _, ref in ipairs(first_of('spent', '+inf')) do
  report('exhausted', ref)
end
for _, ref in ipairs(first_of('suspect', now)) do
  report('expired', ref)
end

-- `soonest` may name an earlier time than a tenant's first lane has by now; it is set right here.
for _, tenant in ipairs(first_of('soonest', now)) do
  local name = 'ready:' .. tenant
  for _, ref in ipairs(first_of(name, now)) do
    report('expired', ref)
  end
  call('ZADD', key(a.dir, 'soonest'), call('ZRANGE', key(a.dir, name), 0, 0, 'WITHSCORES')[2], tenant)
end
return { requeued, found }
