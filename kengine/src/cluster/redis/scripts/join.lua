-- Registers a node, or registers it again. The counter is set before the address is listed, because gateways read the
-- list first, and a listed node without a counter makes them fail. `joined` is when the process joined first, or 0.
-- Returns that time, in milliseconds.
local list, counter, load, lease, node, reserved = unpack(KEYS)
local address, boot, connections, lease_ms, state, capacity, version, joined = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HGET', node, 'boot') ~= boot then
  -- The reservations were made for an earlier process, and will not be redeemed here.
  redis.call('DEL', node, reserved)
  redis.call('HSET', node, 'started', joined == '0' and now or joined, 'registered', now)
end
redis.call('SET', counter, connections)
redis.call('HSET', node, 'boot', boot, 'state', state, 'capacity', capacity, 'version', version)
redis.call('HSET', lease, address, now + lease_ms)
redis.call('ZREMRANGEBYSCORE', reserved, '-inf', now)
redis.call('ZADD', load, connections + redis.call('ZCARD', reserved), address)
redis.call('LREM', list, 0, address)
if state == 'ready' then
  redis.call('RPUSH', list, address)
end
return tonumber(redis.call('HGET', node, 'started'))
