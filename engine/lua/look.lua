-- Where a message is. a: digest and id. Returns {state, received_at, record as a flat list}.

local first, ref = known(a.digest)
local id = first or a.id
id = call('HGET', P .. 'm:' .. id, 'see') or id
local record = call('HGETALL', P .. 'm:' .. id)
if #record > 0 then
  return { 'answered', 0, record }
end
local reason = call('HGET', P .. 'dead:' .. id, 'reason')
if reason then
  return { 'dead', 0, { 'reason', reason } }
end
if not ref then
  return { 'unknown', 0, {} }
end
for _, raw in ipairs(call('LRANGE', lane('in', ref), 0, -1)) do
  local head = header(raw)
  if head.id == id then
    local leased = call('HEXISTS', lease('in', ref), 't') == 1
    return { leased and 'answering' or 'waiting', head.received, {} }
  end
end
return { 'over', 0, {} }
