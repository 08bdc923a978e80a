-- Removes the claim of a node none of whose connections has the uid any more, or only that of its `connection`, if one
-- is given. A claim of another node stays.
local user = KEYS[1]
local boot, connection = unpack(ARGV)
local holder, held = unpack(redis.call('HMGET', user, 'boot', 'connection'))
if holder == boot and (not connection or connection == held) then
  return redis.call('DEL', user)
end
return 0
