-- A node lives: its load in full, its lease anew. What follows the messages are reservations that were redeemed. Tells
-- whether it may go on (1), is unknown and has to join (0), or another process has its address (-1); the time, in
-- milliseconds; and the addresses that are to be reaped.
local counter, load, lease, node, reserved = unpack(KEYS)
local address, boot, connections, lease_ms, rooms, messages = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases = redis.call('HGETALL', lease)
local anyone = false
for i = 2, #leases, 2 do
  anyone = anyone or tonumber(leases[i]) > now
end
local expired = {}
for i = 1, #leases, 2 do
  local other, expiry = leases[i], tonumber(leases[i + 1])
  if expiry >= 0 and not anyone then
    -- Nobody was heard of: it was the directory that was away.
    redis.call('HSET', lease, other, now + lease_ms)
  elseif expiry <= now and other ~= address then
    -- Also one whose lease is negative: gone before, only its counter is left.
    expired[#expired + 1] = other
  end
end
local holder = redis.call('HGET', node, 'boot')
if holder ~= boot then
  return {holder and -1 or 0, now}
end
redis.call('HSET', lease, address, now + lease_ms)
redis.call('ZREMRANGEBYSCORE', reserved, '-inf', now)
if #ARGV > 6 then
  redis.call('ZREM', reserved, unpack(ARGV, 7))
end
redis.call('SET', counter, connections)
redis.call('ZADD', load, connections + redis.call('ZCARD', reserved), address)
redis.call('HSET', node, 'rooms', rooms, 'messages', messages)
return {1, now, unpack(expired)}
