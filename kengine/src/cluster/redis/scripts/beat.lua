-- A node's heartbeat: renews its lease and reports its load. `joined` is when the process joined first, or 0. The
-- arguments after it are redeemed reservations. Returns 1, or 0 if the node is unknown and must join, or -1 if a later
-- process has its address; then the time, in milliseconds; then the addresses of expired nodes, for `reap`.
local counter, load, lease, node, reserved = unpack(KEYS)
local address, boot, connections, lease_ms, rooms, messages, joined = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases = redis.call('HGETALL', lease)
local any_valid = false
for i = 2, #leases, 2 do
  any_valid = any_valid or tonumber(leases[i]) > now
end
local expired = {}
for i = 1, #leases, 2 do
  local other, expiry = leases[i], tonumber(leases[i + 1])
  if expiry >= 0 and not any_valid then
    -- All leases have expired, so the directory was away: renew them.
    redis.call('HSET', lease, other, now + lease_ms)
  elseif expiry <= now and other ~= address then
    -- Includes negative leases: those nodes are gone, and only their counters are left.
    expired[#expired + 1] = other
  end
end
local holder = redis.call('HGET', node, 'boot')
if holder ~= boot then
  -- If Redis was restored from an old snapshot, it may hold an earlier process, which has ended.
  local is_later = holder and tonumber(redis.call('HGET', node, 'started')) >= tonumber(joined)
  return {is_later and -1 or 0, now}
end
redis.call('HSET', lease, address, now + lease_ms)
redis.call('ZREMRANGEBYSCORE', reserved, '-inf', now)
if #ARGV > 7 then
  redis.call('ZREM', reserved, unpack(ARGV, 8))
end
redis.call('SET', counter, connections)
redis.call('ZADD', load, connections + redis.call('ZCARD', reserved), address)
redis.call('HSET', node, 'rooms', rooms, 'messages', messages)
return {1, now, unpack(expired)}
