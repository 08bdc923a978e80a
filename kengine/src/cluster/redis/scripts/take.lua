-- Takes the stored messages of a session. Returns them, and publishes a notice, if there is one; or returns `t` if they
-- were taken before, and nothing if they were not stored. From now on they can be neither taken nor stored.
local lifetime, channel, notice = unpack(ARGV)
local messages = redis.call('GET', KEYS[1])
if messages == 't' or messages == 'x' then
  return messages == 't' and 't' or nil
end
redis.call('SET', KEYS[1], messages and 't' or 'x', 'PX', lifetime)
if messages and notice ~= '' then
  redis.call('PUBLISH', channel, notice)
end
return messages
