-- Moves a room to another node unless the room has moved since the gateway looked. Runs inside Redis.
--
-- KEYS: the key of the room.
-- ARGV: the node where the gateway saw the room, empty for none; the node to move it to; its lifetime in milliseconds.
-- Returns the node where the room is now.
local room = KEYS[1]
local from, to, lifetime = unpack(ARGV)
local at = redis.call('GET', room)
if at and at ~= from then
  return at
end
redis.call('SET', room, to, 'PX', lifetime)
return to
