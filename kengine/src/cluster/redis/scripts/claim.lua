-- Claims a uid for a connection. Returns 1 if the connection has the uid now, or 0 if a connection of another node
-- keeps it. Claims may arrive in any order, and the one that was made later prevails. If the recorded claim seems to be
-- a second or more later than the new one, a clock is wrong, and the new claim prevails, unless it was sent before
-- (`again`). With `refuse`, the recorded claim prevails as long as its node is subscribed to the bus. The node whose
-- connection loses the uid receives `message`, followed by the number of that connection.
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
