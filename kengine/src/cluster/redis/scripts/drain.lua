-- A node takes no more players: off the list; its counter stays for who has read the list before.
local list, node = unpack(KEYS)
local address, boot = unpack(ARGV)
if redis.call('HGET', node, 'boot') ~= boot then
  return 0
end
redis.call('LREM', list, 0, address)
redis.call('HSET', node, 'state', 'draining')
return 1
