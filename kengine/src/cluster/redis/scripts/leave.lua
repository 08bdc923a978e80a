-- A node is gone, and so is all that is known of it but its counter, for those who have read the list before: as for a
-- node that was reaped, the lease says since when, and `reap` takes the rest.
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
