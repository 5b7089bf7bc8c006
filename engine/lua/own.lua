-- Sets who answers a conversation. a: ref, owner, ttl. Waiting messages stay in the lane: whoever claims them moves them to history.

if a.owner == 'bot' then
  call('DEL', P .. 'o:' .. a.ref)
else
  call('SET', P .. 'o:' .. a.ref, a.owner, 'PX', a.ttl)
end
return call('LLEN', lane('in', a.ref))
