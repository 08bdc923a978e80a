-- Registers a node, or registers it again. The counter is set before the address is listed, because gateways read the
-- list first, and a listed node without a counter makes them fail. `joined` is when the process joined first, or 0.
-- Returns that time, in milliseconds.
local list, counter, load, lease, node, reserved, versions = unpack(KEYS)
local address, boot, connections, lease_ms, state, capacity, version, joined = unpack(ARGV)
-- How many versions are remembered. Nodes of older ones count as nodes without a version.
local MAX_VERSIONS = 16
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HGET', node, 'boot') ~= boot then
  -- The reservations were made for an earlier process, and will not be redeemed here.
  redis.call('DEL', node, reserved)
end
-- A small hash is searched from its start, so what gateways read comes first.
redis.call('HSET', node, 'state', state, 'capacity', capacity, 'version', version, 'boot', boot)
redis.call('HSETNX', node, 'started', joined == '0' and now or joined)
redis.call('HSETNX', node, 'registered', now)
local started = tonumber(redis.call('HGET', node, 'started'))
if version ~= '' and started > tonumber(redis.call('ZSCORE', versions, version) or 0) then
  redis.call('ZADD', versions, started, version)
  redis.call('ZREMRANGEBYRANK', versions, 0, -MAX_VERSIONS - 1)
end
redis.call('SET', counter, connections)
redis.call('HSET', lease, address, now + lease_ms)
redis.call('ZREMRANGEBYSCORE', reserved, '-inf', now)
redis.call('ZADD', load, connections + redis.call('ZCARD', reserved), address)
redis.call('LREM', list, 0, address)
if state == 'ready' then
  redis.call('RPUSH', list, address)
end
return started
