-- A connection claims a uid. Returns 1 if it has the uid now, or 0 if a connection of another node keeps it. Claims
-- may arrive in any order, and the later one prevails. A recorded claim that was made more than a second later comes
-- from a clock that is wrong, and does not prevail, unless the new claim was sent before (`again`). With `refuse` the
-- older claim prevails while its node listens to the bus. The node whose connection loses the uid is sent `message`,
-- followed by the number of the connection.
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
