-- Claims a uid for a connection. Returns 1 if the connection has the uid now, or 0 if a connection of another node
-- keeps it. Claims may arrive in any order, and the one that was made later prevails. Its time is that of the arrival
-- minus its `age` when it was sent, but not after `latest`, the node's estimate of the latest time at which it was
-- made. So a claim that was made after another one was recorded is never the earlier one, and a claim that is held up
-- on its way counts as at most one round trip later than it was made. If the recorded claim seems to be a second or
-- more later than the new one, a clock is wrong, and the new claim prevails, unless it was sent before (`again`). With
-- `refuse`, the recorded claim prevails as long as its node is subscribed to the bus, unless its player is `away`. The
-- node whose connection loses the uid receives `message`, followed by the number of that connection.
-- While a session moves, `ready` passes the uid of one connection on to another, and records `from` which. Both may
-- claim it before and after that, and nothing changes: `giver` is the connection from which the new one gets the uid.
-- If the old node does not hand the session over, its connection claims the uid back from the `taker`.
local user = KEYS[1]
local address, boot, connection, latest, age, again, away, refuse, channel, message, giver, taker = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = math.min(now - age, latest)
local fields = redis.call('HMGET', user, 'boot', 'connection', 'at', 'away', 'from')
local holder, held, since, left, from = unpack(fields)
local recorded = holder and holder .. '-' .. held
local is_passed = recorded and from == boot .. '-' .. connection
if is_passed and recorded ~= taker or recorded and recorded == giver then
  return 1
end
local other = holder and holder ~= boot and not is_passed
local later = other and tonumber(since) - at or 0
if later > 0 and (again == '1' or later < 1000) then
  return 0
end
if other and refuse == '1' and left ~= '1' and redis.call('PUBSUB', 'NUMSUB', channel .. holder)[2] > 0 then
  return 0
end
redis.call('HSET', user, 'address', address, 'boot', boot, 'connection', connection, 'at', string.format('%.0f', at),
  'away', away, 'from', giver)
redis.call('EXPIRE', user, 86400)
if other then
  redis.call('PUBLISH', channel .. holder, message .. held)
end
return 1
