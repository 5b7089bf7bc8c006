-- Where a message is. a: digest and id. Returns {state, received_at, record as a flat list}.

local first, ref = known(a.digest)
local id = first or a.id
id = call('HGET', P .. 'm:' .. id, 'see') or id
local record = call('HGETALL', P .. 'm:' .. id)
if #record > 0 then
  local verdict = call('HGET', P .. 'v:' .. id, 'verdict')
  if verdict then
    record[#record + 1] = 'feedback'
    record[#record + 1] = verdict
  end
  return { 'answered', 0, record }
end
for _, raw in ipairs(ref and call('LRANGE', lane('in', ref), 0, -1) or {}) do
  local head = header(raw)
  if head.id == id then
    local leased = call('HEXISTS', lease('in', ref), 't') == 1
    return { leased and 'answering' or 'waiting', head.received, {} }
  end
end
local reason = call('HGET', P .. 'dead:' .. id, 'reason')
if reason then
  return { 'dead', 0, { 'reason', reason } }
end
return { ref and 'over' or 'unknown', 0, {} }
