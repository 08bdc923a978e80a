-- Reports the load of a node: connections and reserved seats. The arguments after `connections` are redeemed
-- reservations. Expired reservations are removed here too, because the heartbeat, which also removes them, is rare if
-- the lease is long.
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
