-- Takes what needs no answer of the loops: a fixed text is due, or somebody else is to answer from now on, once. a: ref, digests,
-- suffix, id, dedupe_ttl, out (items for the outbound lane), aside (items for the people behind the bridge, where they have it),
-- hand (see `hand_on`, or nil) and record_ttl, forget (true: the history goes, and the records, dead letters and trace of what was
-- said). Returns {verdict, id}: accepted or repeat.

local first = repeated(a.digests, a.suffix, a.dedupe_ttl)
if first then
  note_repeat(a.ref, first)
  return { 'repeat', first }
end
remember_ids(a.digests, a.id, a.ref, a.dedupe_ttl)
if a.forget then
  local kept = P .. 'r:' .. a.ref
  for _, id in ipairs(call('ZRANGE', kept, 0, -1)) do
    call('DEL', P .. 'm:' .. id, P .. 'dead:' .. id)
    call('ZREM', P .. 'dead', id)
  end
  call('DEL', P .. 'h:' .. a.ref, kept, trace_of(a.ref))
  revise(a.ref) -- An answer that is being made would bring the question back.
end
local before = a.hand and hand_on(a.hand) or call('GET', P .. 'o:' .. a.ref) or 'bot'
if a.hand then
  call('HSET', P .. 'm:' .. a.id, 'state', 'handed-over', 'received_at', now)
  call('PEXPIRE', P .. 'm:' .. a.id, a.record_ttl)
end
-- Who waits for a person, or has one, is handed over to no other, and beside a person the bot says nothing by itself.
if before == 'bot' or a.forget then
  for _, item in ipairs(a.out) do
    post(a.ref, item)
  end
elseif is_bridged(a.ref) then
  for _, item in ipairs(a.aside) do
    post(a.ref, item)
  end
end
return { 'accepted', a.id }
