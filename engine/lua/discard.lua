-- Drops dead letters. a: ids, refs. Returns for each 1, or 0 if it was not there.

local said = {}
for position, id in ipairs(a.ids) do
  said[position] = call('DEL', P .. 'dead:' .. id)
  call('ZREM', P .. 'dead', id)
  if said[position] == 1 then
    note(a.refs[position], short(id), 'g')
  end
end
return said
