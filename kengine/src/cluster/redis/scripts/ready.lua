-- Tells the old node of a session, and then the new one, that the new one is ready, and gives it the uid: all at one
-- place in the order of messages. The claim on the uid stays as old as it is, so whoever has claimed the uid later
-- keeps it. If the connection on the old node does not have the uid any more, or that node is gone, only the new node
-- is told, by the refusal. Without a key there is no uid to give.
local user = KEYS[1]
local channel, old, held, address, boot, connection, refusal, message = unpack(ARGV)
local holder, number
if user then
  holder, number = unpack(redis.call('HMGET', user, 'boot', 'connection'))
end
local is_refused = holder and (holder ~= old or number ~= held)
if is_refused or redis.call('PUBLISH', channel .. old, message) == 0 then
  redis.call('PUBLISH', channel .. boot, refusal)
  return 0
end
redis.call('PUBLISH', channel .. boot, message)
if user then
  local time = redis.call('TIME')
  redis.call('HSETNX', user, 'at', time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call('HSET', user, 'address', address, 'boot', boot, 'connection', connection, 'away', '0')
  redis.call('EXPIRE', user, 86400)
end
return 1
