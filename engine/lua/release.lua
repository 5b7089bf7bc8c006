-- Gives leased lanes back. a: dir, attempts (limit), alone, lanes {{ref, token, delay in ms, failed, keep_intent, reason or '',
-- newer}...}. A lane whose last attempt failed goes aside at once, where `sweep` finds it. Returns how many were still ours.

-- A lane whose head only a newer version can read is noted each time that it comes back, for so long in ms.
local NOTED = 10000

local released = 0
for _, item in ipairs(a.lanes) do
  local ref, token, delay, failed, keep_intent, reason, newer = unpack(item)
  local state = lease(a.dir, ref)
  if call('HGET', state, 't') == token then
    unlease(a.dir, ref)
    if not keep_intent then
      call('HDEL', state, 'i', 'j')
    end
    local head = reason ~= '' and head_of(a.dir, ref)
    if head then
      tried(state, 'w', reason)
      note(ref, short(head.id), failed_as(a.dir, head.id) .. ' ' .. one_line(reason))
    end
    if failed and not fail(a.dir, ref) then
      delay = 0
    end
    if delay > 0 then
      call('HSET', state, 'd', 1)
    end
    if newer then
      call('ZADD', key(a.dir, 'newer'), now + NOTED, ref)
      call('PEXPIRE', key(a.dir, 'newer'), NOTED)
    end
    put(a.dir, ref, now + delay)
    released = released + 1
  end
end
return released
