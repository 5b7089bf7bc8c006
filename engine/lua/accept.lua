-- Takes one message. a: dir, ref, digests (of all its logical ids), dedupe_ttl, item {id, cost, deadline, body}, quiet, quiet_max,
-- lane_messages, lane_bytes, tenant_messages, turn and history {turns, ttl} for a conversation a person owns, notice (an item) or nil.
-- Returns {verdict, id}: accepted, repeat, cancelled, owned, full.

for _, digest in ipairs(a.digests) do
  local known = call('GET', P .. 'd:' .. digest)
  if known then
    local first = string.match(known, '^(%S+) ') or (digest .. a.suffix)
    for _, other in ipairs(a.digests) do
      call('SET', P .. 'd:' .. other, first .. ' ' .. a.ref, 'NX', 'PX', a.dedupe_ttl)
    end
    return { 'repeat', first }
  end
end

local function remember()
  for position, digest in ipairs(a.digests) do
    local value = a.ref
    if position > 1 then
      value = a.item.id .. ' ' .. a.ref
    end
    call('SET', P .. 'd:' .. digest, value, 'PX', a.dedupe_ttl)
  end
end

local function full()
  local queue = lane(a.dir, a.ref)
  local length = call('LLEN', queue)
  if length >= a.lane_messages then
    return true
  end
  local bytes = #blob(a.item.body)
  if length > 0 then
    for _, raw in ipairs(call('LRANGE', queue, 0, -1)) do
      bytes = bytes + #raw
    end
  end
  return length > 0 and bytes > a.lane_bytes
end

for _, digest in ipairs(a.digests) do
  local tombstone = call('GET', P .. 'x:' .. digest)
  if tombstone == '' then
    remember()
    return { 'cancelled', a.item.id }
  elseif tombstone then
    local cost, body = string.match(tombstone, '^(%d+)\n(.*)$')
    a.item.cost, ARGV[a.item.body] = tonumber(cost), body
  end
end

if a.dir == 'in' and call('EXISTS', P .. 'o:' .. a.ref) == 1 then
  remember()
  call('RPUSH', P .. 'h:' .. a.ref, blob(a.turn))
  call('LTRIM', P .. 'h:' .. a.ref, -a.history.turns, -1)
  call('PEXPIRE', P .. 'h:' .. a.ref, a.history.ttl)
  return { 'owned', a.item.id }
end

local waiting = tonumber(call('HGET', key(a.dir, 'tenants'), tenant_of(a.ref)) or 0)
if waiting >= a.tenant_messages then
  return { 'full', a.item.id }
end
if full() then
  if a.notice and call('SET', P .. 'n:' .. a.ref, 1, 'NX', 'PX', 600000) then
    append('out', a.ref, a.notice, 0, 0)
  end
  return { 'full', a.item.id }
end

remember()
append(a.dir, a.ref, a.item, a.quiet, a.quiet_max)
return { 'accepted', a.item.id }
