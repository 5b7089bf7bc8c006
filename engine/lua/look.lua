-- Where a message is. a: digest, id. Returns {state, received_at, record as a flat list}.

local id = a.id
local record = call('HGETALL', P .. 'm:' .. id)
if record[1] == 'see' then
  record = call('HGETALL', P .. 'm:' .. record[2])
end
if #record > 0 then
  return { 'answered', 0, record }
end
local known = call('GET', P .. 'd:' .. a.digest)
if not known then
  return { 'unknown', 0, {} }
end
local ref = string.match(known, '(%S+)$')
for _, raw in ipairs(call('LRANGE', lane('in', ref), 0, -1)) do
  local head = header(raw)
  if head.id == id then
    local leased = call('ZSCORE', key('in', 'leased'), ref)
    return { leased and 'answering' or 'waiting', head.received, {} }
  end
end
if call('EXISTS', P .. 'dead:' .. id) == 1 then
  return { 'dead', 0, { 'reason', call('HGET', P .. 'dead:' .. id, 'reason') } }
end
return { 'over', 0, {} }
