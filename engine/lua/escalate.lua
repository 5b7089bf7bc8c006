-- Calls people once more to a conversation that nobody has picked up. a: ref, at (the time at which a watch found it), wait (ms
-- until the next watch), out (items). Returns 1, or 0 where something has happened to it meanwhile.

if tonumber(call('ZSCORE', P .. 'handed', a.ref) or 0) ~= a.at then
  return 0
end
call('ZADD', P .. 'handed', now + a.wait, a.ref)
call('HINCRBY', P .. 'g:' .. a.ref, 'calls', 1)
for _, item in ipairs(a.out) do
  post(a.ref, item)
end
return 1
