-- Publishes a message to a room's game loop in the channel of the node that runs it. If no node does, publishes the
-- refusal, unless it is empty, in the sender's channel.
local prefix, message, sender, refusal = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local boot, expiry = unpack(redis.call('HMGET', KEYS[1], 'boot', 'until'))
if boot and tonumber(expiry) > now and redis.call('PUBLISH', prefix .. boot, message) > 0 then
  return 1
end
if refusal ~= '' then
  redis.call('PUBLISH', sender, refusal)
end
return 0
