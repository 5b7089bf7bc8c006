-- Takes a place in one bucket: at most a.count in any a.period (ms), never before a time named by `block`. a: count, period, ticket
-- (who waits; nil takes a place only if one is free now), reserve, keep (ms: the holder of a ticket waits so long for another bucket,
-- its place moves there), done (the ticket has been used). Returns ms until the place, or 0.

-- Who comes later than this after its time has lost its place: else all who waited through an outage would go at once.
local GRACE = 1000

if a.done then
  call('DEL', P .. 't:' .. a.ticket)
  return 0
end

local taken = P .. 'g'
local blocked = tonumber(call('GET', P .. 'b') or 0)
local at = a.ticket and tonumber(call('GET', P .. 't:' .. a.ticket) or nil)

local function free_from()
  local oldest = call('LINDEX', taken, -a.count)
  return math.max(now, blocked, oldest and tonumber(oldest) + a.period or 0)
end

local function place(moment)
  call('RPUSH', taken, moment)
  call('LTRIM', taken, -a.count, -1)
  call('PEXPIRE', taken, moment - now + a.period)
  return moment
end

if a.keep then
  at = place(now + a.keep)
elseif not at or at < now - GRACE or at < blocked then
  at = free_from()
  if at > now and not a.reserve then
    return at - now
  end
  place(at)
end
if a.ticket then
  call('SET', P .. 't:' .. a.ticket, at, 'PX', math.max(0, at - now) + 2 * GRACE)
end
return math.max(0, at - now)
