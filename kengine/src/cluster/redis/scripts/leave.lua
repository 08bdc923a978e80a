-- Removes a node that leaves. Its counter stays, for gateways that have already read the list. As for a reaped node, a
-- negative lease records when it left, and `reap` removes the counter later.
local list, load, lease, node, reserved = unpack(KEYS)
local address, boot = unpack(ARGV)
if redis.call('HGET', node, 'boot') ~= boot then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('LREM', list, 0, address)
redis.call('ZREM', load, address)
redis.call('DEL', node, reserved)
redis.call('HSET', lease, address, -now)
return 1
