-- A connection claims a uid. Tells whether it has it (1), or another one has, which keeps it (0); and who had it.
-- A claim of before an outage (`again`) gives way to a later one. Where the older of two stays (`refuse`), it does as
-- long as its node listens to the bus.
local user = KEYS[1]
local address, boot, connection, at, again, refuse, channel = unpack(ARGV)
local holder = redis.call('HMGET', user, 'boot', 'connection', 'at')
local other = holder[1] and (holder[1] ~= boot or holder[2] ~= connection)
if other and again == '1' and tonumber(holder[3] or 0) > tonumber(at) then
  return {0, holder[1], holder[2]}
end
if other and refuse == '1' and redis.call('PUBSUB', 'NUMSUB', channel .. holder[1])[2] > 0 then
  return {0, holder[1], holder[2]}
end
redis.call('HSET', user, 'address', address, 'boot', boot, 'connection', connection, 'at', at)
redis.call('EXPIRE', user, 86400)
return {1, holder[1] or '', holder[2] or ''}
