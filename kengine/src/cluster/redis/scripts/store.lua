-- Stores the messages of a session, unless they were taken back before, and publishes a notice in the channel of the
-- node that gets them.
local lifetime, channel, notice, messages = unpack(ARGV)
if redis.call('SET', KEYS[1], messages, 'PX', lifetime, 'NX') then
  return redis.call('PUBLISH', channel, notice)
end
return 0
