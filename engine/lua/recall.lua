-- What is known of a conversation, for a person who takes it. a: ref. Returns {history, evidence of the last reply as JSON or '', language
-- of the user when it was handed over or ''}.

local evidence, newest = '', 0
for _, id in ipairs(call('ZREVRANGE', P .. 'r:' .. a.ref, 0, 9)) do
  local record = call('HMGET', P .. 'm:' .. id, 'answered_at', 'evidence')
  local at = tonumber(record[1] or 0)
  if at > newest then
    newest, evidence = at, record[2] or ''
  end
end
return { call('LRANGE', P .. 'h:' .. a.ref, 0, -1), evidence, call('HGET', P .. 'g:' .. a.ref, 'language') or '' }
