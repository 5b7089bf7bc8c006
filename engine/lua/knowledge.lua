-- Moves of a knowledge base; a: act, and what each act says. KEYS[1] is the prefix of the base.
-- A document is named by an id that is never used twice; `docs` holds the ids that a draft or a version has, or had until now.

local function ids_of(version)
  return call('HGET', P .. 'v:' .. version, 'ids') or ''
end

-- Versions beyond the `keep` newest go, but never the current one, the one it replaced, or one that a worker is loading.
local function prune(keep)
  call('ZREMRANGEBYSCORE', P .. 'lent', 0, now)
  local current = call('GET', P .. 'now') or ''
  local held = { [current] = true, [call('HGET', P .. 'versions', current) or ''] = true }
  for _, member in ipairs(call('ZRANGE', P .. 'lent', 0, -1)) do
    held[string.match(member, '^%d+')] = true
  end
  local numbers = call('HKEYS', P .. 'versions')
  table.sort(numbers, function(one, other) return tonumber(one) > tonumber(other) end)
  for place, number in ipairs(numbers) do
    if place > keep and not held[number] then
      call('HDEL', P .. 'versions', number)
      call('DEL', P .. 'v:' .. number)
    end
  end
end

-- Documents that neither the draft nor a version has go.
local function sweep()
  local used = {}
  for _, id in ipairs(call('HVALS', P .. 'draft')) do
    used[id] = true
  end
  for _, number in ipairs(call('HKEYS', P .. 'versions')) do
    for id in string.gmatch(ids_of(number), '%S+') do
      used[id] = true
    end
  end
  for _, id in ipairs(call('SMEMBERS', P .. 'docs')) do
    if not used[id] then
      call('SREM', P .. 'docs', id)
      call('UNLINK', P .. 'doc:' .. id)
    end
  end
end

local acts = {}

-- entries: {digest of a name, id} of documents that are written already; dropped: digests of names that leave the draft.
-- Returns 0 if a document has been given up meanwhile, else 1.
function acts.adopt()
  for _, entry in ipairs(a.entries) do
    if call('EXISTS', P .. 'doc:' .. entry[2]) == 0 then return 0 end
  end
  for _, name in ipairs(a.dropped) do
    call('HDEL', P .. 'draft', name)
  end
  for _, entry in ipairs(a.entries) do
    call('HSET', P .. 'draft', entry[1], entry[2])
    call('SADD', P .. 'docs', entry[2])
    call('PERSIST', P .. 'doc:' .. entry[2])
  end
  sweep()
  return 1
end

-- id, field, value: position of the bytes to keep with a document. Returns 0 if the document has gone.
function acts.keep()
  if call('HEXISTS', P .. 'doc:' .. a.id, 'm') == 0 then return 0 end
  call('HSET', P .. 'doc:' .. a.id, a.field, blob(a.value))
  return 1
end

-- ids: what the draft must still hold, sorted; body: position of the version's. Returns its number, or 0 if the draft has changed.
function acts.publish()
  local ids = call('HVALS', P .. 'draft')
  table.sort(ids)
  ids = table.concat(ids, ' ')
  if ids ~= a.ids then return 0 end
  local number = call('INCR', P .. 'next')
  call('HSET', P .. 'v:' .. number, 'body', blob(a.body), 'ids', ids)
  call('HSET', P .. 'versions', number, call('GET', P .. 'now') or '0')
  call('SET', P .. 'now', number)
  prune(a.keep)
  sweep()
  return number
end

-- number: the version to make current; 0: the one that the current one replaced, or else the newest before it.
-- Returns what is current now, or 0 if there is no such version.
function acts.rollback()
  local current = call('GET', P .. 'now') or '0'
  local wanted = tostring(a.number)
  if a.number == 0 then
    wanted = call('HGET', P .. 'versions', current) or '0'
    if call('HEXISTS', P .. 'versions', wanted) == 0 then
      local best = 0
      for _, number in ipairs(call('HKEYS', P .. 'versions')) do
        local value = tonumber(number)
        if value < tonumber(current) and value > best then best = value end
      end
      wanted = tostring(best)
    end
  end
  if call('HEXISTS', P .. 'versions', wanted) == 0 then return 0 end
  call('SET', P .. 'now', wanted)
  return tonumber(wanted)
end

-- number, who, ms: nobody removes the version for so long. Returns 0 if it has gone already.
function acts.lend()
  if call('HEXISTS', P .. 'versions', a.number) == 0 then return 0 end
  call('ZADD', P .. 'lent', now + a.ms, a.number .. '|' .. a.who)
  call('PEXPIRE', P .. 'lent', a.ms)
  return 1
end

return acts[a.act]()
