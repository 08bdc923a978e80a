-- Takes a draining node off the list. Its counter stays, for gateways that have already read the list.
local list, node = unpack(KEYS)
local address, boot = unpack(ARGV)
if redis.call('HGET', node, 'boot') ~= boot then
  return 0
end
redis.call('LREM', list, 0, address)
redis.call('HSET', node, 'state', 'draining')
return 1
