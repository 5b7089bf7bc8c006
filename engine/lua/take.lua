-- Takes a place in one bucket: at most a.count in any a.period (ms), never before a time named by `block`. a: count, period, ticket
-- (who waits; nil takes a place only if one is free now), reserve, done (the ticket has been used). Returns ms until the place, or 0.

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

if not at then
  at = free_from()
  if at > now and not a.reserve then
    return at - now
  end
  call('RPUSH', taken, at)
  call('LTRIM', taken, -a.count, -1)
  call('PEXPIRE', taken, at - now + a.period)
end
if a.ticket then
  -- Kept a period longer than its time, for who comes late; a place that nobody comes for is lost.
  call('SET', P .. 't:' .. a.ticket, at, 'PX', math.max(at, blocked) - now + a.period + 60000)
end
return math.max(0, math.max(at, blocked) - now)
