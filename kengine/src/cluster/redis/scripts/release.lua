-- A connection that had a uid has ended. A claim that is newer stays.
local user = KEYS[1]
local boot, connection = unpack(ARGV)
local holder = redis.call('HMGET', user, 'boot', 'connection')
if holder[1] == boot and holder[2] == connection then
  return redis.call('DEL', user)
end
return 0
