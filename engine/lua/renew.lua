-- Extends the leases that are still ours. a: dir, lease, held {{ref, token}...}. Returns the refs that are no longer.

local lost = {}
for _, held in ipairs(a.held) do
  local ref, token = held[1], held[2]
  if call('HGET', lease(a.dir, ref), 't') == token then
    call('HSET', lease(a.dir, ref), 'x', now + a.lease)
    hold(a.dir, ref, now + a.lease, head_of(a.dir, ref))
  else
    lost[#lost + 1] = ref
  end
end
return lost
