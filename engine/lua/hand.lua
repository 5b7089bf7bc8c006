-- Moves a conversation to another owner, once. a: hand (see `hand_on`), ref, digests, suffix, id and dedupe_ttl of what asks for it
-- (no digests: nothing is remembered), at (the time at which a watch found it, or nil: then only while that stands), always (items
-- for the outbound lane, whatever becomes of the move), turns, history. Returns {verdict, owner before}: accepted, repeat or gone.

local first = repeated(a.digests, a.suffix, a.dedupe_ttl)
if first then
  note_repeat(a.ref, first)
  return { 'repeat', '' }
end
if a.at and tonumber(call('ZSCORE', P .. 'handed', a.ref) or 0) ~= a.at then
  return { 'gone', '' }
end
remember_ids(a.digests, a.id, a.ref, a.dedupe_ttl)
remember_turns(a.ref, a.turns, a.history)
for _, item in ipairs(a.always) do
  post(a.ref, item)
end
return { 'accepted', hand_on(a.hand) }
