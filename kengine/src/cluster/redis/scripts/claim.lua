-- A connection claims a uid, and has it (1), or another node's keeps it (0). Claims come in any order: the later in
-- time has the uid; but one that was made much later is another clock's, unless ours was told before (`again`). Where
-- the older of two is to stay (`refuse`), it does as long as its node listens to the bus. Who loses the uid is told at
-- once, on its node's channel: by `message`, with the number of its connection behind it.
local user = KEYS[1]
local address, boot, connection, at, again, refuse, channel, message = unpack(ARGV)
local holder, held, since = unpack(redis.call('HMGET', user, 'boot', 'connection', 'at'))
local other = holder and holder ~= boot
local later = other and tonumber(since) - tonumber(at) or 0
if later > 0 and (again == '1' or later < 1000) then
  return 0
end
if other and refuse == '1' and redis.call('PUBSUB', 'NUMSUB', channel .. holder)[2] > 0 then
  return 0
end
redis.call('HSET', user, 'address', address, 'boot', boot, 'connection', connection, 'at', at)
redis.call('EXPIRE', user, 86400)
if other then
  redis.call('PUBLISH', channel .. holder, message .. held)
end
return 1
