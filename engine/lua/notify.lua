-- Takes what needs no answer of the loops: a fixed text is due, or somebody else is to answer from now on, once. a: ref, digests,
-- suffix, id, dedupe_ttl, out (items for the outbound lane), owner (or nil) and its ttl, forget (true: the history goes).
-- Returns {verdict, id}: accepted or repeat.

local first = repeated(a.digests, a.suffix, a.dedupe_ttl)
if first then
  note_repeat(a.ref, first)
  return { 'repeat', first }
end
remember_ids(a.digests, a.id, a.ref, a.dedupe_ttl)
if a.forget then
  call('DEL', P .. 'h:' .. a.ref)
  revise(a.ref) -- An answer that is being made would bring the question back.
end
local before = call('GET', P .. 'o:' .. a.ref) or 'bot'
if a.owner and before == 'bot' then
  set_owner(a.ref, a.owner, a.ttl)
end
-- Who waits for a person, or has one, is handed over to no other, and beside a person the bot says nothing by itself.
if before == 'bot' or a.forget then
  for _, item in ipairs(a.out) do
    append('out', a.ref, item)
  end
end
return { 'accepted', a.id }
