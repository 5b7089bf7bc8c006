-- Keeps what a person thinks of a reply. a: digest and id of the message it answers, verdict, ttl. Returns 1, or 0 for a message that is
-- not known.

local first, ref = known(a.digest)
local id = first or a.id
if not ref and call('EXISTS', P .. 'm:' .. id) == 0 then
  return 0
end
if ref then
  note(ref, short(id), 'v' .. a.verdict)
end
call('HSET', P .. 'v:' .. id, 'verdict', a.verdict, 'at', now)
call('PEXPIRE', P .. 'v:' .. id, a.ttl)
return 1
