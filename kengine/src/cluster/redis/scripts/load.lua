-- The load of a node that others know: connections, and seats that are reserved. What follows the boot id and the
-- connections are reservations that were redeemed.
local counter, load, node, reserved = unpack(KEYS)
local address, boot, connections = unpack(ARGV)
if redis.call('HGET', node, 'boot') ~= boot then
  return 0
end
if #ARGV > 3 then
  redis.call('ZREM', reserved, unpack(ARGV, 4))
end
redis.call('SET', counter, connections)
redis.call('ZADD', load, connections + redis.call('ZCARD', reserved), address)
return 1
