-- Removes a node whose lease has expired, in two steps. The first step (returns 1) removes everything except the
-- counter, because gateways that have already read the list may still read it. The second step (returns 2) removes the
-- counter after a pause, also for a node that has left, and with the last node what is known of versions. Returns 0 if
-- there is nothing to do yet.
local list, counter, load, lease, node, reserved, versions = unpack(KEYS)
local address, pause_ms = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expiry = tonumber(redis.call('HGET', lease, address))
if not expiry or expiry > now then
  return 0
end
if expiry > 0 then
  redis.call('LREM', list, 0, address)
  redis.call('ZREM', load, address)
  redis.call('DEL', node, reserved)
  redis.call('HSET', lease, address, -now)
  return 1
end
if now + expiry >= tonumber(pause_ms) then
  redis.call('HDEL', lease, address)
  redis.call('DEL', counter)
  if redis.call('EXISTS', lease) == 0 then
    redis.call('DEL', versions)
  end
  return 2
end
return 0
