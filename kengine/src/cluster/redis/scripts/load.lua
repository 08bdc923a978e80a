-- The load of a node that others know: connections, and seats that are still reserved. What follows the boot id and the
-- connections are reservations that were redeemed. Those of players who never came end here as they do at a beat, which
-- a long lease makes rare: nothing else lowers the load again.
local counter, load, node, reserved = unpack(KEYS)
local address, boot, connections = unpack(ARGV)
if redis.call('HGET', node, 'boot') ~= boot then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', reserved, '-inf', now)
if #ARGV > 3 then
  redis.call('ZREM', reserved, unpack(ARGV, 4))
end
redis.call('SET', counter, connections)
redis.call('ZADD', load, connections + redis.call('ZCARD', reserved), address)
return 1
