-- Nobody gets a place in a bucket before a.delay ms have passed; a longer block stays.

if a.delay > math.max(0, call('PTTL', P .. 'b')) then
  call('SET', P .. 'b', now + a.delay, 'PX', a.delay)
end
return a.delay
