-- The counter of a node that has left, unless somebody is at its address again.
local counter, node = unpack(KEYS)
if redis.call('EXISTS', node) == 0 then
  return redis.call('DEL', counter)
end
return 0
