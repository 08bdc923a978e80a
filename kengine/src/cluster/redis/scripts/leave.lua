-- A node is gone, and so is all that is known of it but its counter.
local list, load, lease, node, reserved = unpack(KEYS)
local address, boot = unpack(ARGV)
if redis.call('HGET', node, 'boot') ~= boot then
  return 0
end
redis.call('LREM', list, 0, address)
redis.call('ZREM', load, address)
redis.call('HDEL', lease, address)
redis.call('DEL', node, reserved)
return 1
