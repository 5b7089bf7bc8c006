-- What is known of a conversation. a: ref, or '' and digest and id of one of its messages. Returns {ref, id, now, owner, trace,
-- {direction, id, revision, received_at, deadline, leased}...}.

local ref, id = a.ref, a.id
if ref == '' then
  local first, of = known(a.digest)
  id = first or id
  ref = of or call('HGET', P .. 'dead:' .. id, 'ref') or ''
end
if ref == '' then
  return { '', id, now, '', '', {} }
end
local waiting = {}
for _, dir in ipairs({ 'in', 'out' }) do
  local leased = call('HEXISTS', lease(dir, ref), 't')
  for _, raw in ipairs(call('LRANGE', lane(dir, ref), 0, -1)) do
    local head = header(raw)
    waiting[#waiting + 1] = { dir, head.id, head.revision, head.received, head.deadline, leased }
  end
end
local log = call('GET', trace_of(ref)) or ''
return { ref, id, now, call('GET', P .. 'o:' .. ref) or 'bot', log, waiting }
