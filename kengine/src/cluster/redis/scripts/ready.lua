-- Tells the old node of a session, and then the new one, that the new one is ready, and gives it the uid: all at one
-- place in the order of messages. The claim on the uid stays as old as it is, so whoever has claimed the uid later
-- keeps it. It records `from` which connection the uid comes. If the old node has offered the session to several
-- nodes, the one with the last offer gets it, whoever is ready first. If neither the connection on the old node nor a
-- node with an earlier offer has the uid, or the old node is gone, only the new node is told, by the refusal. Without a
-- key there is no uid to give.
local user = KEYS[1]
local channel, old, held, offer, address, boot, connection, refusal, message = unpack(ARGV)
local giver = old .. '-' .. held
local holder, number, from, earlier
if user then
  holder, number, from, earlier = unpack(redis.call('HMGET', user, 'boot', 'connection', 'from', 'offer'))
end
local is_passed = from == giver and tonumber(earlier or 0) < tonumber(offer)
local is_refused = holder and holder .. '-' .. number ~= giver and not is_passed
if is_refused or redis.call('PUBLISH', channel .. old, message) == 0 then
  redis.call('PUBLISH', channel .. boot, refusal)
  return 0
end
redis.call('PUBLISH', channel .. boot, message)
if user then
  local time = redis.call('TIME')
  redis.call('HSETNX', user, 'at', time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call('HSET', user, 'address', address, 'boot', boot, 'connection', connection, 'away', '0', 'from', giver,
    'offer', offer)
  redis.call('EXPIRE', user, 86400)
end
return 1
