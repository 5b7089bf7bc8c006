-- Figures of both directions of one shard: {messages, deferred messages, lanes ready or leased, leased lanes, age of the oldest in ms}.

local function figures(dir)
  local stats = call('HMGET', key(dir, 'stats'), 'messages', 'deferred')
  local oldest = call('ZRANGE', key(dir, 'heads'), 0, 0, 'WITHSCORES')[2]
  return {
    tonumber(stats[1] or 0),
    tonumber(stats[2] or 0),
    call('ZCARD', key(dir, 'heads')),
    call('ZCARD', key(dir, 'leased')),
    oldest and math.max(0, now - tonumber(oldest)) or 0,
  }
end
return { figures('in'), figures('out') }
