-- Puts dead letters back onto their lanes, once each, oldest first. a: letters {{id, dir, ref, as (its id in the lane), entry (as
-- it was read), body, cost, deadline in ms, digests (of a message's logical ids), answers (the message that a delivery
-- answers)}...}, dedupe_ttl, lane_messages and lane_bytes as for `accept`. Each goes behind what waits in its lane, with a revision
-- of its own: no worker that still holds the old one can commit to it. Returns for each: replayed, waiting (it is in its lane),
-- changed (it is not the one that was read), known (it came again meanwhile, and was taken), full (its lane holds as many messages
-- as it takes: all of them are one turn) or gone.

-- What is in the lane of a letter, looked at once for all letters of one conversation.
local looked = {}
local function waiting_with(letter)
  local queue = lane(letter.dir, letter.ref)
  if not looked[queue] then
    local found = { ids = {}, messages = 0, bytes = 0 }
    for _, raw in ipairs(call('LRANGE', queue, 0, -1)) do
      found.ids[string.match(raw, '^%S+')] = true
      found.messages, found.bytes = found.messages + 1, found.bytes + #raw
    end
    looked[queue] = found
  end
  return looked[queue]
end

local function refusal(letter, kept)
  local found = waiting_with(letter)
  if found.ids[letter.as] then
    return 'waiting'
  end
  if not kept then
    return 'gone'
  end
  if kept ~= blob(letter.entry) then
    return 'changed'
  end
  for _, digest in ipairs(letter.as ~= letter.id and letter.digests or {}) do
    if known(digest) or call('EXISTS', P .. 'd:' .. digest) == 1 then
      return 'known'
    end
  end
  local more = found.messages >= a.lane_messages or found.bytes + #blob(letter.body) > a.lane_bytes
  if letter.dir == 'in' and found.messages > 0 and more then
    return 'full'
  end
end

local function forget_outcome(letter)
  if letter.dir == 'in' then
    call('DEL', P .. 'm:' .. letter.as)
    remember_ids(letter.digests, letter.as, letter.ref, a.dedupe_ttl)
  elseif call('HGET', P .. 'm:' .. letter.answers, 'state') == 'dead' then
    call('HSET', P .. 'm:' .. letter.answers, 'state', 'answered')
    call('HDEL', P .. 'm:' .. letter.answers, 'reason')
  end
end

local said = {}
for position, letter in ipairs(a.letters) do
  local kept = call('HGET', P .. 'dead:' .. letter.id, 'entry')
  said[position] = refusal(letter, kept) or 'replayed'
  if said[position] == 'replayed' then
    call('DEL', P .. 'dead:' .. letter.id)
    call('ZREM', P .. 'dead', letter.id)
    forget_outcome(letter)
    note(letter.ref, short(letter.as), 'r ' .. letter.dir)
    letter.id = letter.as
    letter.revision = tonumber(string.match(kept, '^%S+ (%d+) %d+ %d+ %d+\n') or 0) + 1
    append(letter.dir, letter.ref, letter)
    local found = waiting_with(letter)
    found.ids[letter.as] = true
    found.messages, found.bytes = found.messages + 1, found.bytes + #blob(letter.body)
  end
end
return said
