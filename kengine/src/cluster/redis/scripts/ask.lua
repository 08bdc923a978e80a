-- Publishes a message in the channel of the node with a tag, the start of its boot id. Returns 1, or 0 if there is no
-- such node on the bus.
local lease = KEYS[1]
local tag, channel, message = unpack(ARGV)
local prefix = lease:sub(1, -#'lease' - 1)
for _, address in ipairs(redis.call('HKEYS', lease)) do
  local boot = redis.call('HGET', prefix .. 'node:' .. address, 'boot')
  if boot and boot:sub(1, #tag) == tag and redis.call('PUBLISH', channel .. boot, message) > 0 then
    return 1
  end
end
return 0
