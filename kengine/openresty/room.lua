-- A room moves to another node, unless it has moved since the gateway looked. Tells where it is.
local room = KEYS[1]
local from, to, lifetime = unpack(ARGV)
local at = redis.call('GET', room)
if at and at ~= from then
  return at
end
redis.call('SET', room, to, 'PX', lifetime)
return to
