-- Extends the leases that are still ours. a: dir, lease, held {{ref, token}...}. Returns the refs that are no longer.

local lost = {}
for _, held in ipairs(a.held) do
  local ref, token = held[1], held[2]
  if call('HGET', lease(a.dir, ref), 't') == token then
    local ends = now + a.lease
    call('HSET', lease(a.dir, ref), 'x', ends)
    local first = call('LINDEX', lane(a.dir, ref), 0)
    local deadline = first and header(first).deadline or ends
    call('ZADD', key(a.dir, 'leased'), deadline > now and math.min(ends, deadline) or ends, ref)
  else
    lost[#lost + 1] = ref
  end
end
return lost
