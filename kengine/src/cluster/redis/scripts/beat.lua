-- A node lives: its load in full, its lease anew. Tells whether it may go on (1), is unknown and has to join (0), or
-- has been taken over (-1); how many nodes there are; and which have not been heard of for longer than their lease.
local counter, load, lease, node, reserved = unpack(KEYS)
local address, boot, connections, lease_ms, rooms = unpack(ARGV)
local holder = redis.call('HGET', node, 'boot')
if not holder then
  return {0, 0}
elseif holder ~= boot then
  return {-1, 0}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases = redis.call('HGETALL', lease)
local nodes, expired, anyone = 0, {}, false
for i = 1, #leases, 2 do
  local expiry = tonumber(leases[i + 1])
  if expiry > now then
    anyone = true
  end
end
for i = 1, #leases, 2 do
  local other, expiry = leases[i], tonumber(leases[i + 1])
  if expiry < 0 then
    -- Reaped before: only its counter is left.
    expired[#expired + 1] = other
  elseif other ~= address and expiry <= now then
    if anyone then
      expired[#expired + 1] = other
    else
      -- Nobody was heard of: it was the directory that was away.
      redis.call('HSET', lease, other, now + lease_ms)
    end
  end
  if expiry >= 0 then
    nodes = nodes + 1
  end
end
redis.call('HSET', lease, address, now + lease_ms)
redis.call('ZREMRANGEBYSCORE', reserved, '-inf', now)
redis.call('SET', counter, connections)
redis.call('ZADD', load, connections + redis.call('ZCARD', reserved), address)
redis.call('HSET', node, 'rooms', rooms)
return {1, nodes, unpack(expired)}
