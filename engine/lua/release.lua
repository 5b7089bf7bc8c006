-- Gives leased lanes back. a: dir, attempts (limit), lanes {{ref, token, not_before (0: now), failed, keep_intent}...}. A failed
-- lane at the limit becomes ready with score 0, where `sweep` finds it. Returns how many were still ours.

local released = 0
for _, item in ipairs(a.lanes) do
  local ref, token, not_before, failed, keep_intent = item[1], item[2], item[3], item[4], item[5]
  if call('HGET', lease(a.dir, ref), 't') == token then
    unlease(a.dir, ref)
    local attempts = tonumber(call('HGET', lease(a.dir, ref), 'a') or 0)
    if failed then
      attempts = call('HINCRBY', lease(a.dir, ref), 'a', 1)
    end
    if not keep_intent then
      call('HDEL', lease(a.dir, ref), 'i')
    end
    if attempts >= a.attempts then
      put(a.dir, ref, nil, 0)
    else
      if not_before > now then
        call('HSET', lease(a.dir, ref), 'd', 1)
      end
      put(a.dir, ref, not_before)
    end
    released = released + 1
  end
end
return released
